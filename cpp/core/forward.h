// The one loop over the layers of a network that every forward pass runs. Passes differ in where
// they keep z and a, and in what happens around the product and the activation of a layer.
#pragma once

#include <type_traits>

#include "core/network.h"
#include "core/parallel.h"

namespace chainrule {

// What the first layer reads: dense rows, or stored elements.
template <class T>
struct Inputs {
  Rows<T> dense;
  StoredRows<T> stored;
};

// Where the rows of one layer go.
template <class T>
struct LayerOutput {
  T* z;  // (rows, n_l), rows layer.stride apart
  T* a;  // (rows, n_l), lda apart; may be z
  Size lda;
  const T* above;  // what the next layer reads, lda apart
};

// A pass defines output(l, layer), and hides what it does otherwise.
template <class T>
struct ForwardPass {
  const Kernels<T>& kernels;
  const Network<T>& network;
  Size rows;

  // Whether somebody reads z after the activation.
  static constexpr bool kKeepsZ = true;

  // z of n_out columns from `first` on; z is where the first of them goes.
  void product(const Layer& layer, T* z, const T* a, Size lda, std::size_t first,
               Size n_out) const {
    const T* const b = network.bias(layer);
    kernels.affine(z, to_size(layer.stride), a, lda, network.weights(layer) + first,
                   to_size(layer.ld), b != nullptr ? b + first : nullptr, rows, to_size(layer.n_in),
                   n_out);
  }

  void product(const Layer& layer, T* z, const StoredRows<T>& x, std::size_t first,
               Size n_out) const {
    const T* const b = network.bias(layer);
    kernels.sparse_affine(z, to_size(layer.stride), x, network.weights(layer) + first,
                          to_size(layer.ld), b != nullptr ? b + first : nullptr, rows,
                          to_size(layer.n_in), n_out);
  }

  // What follows the activation of these columns; a is where the first of them is.
  void finish(std::size_t, const Layer&, const T*, Size, std::size_t, Size) const {}
};

// Threads share the columns of W, and with them the outputs; narrow layers and softmax are one
// thread's.
template <class T, class Pass>
void forward_layers(const Inputs<T>& x, int threads, Pass&& pass) {
  const Kernels<T>& k = pass.kernels;
  const Size rows = pass.rows;
  const T* input = x.dense.data;
  Size ld_input = x.dense.stride;
  const StoredRows<T>* stored = x.stored.starts != nullptr ? &x.stored : nullptr;
  std::size_t l = 0;
  for (const Layer& layer : pass.network.layout.layers) {
    const auto [z, a, lda, above] = pass.output(l, layer);
    const bool narrow = layer.ld < kLanes<T>;
    const Size stride = to_size(layer.stride);
    if (!std::decay_t<Pass>::kKeepsZ && rows == 1 && narrow && stored == nullptr) {
      k.narrow_row(layer.activation, a, a == z ? stride : to_size(layer.n_out), input,
                   pass.network.weights(layer), to_size(layer.ld), pass.network.bias(layer),
                   to_size(layer.n_in), to_size(layer.n_out));
    } else {
      const bool whole = layer.activation == Activation::softmax;
      // Copies, not references: the address of what a reference means would be taken, and the
      // serial loop would keep it in memory.
      parallel_ranges(
          narrow ? 1 : threads, layer.n_out, kLanes<T>,
          [=, &k, &pass, &layer, z = z, a = a, lda = lda](std::size_t first, std::size_t last) {
            const Size n_out = to_size(last - first);
            if (stored != nullptr)
              pass.product(layer, z + first, *stored, first, n_out);
            else
              pass.product(layer, z + first, input, ld_input, first, n_out);
            if (!whole)
              k.activate(layer.activation, a + first, lda, z + first, stride, rows, n_out);
            pass.finish(l, layer, a + first, lda, first, n_out);
          });
      if (whole) k.activate(layer.activation, a, lda, z, stride, rows, to_size(layer.n_out));
    }
    stored = nullptr;
    input = above;
    ld_input = lda;
    ++l;
  }
}

}  // namespace chainrule
