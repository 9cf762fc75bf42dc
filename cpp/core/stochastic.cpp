#include "core/stochastic.h"

#include <cmath>

#include "core/parallel.h"

namespace chainrule {
template <class T>
StochasticDescent<T>::StochasticDescent(Network<T>& network, Workspace<T>& workspace,
                                        const Samples& samples, int threads)
    : kernels_(kernels_for<T>(network.layout, 1)),
      network_(network),
      ws_(workspace),
      samples_(samples),
      threads_(threads_for(training_work(network.layout, 1), threads)),
      pass_(network, workspace, 1) {}

template <class T>
BatchResult StochasticDescent<T>::step(std::size_t i, double learning_rate) {
  row_ = 1 - row_;
  Chunk<T>& chunk = chunks_[row_];
  chunk = pass_.chunk(samples_, i, 1, row_);
  pass_.load(samples_, i, chunk, 0, 1);
  const double weight = samples_.weight(i);
  ws_.scale[row_] = T(weight > 0 ? 1 : 0);
  forward();
  pass_.output_error(chunk, 0, 1, true);
  backward();
  waits_ = true;
  learning_rate_ = static_cast<T>(learning_rate);
  BatchResult result;
  result.weight = weight;
  result.cost = weight * static_cast<double>(ws_.cost[row_]);
  if (!std::isfinite(result.cost)) result.bad_layer = pass_.first_nonfinite_layer(chunk);
  if (weight > 0) result.cost /= weight;
  return result;
}

// Its own loops, not forward_layers and Backpropagation::backward: those serve many rows, and cost
// a small network a tenth of its step. Threads share the columns of W, and with them the outputs.
template <class T>
void StochasticDescent<T>::forward() {
  const Layout& layout = network_.layout;
  const T* a = chunks_[row_].x.data;
  const T* a_before = chunks_[1 - row_].x.data;
  for (std::size_t l = 0; l < layout.layers.size(); ++l) {
    const Layer& layer = layout.layers[l];
    const auto& views = ws_.layers[l];
    const Size ld = to_size(layer.ld);
    const Size stride = to_size(layer.stride);
    const Size n_in = to_size(layer.n_in);
    T* const out = row(views.a, layer.stride);
    parallel_ranges(
        threads_, layer.n_out, kLanes<T>, [=, this, &layout, &layer, &views](auto begin, auto end) {
          const Size n_out = to_size(end - begin);
          T* const w = network_.parameters.data() + layer.weights + begin;
          T* const b = layout.has_bias ? network_.parameters.data() + layer.bias + begin : nullptr;
          T* const z = row(views.z, layer.stride) + begin;
          if (waits_)
            kernels_.step_affine(z, a, w, ld, b, a_before,
                                 row_before(views.delta, layer.stride) + begin, n_in, n_out,
                                 learning_rate_);
          else
            kernels_.affine(z, stride, a, n_in, w, ld, b, 1, n_in, n_out);
          if (layer.activation != Activation::softmax)
            kernels_.activate(layer.activation, out + begin, stride, z, stride, 1, n_out);
        });
    if (layer.activation == Activation::softmax)
      kernels_.activate(layer.activation, out, stride, row(views.z, layer.stride), stride, 1,
                        to_size(layer.n_out));
    a = out;
    a_before = row_before(views.a, layer.stride);
  }
}

// Threads share the rows of W, and with them the inputs.
template <class T>
void StochasticDescent<T>::backward() {
  const Layout& layout = network_.layout;
  for (std::size_t l = layout.layers.size(); l-- > 1;) {
    const Layer& layer = layout.layers[l];
    const Layer& below = layout.layers[l - 1];
    const auto& views = ws_.layers[l - 1];
    const Size stride = to_size(below.stride);
    parallel_ranges(
        threads_, layer.n_in, kLanes<T>, [=, this, &layer, &below, &views](auto begin, auto end) {
          const Size n_in = to_size(end - begin);
          T* const d = row(views.delta, below.stride) + begin;
          kernels_.affine_transposed(d, stride, row(ws_.layers[l].delta, layer.stride),
                                     to_size(layer.stride),
                                     network_.weights(layer) + begin * layer.ld, to_size(layer.ld),
                                     1, n_in, to_size(layer.n_out));
          kernels_.multiply_derivative(below.activation, d, stride,
                                       row(views.z, below.stride) + begin, stride,
                                       row(views.a, below.stride) + begin, stride, 1, n_in);
        });
  }
}

template <class T>
void StochasticDescent<T>::settle() {
  if (!waits_) return;
  waits_ = false;
  T* const parameters = network_.parameters.data();
  pass_.gradients(
      chunks_[row_],
      {.w = parameters, .g = parameters, .steps = true, .learning_rate = learning_rate_}, threads_);
}

template class StochasticDescent<float>;
template class StochasticDescent<double>;

}  // namespace chainrule
