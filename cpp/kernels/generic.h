// Every kernel once, generic in vector width and element type; an ISA file includes this
// header and exports table().
#pragma once

#include "kernels/columns.h"
#include "kernels/descent.h"
#include "kernels/dropout.h"
#include "kernels/gradient.h"
#include "kernels/roofline.h"
#include "kernels/rows.h"
#include "kernels/updates.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

template <class T>
void affine(T* z, Size ldz, const T* a, Size lda, const T* w, Size ld, const T* b, Size rows,
            Size n_in, Size n_out) {
  if (ld < kLanes<T>)
    with_narrow_width<T>(ld,
                         [&](auto p) { narrow_affine<T, p>(z, ldz, a, lda, w, b, rows, n_in); });
  else
    product<T, false>(a, lda, w, ld, n_in, b, rows, n_out, StoreRow<T>{z, ldz});
}

template <class T>
void weight_gradient(Accumulate mode, T* w, T* g, Size ld, T* strips, const T* a, Size lda,
                     const T* delta, Size lddelta, Size samples, Size begin, Size end, Size n_in,
                     Size n_out, T learning_rate) {
  if (ld < kLanes<T>)
    with_narrow_width<T>(ld, [&](auto p) {
      narrow_gradient<T, p>(mode, w, g, a, lda, delta, lddelta, samples, begin, end, n_in, n_out,
                            learning_rate);
    });
  else
    wide_gradient<T>({mode, w + begin * ld, g + begin * ld, learning_rate}, ld, strips, a + begin,
                     lda, delta, lddelta, samples, end - begin, n_out);
}

// Calls f with the struct of an elementwise activation.
template <class T, class F>
CHAINRULE_INLINE void with_activation(Activation g, F f) {
  switch (g) {
    case Activation::sigmoid:
      return f(Sigmoid<T>());
    case Activation::tanh:
      return f(Tanh<T>());
    case Activation::relu:
      return f(Relu<T>());
    case Activation::leaky_relu:
      return f(LeakyRelu<T>());
    case Activation::elu:
      return f(Elu<T>());
    case Activation::selu:
      return f(Selu<T>());
    case Activation::softplus:
      return f(Softplus<T>());
    case Activation::silu:
      return f(Silu<T>());
    case Activation::gelu:
      return f(Gelu<T>());
    case Activation::identity:
    case Activation::softmax:
      return f(Identity<T>());
  }
}

template <class T>
void activate(Activation g, T* a, Size lda, const T* z, Size ldz, Size rows, Size n) {
  if (g == Activation::softmax) {
    softmax_rows<T>(a, lda, z, ldz, rows, n);
  } else if (g != Activation::identity || a != z) {
    with_activation<T>(
        g, [&](auto formula) { map_rows<T, decltype(formula)>(a, lda, z, ldz, rows, n); });
  }
}

template <class T>
void narrow_row(Activation g, T* a, Size room, const T* x, const T* w, Size ld, const T* b,
                Size n_in, Size n_out) {
  Block<T> row[1] = {};
  with_narrow_width<T>(ld, [&](auto p) { narrow_sums<T, p>(row, x, 0, w, b, n_in); });
  if (g == Activation::softmax)
    row[0] = softmax<T>(row[0], n_out);
  else
    with_activation<T>(g, [&](auto formula) {
      for (int i = 0; i < kParts<T> && i * kWidth<T> < n_out; ++i)
        row[0].part[i] = formula.value(row[0].part[i]);
    });
  store_first<T>(a, row[0], n_out, room);
}

template <class T>
void multiply_derivative(Activation g, T* d, Size ldd, const T* z, Size ldz, const T* a, Size lda,
                         Size rows, Size n) {
  if (g == Activation::softmax) {
    for (Size r = 0; r < rows; ++r) softmax_backward<T>(d + r * ldd, a + r * lda, n);
  } else if (g != Activation::identity) {
    with_activation<T>(g, [&](auto formula) {
      multiply_rows<T, decltype(formula)>(d, ldd, z, ldz, a, lda, rows, n);
    });
  }
}

template <class T>
T loss_row(Loss loss, T* d, const T* z, const T* a, const T* y, T scale, Size n) {
  switch (loss) {
    case Loss::half_mse:
      return difference_loss<T, HalfMse<T>>(d, a, y, scale, n);
    case Loss::sse:
      return difference_loss<T, Sse<T>>(d, a, y, scale, n);
    case Loss::mse:
      return difference_loss<T, Mse<T>>(d, a, y, scale, n);
    case Loss::mae:
      return difference_loss<T, Mae<T>>(d, a, y, scale, n);
    case Loss::huber:
      return difference_loss<T, Huber<T>>(d, a, y, scale, n);
    case Loss::cross_entropy:
      return cross_entropy<T>(d, z, a, y, scale, n);
    case Loss::binary_cross_entropy:
      return binary_cross_entropy<T>(d, z, a, y, scale, n);
  }
  __builtin_unreachable();
}

template <class T>
void loss(Loss kind, T* cost, T* d, Size ldd, const T* z, Size ldz, const T* a, Size lda,
          const T* y, Size ldy, const T* scale, Size rows, Size n) {
  Size r = 0;
  if (is_fused(kind))
    r = by_columns<T>(rows, n, [&](Size first, Size count) {
      const auto columns =
          kind == Loss::cross_entropy ? cross_entropy_columns<T> : binary_cross_entropy_columns<T>;
      columns(cost + first, d != nullptr ? d + first * ldd : nullptr, ldd, z + first * ldz, ldz,
              a + first * lda, lda, y + first * ldy, ldy, scale + first, count, n);
    });
  for (; r < rows; ++r)
    cost[r] = loss_row<T>(kind, d != nullptr ? d + r * ldd : nullptr, z + r * ldz, a + r * lda,
                          y + r * ldy, scale[r], n);
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
  return {affine<T>,
          affine_transposed<T>,
          weight_gradient<T>,
          bias_gradient<T>,
          step_affine<T>,
          activate<T>,
          narrow_row<T>,
          multiply_derivative<T>,
          drop<T>,
          multiply<T>,
          loss<T>,
          sgd<T>,
          momentum<T>,
          adam<T>,
          rmsprop<T>,
          adagrad<T>,
          square_sum<T>,
          elementary<T>,
          fma_chains<T>,
          read_sum<T>};
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
