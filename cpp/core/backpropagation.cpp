#include "core/backpropagation.h"

#include <algorithm>

#include "core/forward.h"

namespace chainrule {
namespace {

// A row of a shuffled array comes from anywhere in memory: so many rows before it is copied, it is
// asked for.
constexpr std::size_t kRowsAhead = 2;

// y = (1 - ε) y + ε / n_classes
template <class T>
void smooth(T* y, std::size_t n, Loss loss, double smoothing) {
  const T kept = static_cast<T>(1 - smoothing);
  const T mixed_in = static_cast<T>(smoothing / static_cast<double>(n_classes(loss, n)));
  for (std::size_t j = 0; j < n; ++j) y[j] = kept * y[j] + mixed_in;
}

}  // namespace

template <class T>
Chunk<T> Backpropagation<T>::chunk(const Samples& samples, std::size_t begin, std::size_t count,
                                   std::size_t at) const {
  const auto place = [&](const Matrix& matrix, bool convert, T* gathered, std::size_t stride) {
    if (convert || samples.order != nullptr || !is_direct<T>(matrix))
      return Rows<T>{gathered + at * stride, to_size(stride)};
    const Rows<T> all = direct_rows<T>(matrix);
    return Rows<T>{all.data + to_size(begin) * all.stride, all.stride};
  };
  const Layout& layout = network_.layout;
  const Rows<T> y = place(samples.y.matrix, samples.y.labels || samples.y.label_smoothing != 0,
                          ws_.y, layout.layers.back().stride);
  if (samples.x.is_sparse()) {
    ws_.stored.plan(samples.x, count, [&](std::size_t i) { return samples.row(begin + i); });
    return {at, count, {}, y, begin, true};
  }
  if (samples.order != nullptr || !is_direct<T>(samples.x)) ws_.make_x(layout);
  return {at, count, place(samples.x, false, ws_.x, layout.input_stride), y, begin};
}

template <class T>
void Backpropagation<T>::load(const Samples& samples, std::size_t first_sample,
                              const Chunk<T>& chunk, std::size_t begin, std::size_t end) {
  const Layout& layout = network_.layout;
  const std::size_t x_stride = layout.input_stride;
  const std::size_t y_stride = layout.layers.back().stride;
  T* const x = ws_.x != nullptr ? ws_.x + chunk.first * x_stride : nullptr;
  const bool gathers = !chunk.sparse && chunk.x.data == x;
  T* const y = ws_.y + chunk.first * y_stride;
  const double smoothing = samples.y.label_smoothing;
  if (chunk.sparse) ws_.stored.read(samples.x, begin, end);
  for (std::size_t r = begin; r < end; ++r) {
    const std::size_t sample = samples.row(first_sample + r);
    if (gathers && r + kRowsAhead < end)
      prefetch_row(samples.x, samples.row(first_sample + r + kRowsAhead));
    if (gathers) read_row<T>(samples.x, sample, x + r * x_stride);
    if (chunk.y.data != y) continue;
    T* const target = y + r * y_stride;
    if (samples.y.labels) {
      std::fill_n(target, layout.n_outputs(), T(0));
      // Checked before, but the array is the user's, and another thread may have changed it since.
      const auto label = static_cast<std::size_t>(read_label(samples.y.matrix, sample));
      if (label < layout.n_outputs()) target[label] = T(1);
    } else {
      read_row<T>(samples.y.matrix, sample, target);
    }
    if (smoothing != 0) smooth(target, layout.n_outputs(), layout.loss, smoothing);
  }
}

// z and a of every layer stay in the workspace, and what dropout leaves of a.
template <class T>
struct Backpropagation<T>::Forward : ForwardPass<T> {
  const Backpropagation& owner;
  const Chunk<T>& chunk;
  std::size_t begin;

  LayerOutput<T> output(std::size_t l, const Layer& layer) const {
    const std::size_t at = chunk.first + begin;
    const auto& views = owner.ws_.layers[l];
    return {owner.row(views.z, layer.stride, at), owner.row(views.a, layer.stride, at),
            to_size(layer.stride), owner.row(owner.activations(l), layer.stride, at)};
  }

  void finish(std::size_t l, const Layer& layer, const T* a, Size lda, std::size_t first,
              Size n_out) const {
    if (!owner.drops(l)) return;
    const Dropout& dropout = owner.dropout_;
    const auto& dropped = owner.ws_.dropped[l];
    const std::size_t at = chunk.first + begin;
    this->kernels.drop(owner.row(dropped.a, layer.stride, at) + first,
                       owner.row(dropped.factor, layer.stride, at) + first, a, lda,
                       dropout.mask(l, chunk.first_sample + begin),
                       static_cast<T>(1 / (1 - dropout.rate(l))), to_size(first), this->rows,
                       n_out);
  }
};

template <class T>
void Backpropagation<T>::forward(const Chunk<T>& chunk, std::size_t begin, std::size_t end,
                                 int threads) {
  Inputs<T> x;
  if (chunk.sparse)
    x.stored = ws_.stored.rows(begin);
  else
    x.dense = {chunk.x.data + to_size(begin) * chunk.x.stride, chunk.x.stride};
  forward_layers<T>(x, threads,
                    Forward{{kernels_, network_, to_size(end - begin)}, *this, chunk, begin});
}

template <class T>
void Backpropagation<T>::output_error(const Chunk<T>& chunk, std::size_t begin, std::size_t end,
                                      bool errors) {
  const Layout& layout = network_.layout;
  const Layer& layer = layout.layers.back();
  const auto& views = ws_.layers.back();
  const std::size_t at = chunk.first + begin;
  const Size stride = to_size(layer.stride);
  T* const delta = errors ? row(views.delta, layer.stride, at) : nullptr;
  kernels_.loss(layout.loss, ws_.cost + at, delta, stride, row(views.z, layer.stride, at), stride,
                row(views.a, layer.stride, at), stride,
                chunk.y.data + to_size(begin) * chunk.y.stride, chunk.y.stride, ws_.scale + at,
                to_size(end - begin), to_size(layer.n_out));
  if (errors && !is_fused(layout.loss)) output_error_from_derivative(chunk, begin, end);
}

template <class T>
void Backpropagation<T>::output_error_from_derivative(const Chunk<T>& chunk, std::size_t begin,
                                                      std::size_t end) {
  const Layer& layer = network_.layout.layers.back();
  const auto& views = ws_.layers.back();
  const std::size_t at = chunk.first + begin;
  const Size stride = to_size(layer.stride);
  kernels_.multiply_derivative(
      layer.activation, row(views.delta, layer.stride, at), stride, row(views.z, layer.stride, at),
      stride, row(views.a, layer.stride, at), stride, to_size(end - begin), to_size(layer.n_out));
}

template <class T>
void Backpropagation<T>::backward(const Chunk<T>& chunk, std::size_t begin, std::size_t end,
                                  int threads) {
  const Kernels<T>& k = kernels_;
  const Layout& layout = network_.layout;
  const Size n = to_size(end - begin);
  const std::size_t at = chunk.first + begin;
  for (std::size_t l = layout.layers.size(); l-- > 0;) {
    if (l == 0 && ws_.dx == nullptr) break;
    const Layer& layer = layout.layers[l];
    const auto& views = ws_.layers[l];
    const Size below = to_size(views.input_stride);
    parallel_ranges(threads, layer.n_in, kLanes<T>, [&](auto first, auto last) {
      const Size n_in = to_size(last - first);
      T* const d = row(l > 0 ? ws_.layers[l - 1].delta : ws_.dx, views.input_stride, at) + first;
      k.affine_transposed(d, below, row(views.delta, layer.stride, at), to_size(layer.stride),
                          network_.weights(layer) + first * layer.ld, to_size(layer.ld), n, n_in,
                          to_size(layer.n_out));
      if (l > 0 && drops(l - 1))
        k.multiply(d, row(ws_.dropped[l - 1].factor, views.input_stride, at) + first, below, n,
                   n_in);
      if (l > 0)
        k.multiply_derivative(layout.layers[l - 1].activation, d, below,
                              row(ws_.layers[l - 1].z, views.input_stride, at) + first, below,
                              row(ws_.layers[l - 1].a, views.input_stride, at) + first, below, n,
                              n_in);
    });
  }
}

template <class T>
void Backpropagation<T>::gradients(const Chunk<T>& chunk, const ChunkSum<T>& sum, int threads,
                                   bool every_row) {
  const Kernels<T>& k = kernels_;
  const Layout& layout = network_.layout;
  const Size samples = to_size(chunk.count);
  if (chunk.sparse)
    ws_.stored.sort_by_column(layout.n_inputs(), every_row, chunk.first, chunk.count);
  // A part has a range of rows of every layer.
  const auto ranges = static_cast<std::size_t>(std::max(threads, 1));
  parallel_for(threads, ranges, [&](std::size_t i) {
    const T* a = chunk.x.data;
    Size lda = chunk.x.stride;
    for (std::size_t l = 0; l < layout.layers.size(); ++l) {
      const Layer& layer = layout.layers[l];
      const auto& views = ws_.layers[l];
      const Size stride = to_size(layer.stride);
      const T* const delta = row(views.delta, layer.stride, chunk.first);
      // Whole blocks of a narrow layer, and whole strips; the grain does not reach the bits.
      constexpr std::size_t grain = 3 * kLanes<T>;
      static_assert(grain % kStrip == 0);
      const bool sparse = l == 0 && chunk.sparse;
      const auto [begin, end] = sparse ? share(ws_.stored.column_count(), 1, i, ranges)
                                       : share(layer.n_in, grain, i, ranges);
      if (sparse)
        k.sparse_gradient(sum.at(to_size(layer.weights)), to_size(layer.ld), ws_.stored.by_column(),
                          to_size(begin), to_size(end), delta, stride, samples,
                          to_size(layer.n_out));
      else if (begin < end)
        k.weight_gradient(sum.at(to_size(layer.weights)), to_size(layer.ld),
                          views.strips != nullptr ? views.strips + begin * chunk.count : nullptr, a,
                          lda, delta, stride, samples, to_size(begin), to_size(end),
                          to_size(layer.n_in), to_size(layer.n_out));
      if (layout.has_bias && i + 1 == ranges)
        k.bias_gradient(sum.at(to_size(layer.bias)), delta, stride, samples, to_size(layer.n_out));
      a = row(activations(l), layer.stride, chunk.first);
      lda = stride;
    }
  });
}

template <class T>
int Backpropagation<T>::first_nonfinite_layer(const Chunk<T>& chunk) const {
  const Layout& layout = network_.layout;
  int l = 0;
  for (const Layer& layer : layout.layers) {
    const T* const a = ws_.layers[static_cast<std::size_t>(l++)].a;
    for (std::size_t r = chunk.first; r < chunk.first + chunk.count; ++r)
      for (std::size_t j = 0; j < layer.n_out; ++j)
        if (const T value = a[r * layer.stride + j]; value - value != T(0)) return l;
  }
  return l;
}

template class Backpropagation<float>;
template class Backpropagation<double>;

}  // namespace chainrule
