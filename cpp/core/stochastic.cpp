#include "core/stochastic.h"

#include <cmath>

#include "core/forward.h"

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

// The product of a layer makes the update that waits on its way.
template <class T>
struct StochasticDescent<T>::Forward : ForwardPass<T> {
  const StochasticDescent& owner;

  LayerOutput<T> output(std::size_t l, const Layer& layer) const {
    const auto& views = owner.ws_.layers[l];
    T* const a = owner.row(views.a, layer.stride);
    return {owner.row(views.z, layer.stride), a, to_size(layer.stride), a};
  }

  void product(std::size_t l, const Layer& layer, T* z, const T* a, Size lda, std::size_t first,
               Size n_out) const {
    if (!owner.waits_) return ForwardPass<T>::product(l, layer, z, a, lda, first, n_out);
    T* const parameters = owner.network_.parameters.data();
    const auto& views = owner.ws_.layers[l];
    const T* const a_before = l == 0
                                  ? owner.chunks_[1 - owner.row_].x.data
                                  : owner.row_before(owner.ws_.layers[l - 1].a, views.input_stride);
    this->kernels.step_affine(
        z, a, parameters + layer.weights + first, to_size(layer.ld),
        this->network.layout.has_bias ? parameters + layer.bias + first : nullptr, a_before,
        owner.row_before(views.delta, layer.stride) + first, to_size(layer.n_in), n_out,
        owner.learning_rate_);
  }
};

template <class T>
BatchResult StochasticDescent<T>::step(std::size_t i, double learning_rate) {
  row_ = 1 - row_;
  Chunk<T>& chunk = chunks_[row_];
  chunk = pass_.chunk(samples_, i, 1, row_);
  pass_.load(samples_, i, chunk, 0, 1);
  const double weight = samples_.weight(i);
  ws_.scale[row_] = T(weight > 0 ? 1 : 0);
  forward_layers<T>(chunk.x, threads_, Forward{{kernels_, network_, 1}, *this});
  pass_.output_error(chunk, 0, 1, true);
  pass_.backward(chunk, 0, 1, threads_);
  waits_ = true;
  learning_rate_ = static_cast<T>(learning_rate);
  BatchResult result;
  result.weight = weight;
  result.cost = weight * static_cast<double>(ws_.cost[row_]);
  if (!std::isfinite(result.cost)) result.bad_layer = pass_.first_nonfinite_layer(chunk);
  if (weight > 0) result.cost /= weight;
  return result;
}

template <class T>
void StochasticDescent<T>::settle() {
  if (!waits_) return;
  waits_ = false;
  pass_.gradients(chunks_[row_], Accumulate::step, network_.parameters.data(), nullptr,
                  learning_rate_, threads_);
}

template class StochasticDescent<float>;
template class StochasticDescent<double>;

}  // namespace chainrule
