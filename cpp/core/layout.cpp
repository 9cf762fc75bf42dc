#include "core/layout.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace chainrule {
namespace {

constexpr std::size_t kMaxBytes = std::numeric_limits<std::ptrdiff_t>::max();

// A tile's activations stay in the cache from layer to layer. Weights that do not are read anew
// by every tile: such a network gets larger ones. One with very wide layers gets fewer rows, so
// that a workspace stays small.
constexpr std::size_t kTileRows = 64;
constexpr std::size_t kWideTileRows = 256;
constexpr std::size_t kCacheBytes = std::size_t{1} << 20;
constexpr std::size_t kTileElements = std::size_t{1} << 20;

std::size_t checked_multiply(std::size_t a, std::size_t b) {
  if (b != 0 && a > kMaxBytes / b) throw SizeOverflow("the network is larger than memory can be");
  return a * b;
}

std::size_t checked_add(std::size_t a, std::size_t b) {
  if (a > kMaxBytes - b) throw SizeOverflow("the network is larger than memory can be");
  return a + b;
}

std::size_t round_up(std::size_t n, std::size_t multiple) {
  return checked_add(n, multiple - 1) / multiple * multiple;
}

}  // namespace

template <class T>
std::size_t padded_stride(std::size_t n) {
  constexpr std::size_t lanes = kLanes<T>;
  const std::size_t stride = round_up(n, lanes);
  return stride * sizeof(T) % 2048 == 0 ? stride + lanes : stride;
}

template <class T>
Layout make_layout(const Architecture& architecture) {
  constexpr std::size_t lanes = kLanes<T>;
  const auto& [sizes, activations, loss, has_bias] = architecture;
  Layout layout;
  layout.loss = loss;
  layout.has_bias = has_bias;
  layout.input_stride = padded_stride<T>(sizes[0]);
  layout.layers.reserve(activations.size());
  for (std::size_t l = 0; l < activations.size(); ++l) {
    Layer layer;
    layer.n_in = sizes[l];
    layer.n_out = sizes[l + 1];
    layer.activation = activations[l];
    layer.keeps_z =
        derivative_needs_z(layer.activation) || (l + 1 == activations.size() && is_fused(loss));
    layer.stride = padded_stride<T>(layer.n_out);
    const bool narrow = layer.n_out <= lanes / 2;
    layer.ld = narrow ? std::bit_ceil(layer.n_out) : layer.stride;
    layer.weights = layout.size;
    layer.bias =
        checked_add(layer.weights, round_up(checked_multiply(layer.n_in, layer.ld), lanes));
    layout.size = checked_add(layer.bias, has_bias ? round_up(layer.n_out, lanes) : 0);
    const std::size_t products = checked_multiply(layer.n_in, layer.n_out);
    layout.multiplies = checked_add(layout.multiplies, products);
    layout.n_parameters = checked_add(layout.n_parameters, products + (has_bias ? layer.n_out : 0));
    layout.max_stride = std::max(layout.max_stride, layer.stride);
    layout.max_ld = std::max(layout.max_ld, layer.ld);
    layout.layers.push_back(layer);
  }
  const std::size_t bytes = checked_multiply(layout.size, sizeof(T));
  layout.tile_rows = std::clamp<std::size_t>(kTileElements / layout.max_stride, 1,
                                             bytes > kCacheBytes ? kWideTileRows : kTileRows);
  return layout;
}

template std::size_t padded_stride<float>(std::size_t);
template std::size_t padded_stride<double>(std::size_t);
template Layout make_layout<float>(const Architecture&);
template Layout make_layout<double>(const Architecture&);

}  // namespace chainrule
