// What a forward pass leaves for the backward pass: one allocation, many named views.
#pragma once

#include <vector>

#include "core/aligned_buffer.h"
#include "core/layout.h"
#include "core/stored.h"
#include "kernels/kernels.h"

namespace chainrule {

template <class T>
struct Workspace {
  struct LayerViews {
    T* z = nullptr;       // (rows, n_l); the same memory as a where backward can do without z
    T* a = nullptr;       // (rows, n_l)
    T* delta = nullptr;   // (rows, n_l)
    T* strips = nullptr;  // room to copy a^{l-1} for ∇W; null where that does not pay
    std::size_t input_stride = 0;  // of the rows of a^{l-1} and δ^{l-1}
  };

  std::size_t rows;    // capacity
  T* x = nullptr;      // (rows, n_0), for samples that have to be gathered; null before make_x()
  T* y = nullptr;      // (rows, n_L)
  T* dx = nullptr;     // (rows, n_0), ∂C/∂x; null unless asked for
  T* scale = nullptr;  // (rows): 1/n, or each sample's share of the weights
  T* cost = nullptr;   // (rows)
  std::vector<LayerViews> layers;

  enum Extras : unsigned { none = 0, keep_every_z = 1, input_gradient = 2 };
  Workspace(const Layout& layout, std::size_t rows, unsigned extras = none);

  void make_x(const Layout& layout);

  // Of a hidden layer, for dropout: what the layer above reads, and by what a was multiplied.
  struct DroppedViews {
    T* a = nullptr;
    T* factor = nullptr;
  };
  std::vector<DroppedViews> dropped;  // empty before make_dropped()
  void make_dropped(const Layout& layout);

  // Samples of a sparse matrix, in place of x.
  StoredSamples<T> stored;

  // Room for so many sums of chunks, one after the other in the layout of the parameters.
  T* gradients(const Layout& layout, std::size_t count);

 private:
  AlignedBuffer<T> buffer_;
  AlignedBuffer<T> gradients_;
  AlignedBuffer<T> dropped_;
  AlignedBuffer<T> x_;
};

}  // namespace chainrule
