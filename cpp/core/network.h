// A network: its layout, its parameters, and the forward pass that answers predict.
#pragma once

#include <cstdint>

#include "core/aligned_buffer.h"
#include "core/data.h"
#include "core/layout.h"
#include "kernels/kernels.h"

namespace chainrule {

inline Size to_size(std::size_t n) { return static_cast<Size>(n); }

template <class T>
struct Network {
  Layout layout;
  AlignedBuffer<T> parameters;
  std::uint64_t seed = 0;   // of the initial weights, the order of samples, and dropout
  std::uint64_t epoch = 0;  // completed epochs: the next one's order follows from it

  explicit Network(const Architecture& architecture)
      : layout(make_layout<T>(architecture)), parameters(layout.size) {}
  Network(const Network& other)
      : layout(other.layout), parameters(layout.size), seed(other.seed), epoch(other.epoch) {
    parameters.copy_from(other.parameters);
  }

  const T* weights(const Layer& layer) const { return parameters.data() + layer.weights; }
  const T* bias(const Layer& layer) const {
    return layout.has_bias ? parameters.data() + layer.bias : nullptr;
  }
};

// The kernels for `rows` rows: narrow_kernels() for a few rows of layers of at most one block.
template <class T>
const Kernels<T>& kernels_for(const Layout& layout, std::size_t rows);

// out = a^L for `rows` rows of x. Any number of threads may call it on one network; `threads`
// is how many may share the work (0: the process-wide setting). Throws std::bad_alloc before
// anything is written.
template <class T>
void predict(const Network<T>& network, Rows<T> x /*(rows, n_0)*/, T* out /*(rows, n_L)*/,
             std::ptrdiff_t out_stride, std::size_t rows, int threads);

// The same for the rows of a sparse matrix.
template <class T>
void predict_sparse(const Network<T>& network, const Matrix& x, T* out /*(rows, n_L)*/,
                    std::ptrdiff_t out_stride, int threads);

// Fused multiply-adds of one forward pass over x: of a sparse one those of its elements.
inline double work_of(const Layout& layout, const Matrix& x) {
  if (!x.is_sparse()) return layout.work(x.rows);
  const Layer& first = layout.layers.front();
  const auto product = [](std::size_t a, std::size_t b) {
    return static_cast<double>(a) * static_cast<double>(b);
  };
  return product(x.stored, first.n_out) +
         product(x.rows, layout.multiplies - first.n_in * first.n_out);
}

// W¹ row-major, b¹, W², ...: the numbers that a user sees, from a buffer with the layout of the
// parameters, and back. Padding is not touched.
template <class T>
void flatten(const Layout& layout, const T* buffer, T* flat /*(n_parameters)*/);
template <class T>
void unflatten(const Layout& layout, const T* flat /*(n_parameters)*/, T* buffer);

// The same on this thread alone, without an allocation: `tile` rows at a time go through all layers
// in `room`, predict_room(network, tile) elements on a 64-byte boundary.
template <class T>
void predict_alone(const Network<T>& network, Rows<T> x, T* out, std::ptrdiff_t out_stride,
                   std::size_t rows, std::size_t tile, T* room);
// One row of stored elements likewise; `room` for a tile of at least one row.
template <class T>
void predict_alone(const Network<T>& network, const StoredRows<T>& x, T* out, T* room);
template <class T>
std::size_t predict_room(const Network<T>& network, std::size_t tile) {
  return 2 * tile * network.layout.max_stride;
}

// The first layer (from 1) with a parameter that is not finite; 0 where there is none.
template <class T>
int nonfinite_layer(const Network<T>& network);

}  // namespace chainrule
