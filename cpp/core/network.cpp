#include "core/network.h"

#include <algorithm>

#include "core/parallel.h"
#include "kernels/kernels.h"

namespace chainrule {
namespace {

// Two buffers in turn hold the activations of a tile. Small ones lie on the stack; larger ones grow
// and are kept, one pair a thread.
constexpr std::size_t kStackElements = 1024;

template <class T>
T* tile_workspace(std::size_t size) {
  thread_local AlignedBuffer<T> buffer;
  if (buffer.size() < size) buffer = AlignedBuffer<T>(size);
  return buffer.data();
}

// True for narrow layers, and for a few rows of layers of one block.
template <class T>
bool fits_short_vectors(const Layout& layout, std::size_t rows) {
  constexpr std::size_t kFewRows = 4;
  return layout.max_ld < kLanesOf<T> || (layout.max_ld == kLanesOf<T> && rows <= kFewRows);
}

template <class T>
void predict_rows(const Network<T>& network, Rows<T> x, T* out, Size out_stride, std::size_t rows,
                  std::size_t tile, T* workspace) {
  const Layout& layout = network.layout;
  const Kernels<T>& k = fits_short_vectors<T>(layout, rows) ? narrow_kernels<T>() : kernels<T>();
  for (std::size_t begin = 0; begin < rows; begin += tile) {
    const Size n = static_cast<Size>(std::min(tile, rows - begin));
    const T* a = x.data + static_cast<Size>(begin) * x.stride;
    Size lda = x.stride;
    T* z = workspace;
    T* next = workspace + tile * layout.max_stride;
    for (const Layer& layer : layout.layers) {
      const bool last = &layer == &layout.layers.back();
      const Size stride = static_cast<Size>(layer.stride);
      T* const target = last ? out + static_cast<Size>(begin) * out_stride : z;
      const Size target_stride = last ? out_stride : stride;
      const Size ld = static_cast<Size>(layer.ld);
      const Size n_in = static_cast<Size>(layer.n_in);
      const Size n_out = static_cast<Size>(layer.n_out);
      if (n == 1 && layer.ld < kLanesOf<T>) {
        k.narrow_row(layer.activation, target, last ? n_out : stride, a, network.weights(layer), ld,
                     network.bias(layer), n_in, n_out);
      } else {
        k.affine(z, stride, a, lda, network.weights(layer), ld, network.bias(layer), n, n_in,
                 n_out);
        k.activate(layer.activation, target, target_stride, z, stride, n, n_out);
      }
      a = target;
      lda = target_stride;
      std::swap(z, next);
    }
  }
}

}  // namespace

template <class T>
void predict(const Network<T>& network, Rows<T> x, T* out, std::ptrdiff_t out_stride,
             std::size_t rows, int threads) {
  const Layout& layout = network.layout;
  const std::size_t tile = std::min(layout.tile_rows, rows);
  const std::size_t size = 2 * tile * layout.max_stride;
  const int team_threads = std::min(team_size(layout.work(rows), threads),
                                    static_cast<int>(std::min<std::size_t>(rows, kMaxThreads)));
  if (team_threads <= 1) {
    if (size <= kStackElements) {
      alignas(64) T workspace[kStackElements];
      predict_rows(network, x, out, out_stride, rows, tile, workspace);
      return;
    }
    predict_rows(network, x, out, out_stride, rows, tile, tile_workspace<T>(size));
    return;
  }
  // The caller's buffer serves the whole team: nothing may throw inside the region.
  T* const base = tile_workspace<T>(size * static_cast<std::size_t>(team_threads));
  parallel(team_threads, [&](const Team& team) {
    const auto [begin, end] = team.share(rows, 1);
    const auto first = static_cast<std::ptrdiff_t>(begin);
    predict_rows(network, {x.data + first * x.stride, x.stride}, out + first * out_stride,
                 out_stride, end - begin, tile, base + size * static_cast<std::size_t>(team.rank));
  });
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

template void predict<float>(const Network<float>&, Rows<float>, float*, std::ptrdiff_t,
                             std::size_t, int);
template void predict<double>(const Network<double>&, Rows<double>, double*, std::ptrdiff_t,
                              std::size_t, int);
template int nonfinite_layer<float>(const Network<float>&);
template int nonfinite_layer<double>(const Network<double>&);

}  // namespace chainrule
