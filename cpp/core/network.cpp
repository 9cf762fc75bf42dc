#include "core/network.h"

#include <algorithm>
#include <utility>

#include "core/forward.h"
#include "core/stored.h"

namespace chainrule {
namespace {

// Two buffers in turn hold the activations of a tile. Small ones lie on the stack; larger ones grow
// and are kept, one pair a thread.
constexpr std::size_t kStackElements = 1024;

// Rows of a sparse matrix whose elements are copied at a time.
constexpr std::size_t kPlannedRows = 1024;

template <class T>
T* tile_workspace(std::size_t size) {
  thread_local AlignedBuffer<T> buffer;
  if (buffer.size() < size) buffer = AlignedBuffer<T>(size);
  return buffer.data();
}

// Each layer into one of two buffers in turn, the last one into the result.
template <class T>
struct Prediction : ForwardPass<T> {
  static constexpr bool kKeepsZ = false;
  T* z;
  T* next;
  T* out;
  Size out_stride;

  LayerOutput<T> output(std::size_t, const Layer& layer) {
    T* const here = std::exchange(z, next);
    next = here;
    if (&layer == &this->network.layout.layers.back()) return {here, out, out_stride, out};
    return {here, here, to_size(layer.stride), here};
  }
};

template <class T>
void predict_rows(const Network<T>& network, Rows<T> x, T* out, Size out_stride, std::size_t rows,
                  std::size_t tile, T* workspace, int threads = 1) {
  const Kernels<T>& k = kernels_for<T>(network.layout, rows);
  for (std::size_t first = 0; first < rows; first += tile) {
    const Size n = to_size(std::min(tile, rows - first));
    const Size from = to_size(first);
    forward_layers<T>({{x.data + from * x.stride, x.stride}, {}}, threads,
                      Prediction<T>{{k, network, n},
                                    workspace,
                                    workspace + tile * network.layout.max_stride,
                                    out + from * out_stride,
                                    out_stride});
  }
}

}  // namespace

template <class T>
const Kernels<T>& kernels_for(const Layout& layout, std::size_t rows) {
  const std::size_t few_rows = layout.max_ld < kLanes<T> ? 16 : 4;
  const bool short_vectors = layout.max_ld <= kLanes<T> && rows <= few_rows;
  return short_vectors ? narrow_kernels<T>() : kernels<T>();
}

template <class T>
void predict(const Network<T>& network, Rows<T> x, T* out, std::ptrdiff_t out_stride,
             std::size_t rows, int threads) {
  const Layout& layout = network.layout;
  const std::size_t tile = std::min(layout.tile_rows, rows);
  const std::size_t size = predict_room(network, tile);
  const bool together = shares_columns<T>(layout);
  int n_threads = threads_for(layout.work(rows), threads);
  if (!together)
    n_threads = std::min(n_threads, static_cast<int>(std::min<std::size_t>(rows, kMaxThreads)));
  if (n_threads <= 1) {
    if (size <= kStackElements) {
      alignas(64) T workspace[kStackElements];
      predict_rows(network, x, out, out_stride, rows, tile, workspace);
      return;
    }
    predict_rows(network, x, out, out_stride, rows, tile, tile_workspace<T>(size));
    return;
  }
  // The caller's buffer serves all threads: nothing may throw in the loop.
  T* const base = tile_workspace<T>(together ? size : size * static_cast<std::size_t>(n_threads));
  if (together) {
    predict_rows(network, x, out, out_stride, rows, tile, base, n_threads);
    return;
  }
  const auto n = static_cast<std::size_t>(n_threads);
  const std::size_t part = std::min(tile, (rows + n - 1) / n);
  // Tile by tile: a core that other processes use takes fewer.
  parallel_for(n_threads, (rows + part - 1) / part, [&](std::size_t i, int thread) {
    const std::size_t begin = i * part;
    const auto first = static_cast<std::ptrdiff_t>(begin);
    predict_rows(network, {x.data + first * x.stride, x.stride}, out + first * out_stride,
                 out_stride, std::min(part, rows - begin), tile,
                 base + size * static_cast<std::size_t>(thread));
  });
}

template <class T>
void predict_sparse(const Network<T>& network, const Matrix& x, T* out, std::ptrdiff_t out_stride,
                    int threads) {
  const Layout& layout = network.layout;
  const std::size_t tile = std::min(layout.tile_rows, x.rows);
  const std::size_t size = predict_room(network, tile);
  const auto n = static_cast<std::size_t>(threads_for(work_of(layout, x), threads));
  T* const base = tile_workspace<T>(size * n);
  StoredSamples<T> stored;
  for (std::size_t first = 0; first < x.rows; first += kPlannedRows) {
    const std::size_t rows = std::min(kPlannedRows, x.rows - first);
    stored.plan(x, rows, [=](std::size_t i) { return first + i; });
    parallel_for(static_cast<int>(n), (rows + tile - 1) / tile, [&](std::size_t i, int thread) {
      const std::size_t begin = i * tile;
      const std::size_t end = std::min(begin + tile, rows);
      T* const workspace = base + size * static_cast<std::size_t>(thread);
      stored.read(x, begin, end);
      forward_layers<T>(
          {{}, stored.rows(begin)}, 1,
          Prediction<T>{{kernels_for<T>(layout, end - begin), network, to_size(end - begin)},
                        workspace,
                        workspace + tile * layout.max_stride,
                        out + to_size(first + begin) * out_stride,
                        out_stride});
    });
  }
}

template <class T>
void flatten(const Layout& layout, const T* buffer, T* flat) {
  for (const Layer& layer : layout.layers) {
    const T* const w = buffer + layer.weights;
    for (std::size_t j = 0; j < layer.n_out; ++j)
      for (std::size_t k = 0; k < layer.n_in; ++k) *flat++ = w[k * layer.ld + j];
    if (layout.has_bias) flat = std::copy_n(buffer + layer.bias, layer.n_out, flat);
  }
}

template <class T>
void unflatten(const Layout& layout, const T* flat, T* buffer) {
  for (const Layer& layer : layout.layers) {
    T* const w = buffer + layer.weights;
    for (std::size_t j = 0; j < layer.n_out; ++j)
      for (std::size_t k = 0; k < layer.n_in; ++k) w[k * layer.ld + j] = *flat++;
    if (!layout.has_bias) continue;
    std::copy_n(flat, layer.n_out, buffer + layer.bias);
    flat += layer.n_out;
  }
}

template <class T>
void predict_alone(const Network<T>& network, Rows<T> x, T* out, std::ptrdiff_t out_stride,
                   std::size_t rows, std::size_t tile, T* room) {
  predict_rows(network, x, out, out_stride, rows, tile, room);
}

template <class T>
void predict_alone(const Network<T>& network, const StoredRows<T>& x, T* out, T* room) {
  const Layout& layout = network.layout;
  forward_layers<T>({{}, x}, 1,
                    Prediction<T>{{kernels_for<T>(layout, 1), network, 1},
                                  room,
                                  room + layout.max_stride,
                                  out,
                                  to_size(layout.n_outputs())});
}

template <class T>
int nonfinite_layer(const Network<T>& network) {
  int l = 0;
  for (const Layer& layer : network.layout.layers) {
    ++l;
    const std::size_t end = network.layout.has_bias ? layer.bias + layer.n_out : layer.bias;
    bool finite = true;
    for (std::size_t i = layer.weights; i < end; ++i) {
      const T value = network.parameters.data()[i];
      finite &= value - value == T(0);
    }
    if (!finite) return l;
  }
  return 0;
}

template const Kernels<float>& kernels_for<float>(const Layout&, std::size_t);
template const Kernels<double>& kernels_for<double>(const Layout&, std::size_t);
template void predict<float>(const Network<float>&, Rows<float>, float*, std::ptrdiff_t,
                             std::size_t, int);
template void predict<double>(const Network<double>&, Rows<double>, double*, std::ptrdiff_t,
                              std::size_t, int);
template void predict_sparse<float>(const Network<float>&, const Matrix&, float*, std::ptrdiff_t,
                                    int);
template void predict_sparse<double>(const Network<double>&, const Matrix&, double*, std::ptrdiff_t,
                                     int);
template void flatten<float>(const Layout&, const float*, float*);
template void flatten<double>(const Layout&, const double*, double*);
template void unflatten<float>(const Layout&, const float*, float*);
template void unflatten<double>(const Layout&, const double*, double*);
template void predict_alone<float>(const Network<float>&, Rows<float>, float*, std::ptrdiff_t,
                                   std::size_t, std::size_t, float*);
template void predict_alone<double>(const Network<double>&, Rows<double>, double*, std::ptrdiff_t,
                                    std::size_t, std::size_t, double*);
template void predict_alone<float>(const Network<float>&, const StoredRows<float>&, float*, float*);
template void predict_alone<double>(const Network<double>&, const StoredRows<double>&, double*,
                                    double*);
template int nonfinite_layer<float>(const Network<float>&);
template int nonfinite_layer<double>(const Network<double>&);

}  // namespace chainrule
