// softmax and the losses, row by row; softmax and the fused losses also for many rows of at most
// one block: kWidth rows at a time, lane i of vector j being element j of row i. The lanes of a row
// that are folded are then whole vectors, and one logarithm or division serves all rows.
#pragma once

#include "kernels/activations.h"
#include "kernels/losses.h"
#include "kernels/transposed.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// Fewer rows are faster one by one.
inline constexpr Size kEnoughRows = 4;

template <class T>
struct Columns {
  V<T> at[kLanes<T>];
};

// The elements of `part` of a block that are among the first n.
template <class T>
CHAINRULE_INLINE Size part_count(int part, Size n) {
  const Size left = n - part * kWidth<T>;
  return left < 0 ? 0 : (left < kWidth<T> ? left : kWidth<T>);
}

// Zeros in the columns from n on; the last row again where there are fewer than kWidth.
template <class T>
CHAINRULE_INLINE Columns<T> load_columns(const T* x, Size ldx, Size rows, Size n) {
  constexpr int width = kWidth<T>;
  Columns<T> columns;
  for (int part = 0; part < kParts<T>; ++part) {
    V<T> v[width];
#pragma GCC unroll 16
    for (int i = 0; i < width; ++i)
      v[i] = load_partial<T>(x + (i < rows ? i : rows - 1) * ldx + part * width,
                             part_count<T>(part, n));
    transpose_squares<T, width>(v);
#pragma GCC unroll 16
    for (int j = 0; j < width; ++j) columns.at[part * width + j] = v[j];
  }
  return columns;
}

template <class T>
CHAINRULE_INLINE void store_columns(T* x, Size ldx, const Columns<T>& columns, Size rows, Size n) {
  constexpr int width = kWidth<T>;
  for (int part = 0; part < kParts<T>; ++part) {
    V<T> v[width];
#pragma GCC unroll 16
    for (int j = 0; j < width; ++j) v[j] = columns.at[part * width + j];
    transpose_squares<T, width>(v);
#pragma GCC unroll 16
    for (int i = 0; i < width; ++i) {
      if (i == rows) break;
      store_partial<T>(x + i * ldx + part * width, v[i], part_count<T>(part, n));
    }
  }
}

template <class T>
CHAINRULE_INLINE void fill_from(Columns<T>& columns, Size n, T value) {
  for (Size j = n; j < kLanes<T>; ++j) columns.at[j] = splat<T>(value);
}

// What fold makes of a block.
template <class T, class Combine>
CHAINRULE_INLINE V<T> fold_columns(Columns<T> x, Combine combine) {
#pragma GCC unroll 4
  for (int half = kLanes<T> / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) x.at[i] = combine(x.at[i], x.at[i + half]);
  return x.at[0];
}
template <class T>
CHAINRULE_INLINE V<T> sum(const Columns<T>& x) {
  return fold_columns<T>(x, [](V<T> a, V<T> b) { return a + b; });
}
template <class T>
CHAINRULE_INLINE V<T> maximum(Columns<T> x, Size n) {
  for (Size j = 0; j < n; ++j) x.at[j] = max<T>(x.at[j], splat<T>(-kInfinity<T>));
  fill_from<T>(x, n, -kInfinity<T>);
  return fold_columns<T>(x, [](V<T> a, V<T> b) { return max<T>(a, b); });
}

// e^(z - m), and zeros from n on.
template <class T>
CHAINRULE_SCHEDULED void exponentials(Columns<T>& z, V<T> m, Size n) {
  constexpr int kAbreast = 4;
  for (Size j = 0; j < n; j += kAbreast)
#pragma GCC unroll 4
    for (int i = 0; i < kAbreast; ++i) z.at[j + i] = exp<T>(z.at[j + i] - m);
  fill_from<T>(z, n, 0);
}

template <class T>
void softmax_columns(T* a, Size lda, const T* z, Size ldz, Size rows, Size n) {
  Columns<T> e = load_columns<T>(z, ldz, rows, n);
  exponentials<T>(e, maximum<T>(e, n), n);
  const V<T> divisor = sum<T>(e);
  for (Size j = 0; j < n; ++j) e.at[j] = e.at[j] / divisor;
  store_columns<T>(a, lda, e, rows, n);
}

template <class T>
void loss_columns(LossFormula<T, Loss::cross_entropy>, T* cost, T* d, Size ldd, const T* z,
                  Size ldz, const T* a, Size lda, const T* y, Size ldy, const T* scale, Size rows,
                  Size n) {
  constexpr int width = kWidth<T>;
  const V<T> zero = splat<T>(0);
  const Columns<T> logits = load_columns<T>(z, ldz, rows, n);
  Columns<T> targets = load_columns<T>(y, ldy, rows, n);
  Columns<T> e = logits;
  const V<T> m = maximum<T>(logits, n);
  exponentials<T>(e, m, n);
  const V<T> log_sum = log<T>(sum<T>(e));
  Columns<T> total;
  for (Size j = 0; j < n; ++j) {
    const V<T> yj = targets.at[j];
    const V<T> term = yj * (log_sum + (m - logits.at[j]));
    total.at[j] = zero + (yj == zero ? zero : term);
    targets.at[j] = zero + yj;
  }
  fill_from<T>(total, n, 0);
  store_partial<T>(cost, sum<T>(total), rows);
  if (d == nullptr) return;
  T target_sums[width];
  store<T>(target_sums, sum<T>(targets));
  for (Size r = 0; r < rows; ++r) {
    for (Size j = 0; j < n; j += width) {
      const Size count = n - j < width ? n - j : width;
      const V<T> slope = load<T>(a + r * lda + j) * splat<T>(target_sums[r]) -
                         load_partial<T>(y + r * ldy + j, count);
      store_partial<T>(d + r * ldd + j, slope * splat<T>(scale[r]), count);
    }
  }
}

template <class T>
CHAINRULE_SCHEDULED void binary_costs(Columns<T>& z, const Columns<T>& y, Size n) {
  constexpr int kAbreast = 4;
  for (Size j = 0; j < n; j += kAbreast)
#pragma GCC unroll 4
    for (int i = 0; i < kAbreast; ++i)
      z.at[j + i] = splat<T>(0) + binary_cost<T>(z.at[j + i], y.at[j + i]);
  fill_from<T>(z, n, 0);
}

template <class T>
void loss_columns(LossFormula<T, Loss::binary_cross_entropy>, T* cost, T* d, Size ldd, const T* z,
                  Size ldz, const T* a, Size lda, const T* y, Size ldy, const T* scale, Size rows,
                  Size n) {
  constexpr int width = kWidth<T>;
  const V<T> outputs = splat<T>(static_cast<T>(n));
  Columns<T> costs = load_columns<T>(z, ldz, rows, n);
  binary_costs<T>(costs, load_columns<T>(y, ldy, rows, n), n);
  store_partial<T>(cost, sum<T>(costs) / outputs, rows);
  if (d == nullptr) return;
  for (Size r = 0; r < rows; ++r) {
    for (Size j = 0; j < n; j += width) {
      const Size count = n - j < width ? n - j : width;
      const V<T> slope =
          (load<T>(a + r * lda + j) - load_partial<T>(y + r * ldy + j, count)) / outputs;
      store_partial<T>(d + r * ldd + j, slope * splat<T>(scale[r]), count);
    }
  }
}

// Calls columns(first row, rows) for as many rows as that pays for; returns how many they were.
template <class T, class F>
CHAINRULE_INLINE Size by_columns(Size rows, Size n, F columns) {
  Size r = 0;
  if (n > kLanes<T>) return r;
  for (; rows - r >= kEnoughRows; r += kWidth<T>) {
    if (rows - r < kWidth<T>) {
      columns(r, rows - r);
      return rows;
    }
    columns(r, Size{kWidth<T>});
  }
  return r;
}

template <class T>
void map_rows(Formula<T, Activation::softmax>, T* a, Size lda, const T* z, Size ldz, Size rows,
              Size n) {
  Size r = 0;
  // Without a logarithm to share, four rows are too few.
  if constexpr (kWidth<T> > 4)
    r = by_columns<T>(rows, n, [&](Size first, Size count) {
      softmax_columns<T>(a + first * lda, lda, z + first * ldz, ldz, count, n);
    });
  for (; r < rows; ++r) softmax<T>(a + r * lda, z + r * ldz, n);
}

template <class T>
void multiply_rows(Formula<T, Activation::softmax>, T* d, Size ldd, const T*, Size, const T* a,
                   Size lda, Size rows, Size n) {
  for (Size r = 0; r < rows; ++r) softmax_backward<T>(d + r * ldd, a + r * lda, n);
}

template <class T, class L>
void loss_rows(L formula, T* cost, T* d, Size ldd, const T* z, Size ldz, const T* a, Size lda,
               const T* y, Size ldy, const T* scale, Size rows, Size n) {
  Size r = 0;
  // The losses that take exponentials or logarithms.
  if constexpr (requires {
                  loss_columns<T>(formula, cost, d, ldd, z, ldz, a, lda, y, ldy, scale, rows, n);
                })
    r = by_columns<T>(rows, n, [&](Size first, Size count) {
      loss_columns<T>(formula, cost + first, d != nullptr ? d + first * ldd : nullptr, ldd,
                      z + first * ldz, ldz, a + first * lda, lda, y + first * ldy, ldy,
                      scale + first, count, n);
    });
  for (; r < rows; ++r)
    cost[r] = loss_row<T>(formula, d != nullptr ? d + r * ldd : nullptr, z + r * ldz, a + r * lda,
                          y + r * ldy, scale[r], n);
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
