// Back-propagation over chunks of samples:
//
//   z^l = W^l a^{l-1} + b^l,  a^l = g^l(z^l)            forward
//   δ^L = ∂C/∂a^L ⊙ g'^L(z^L)                           output_error
//   δ^l = (W^{l+1})ᵀ δ^{l+1} ⊙ g'^l(z^l)                backward
//   ∇W^l = Σ_s δ^l (a^{l-1})ᵀ,  ∇b^l = Σ_s δ^l          gradients
//
// The factor 1/n (or a sample's weight) enters once, in ∂C/∂a^L.
#pragma once

#include "core/chunks.h"
#include "core/data.h"
#include "core/dropout.h"
#include "core/network.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "kernels/kernels.h"

namespace chainrule {

// Rows [first, first + count) of a workspace; `x` is their a^0.
template <class T>
struct Chunk {
  std::size_t first = 0;
  std::size_t count = 0;
  Rows<T> x{};
  Rows<T> y{};
  std::size_t first_sample = 0;  // in the order of the samples
  bool sparse = false;           // x is the workspace's stored samples
};

template <class T>
class Backpropagation {
 public:
  // For chunks of at most `rows` rows.
  Backpropagation(const Network<T>& network, Workspace<T>& workspace, std::size_t rows,
                  const Dropout& dropout = {})
      : kernels_(kernels_for<T>(network.layout, rows)),
        network_(network),
        ws_(workspace),
        dropout_(dropout) {
    if (!dropout_.rates.empty()) ws_.make_dropped(network_.layout);
  }

  // The chunk at row `at` of the workspace made of the samples [begin, begin + count): arrays
  // that the kernels can read are used where they lie, others by load().
  Chunk<T> chunk(const Samples& samples, std::size_t begin, std::size_t count,
                 std::size_t at) const;

  // Gathers and converts the rows [begin, end) of the chunk that cannot be read in place.
  void load(const Samples& samples, std::size_t first_sample, const Chunk<T>& chunk,
            std::size_t begin, std::size_t end);

  // Rows [begin, end) of the chunk through all layers. Threads share the columns of W.
  void forward(const Chunk<T>& chunk, std::size_t begin, std::size_t end, int threads = 1);

  // The costs of rows [begin, end), and δ^L where `errors` is set.
  void output_error(const Chunk<T>& chunk, std::size_t begin, std::size_t end, bool errors);

  // δ^L = ∂C/∂a^L ⊙ g'^L(z^L), in place.
  void output_error_from_derivative(const Chunk<T>& chunk, std::size_t begin, std::size_t end);

  // δ^{L-1} ... δ^1, and ∂C/∂x where the workspace has room for it. Threads share the rows of W.
  void backward(const Chunk<T>& chunk, std::size_t begin, std::size_t end, int threads = 1);

  // ∇W, whose rows the threads share, and ∇b into `sum`, in the layout of the parameters. Where x
  // is sparse, the rows of ∇W¹ that the chunk does not touch are left alone unless `every_row` is
  // set.
  void gradients(const Chunk<T>& chunk, const ChunkSum<T>& sum, int threads, bool every_row = true);

  // The first layer (from 1) whose activations of this chunk are not all finite; L if all are.
  int first_nonfinite_layer(const Chunk<T>& chunk) const;

 private:
  struct Forward;
  T* row(T* view, std::size_t stride, std::size_t r) const { return view + r * stride; }
  bool drops(std::size_t l) const { return dropout_.rate(l) > 0; }
  // What the layer above layer l reads.
  T* activations(std::size_t l) const { return drops(l) ? ws_.dropped[l].a : ws_.layers[l].a; }

  const Kernels<T>& kernels_;
  const Network<T>& network_;
  Workspace<T>& ws_;
  Dropout dropout_;
};

}  // namespace chainrule
