// From the sizes of a network to the place of every number in its one parameter buffer.
//
// W^l lies k-major: row k holds w_0k ... w_{n-1,k}, so that the forward product is "broadcast a_k
// times row k" and the update an outer product over the same rows. A row is padded with zeros to
// a multiple of kLanes elements (64 bytes); a layer narrower than that to the next power of two
// p, so that one 64-byte block holds kLanes / p consecutive rows, and its rows are padded to whole
// blocks. The bias follows its weights. Padding is zero and stays zero.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <vector>

#include "core/architecture.h"
#include "kernels/kernels.h"

namespace chainrule {

// Thrown when a product of sizes does not fit into the address space.
class SizeOverflow : public std::overflow_error {
  using std::overflow_error::overflow_error;
};

struct Layer {
  std::size_t n_in = 0;     // n_{l-1}
  std::size_t n_out = 0;    // n_l
  Activation activation{};  // g^l
  std::size_t ld = 0;       // elements from row k of W to row k + 1
  std::size_t stride = 0;   // elements of one row of z, a or δ in a workspace
  std::size_t weights = 0;  // offset of W in the parameter buffer
  std::size_t bias = 0;     // offset of b
  bool keeps_z = false;     // backward needs z beside a
};

struct Layout {
  std::vector<Layer> layers;
  Loss loss{};
  bool has_bias = true;
  std::size_t input_stride = 0;  // elements of one row of x in a workspace
  std::size_t max_stride = 0;    // the widest row of any layer's output
  std::size_t max_ld = 0;        // of any layer
  std::size_t size = 0;          // elements of the parameter buffer, padding included
  std::size_t n_parameters = 0;  // elements that a user sees
  std::size_t multiplies = 0;    // fused multiply-adds of one forward row

  std::size_t tile_rows = 0;  // rows that go through all layers before the next ones do

  std::size_t n_inputs() const { return layers.front().n_in; }
  std::size_t n_outputs() const { return layers.back().n_out; }

  // Fused multiply-adds of one forward pass.
  double work(std::size_t rows) const {
    return static_cast<double>(rows) * static_cast<double>(multiplies);
  }
};

// Whether threads share the columns of W, each reading a part of it, rather than the samples: where
// the weights exceed what the caches of one core hold.
template <class T>
bool shares_columns(const Layout& layout) {
  constexpr std::size_t kCoreBytes = std::size_t{4} << 20;
  return layout.size * sizeof(T) > kCoreBytes;
}

// Of an architecture that check() accepts. Throws SizeOverflow.
template <class T>
Layout make_layout(const Architecture& architecture);

// The row stride of a matrix whose rows are padded to whole blocks, chosen so that the
// rows of one column do not all fall into the same cache sets.
template <class T>
std::size_t padded_stride(std::size_t n);

}  // namespace chainrule
