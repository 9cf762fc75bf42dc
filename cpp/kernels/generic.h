// Every kernel once, generic in vector width and element type; an ISA file includes this
// header and exports table().
#pragma once

#include "kernels/block.h"
#include "kernels/columns.h"
#include "kernels/descent.h"
#include "kernels/dropout.h"
#include "kernels/gradient.h"
#include "kernels/roofline.h"
#include "kernels/rows.h"
#include "kernels/sparse.h"
#include "kernels/updates.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

template <class T>
void affine(T* z, Size ldz, const T* a, Size lda, const T* w, Size ld, const T* b, Size rows,
            Size n_in, Size n_out) {
  if (ld < kLanes<T>)
    with_narrow_width<T>(ld,
                         [&](auto p) { narrow_affine<T, p>(z, ldz, a, lda, w, b, rows, n_in); });
  else if (ld == kLanes<T>)
    block_affine<T>(z, ldz, a, lda, w, b, rows, n_in, n_out);
  else if (rows > 1 || !skipping_affine<T>(z, a, w, ld, b, n_in, n_out))
    product<T, false>(a, lda, w, ld, n_in, b, rows, n_out, StoreRow<T>{z, ldz});
}

template <class T>
void weight_gradient(const ChunkSum<T>& sum, Size ld, T* strips, const T* a, Size lda,
                     const T* delta, Size lddelta, Size samples, Size begin, Size end, Size n_in,
                     Size n_out) {
  if (ld < kLanes<T>)
    with_narrow_width<T>(ld, [&](auto p) {
      narrow_gradient<T, p>(sum, a, lda, delta, lddelta, samples, begin, end, n_in, n_out);
    });
  else
    wide_gradient<T>(sum.at(begin * ld), ld, strips, a + begin, lda, delta, lddelta, samples,
                     end - begin, n_out);
}

// f(formula) with the formula of a member of a list.
template <class T, class F>
CHAINRULE_INLINE void with_formula(Activation g, F f) {
  switch (g) {
#define X(name, ...)     \
  case Activation::name: \
    return f(Formula<T, Activation::name>());
    CHAINRULE_ACTIVATIONS(X)
#undef X
  }
}
template <class T, class F>
CHAINRULE_INLINE void with_formula(Loss loss, F f) {
  switch (loss) {
#define X(name, ...) \
  case Loss::name:   \
    return f(LossFormula<T, Loss::name>());
    CHAINRULE_LOSSES(X)
#undef X
  }
}

template <class T>
void activate(Activation g, T* a, Size lda, const T* z, Size ldz, Size rows, Size n) {
  with_formula<T>(g, [&](auto formula) { map_rows<T>(formula, a, lda, z, ldz, rows, n); });
}

template <class T>
void narrow_row(Activation g, T* a, Size room, const T* x, const T* w, Size ld, const T* b,
                Size n_in, Size n_out) {
  Block<T> row[1] = {};
  with_narrow_width<T>(ld, [&](auto p) { narrow_sums<T, p>(row, x, 0, w, b, n_in); });
  with_formula<T>(g, [&](auto formula) { map_block<T>(formula, row[0], n_out); });
  store_first<T>(a, row[0], n_out, room);
}

template <class T>
void multiply_derivative(Activation g, T* d, Size ldd, const T* z, Size ldz, const T* a, Size lda,
                         Size rows, Size n) {
  with_formula<T>(
      g, [&](auto formula) { multiply_rows<T>(formula, d, ldd, z, ldz, a, lda, rows, n); });
}

template <class T>
void loss(Loss kind, T* cost, T* d, Size ldd, const T* z, Size ldz, const T* a, Size lda,
          const T* y, Size ldy, const T* scale, Size rows, Size n) {
  with_formula<T>(kind, [&](auto formula) {
    loss_rows<T>(formula, cost, d, ldd, z, ldz, a, lda, y, ldy, scale, rows, n);
  });
}

template <class T, class F>
CHAINRULE_INLINE void map_flat(T* out, const T* x, Size n, F f) {
  for (Size i = 0; i < n; i += kWidth<T>) {
    const Size count = n - i < kWidth<T> ? n - i : kWidth<T>;
    store_partial<T>(out + i, f(load_partial<T>(x + i, count)), count);
  }
}

template <class T>
void elementary(ElementaryFunction which, T* out, const T* x, Size n) {
  switch (which) {
#define X(name)                  \
  case ElementaryFunction::name: \
    return map_flat<T>(out, x, n, [](V<T> v) { return name<T>(v); });
    CHAINRULE_ELEMENTARY(X)
#undef X
  }
}

template <class T>
constexpr Kernels<T> make_table() {
  return {
      .affine = affine<T>,
      .sparse_affine = sparse_affine<T>,
      .affine_transposed = affine_transposed<T>,
      .weight_gradient = weight_gradient<T>,
      .sparse_gradient = sparse_gradient<T>,
      .bias_gradient = bias_gradient<T>,
      .step_affine = step_affine<T>,
      .activate = activate<T>,
      .narrow_row = narrow_row<T>,
      .multiply_derivative = multiply_derivative<T>,
      .drop = drop<T>,
      .multiply = multiply<T>,
      .loss = loss<T>,
      .update = update<T>,
      .square_sum = square_sum<T>,
      .elementary = elementary<T>,
      .fma_chains = fma_chains<T>,
      .read_sum = read_sum<T>,
  };
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
