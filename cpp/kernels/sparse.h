// Products with rows of which only the elements that are not zero are stored: z is a sum of rows of
// W, and of ∇W only the rows of columns with elements are touched. The chains are those of the
// dense kernels, whose other terms are zeros.
#pragma once

#include "kernels/narrow.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// The row of W that comes so many elements later is fetched: it may lie anywhere.
inline constexpr Size kElementsAhead = 6;

// The parts of a chain's sum, N vectors wide.
template <class T, int N>
struct Sums {
  V<T> v[N];

  CHAINRULE_INLINE void add_row(T x, const T* row) {
    const V<T> factor = splat<T>(x);
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) v[i] = fma(factor, load<T>(row + i * kWidth<T>), v[i]);
  }
  CHAINRULE_INLINE void add(const Sums& other) {
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) v[i] = v[i] + other.v[i];
  }
};

// One row of x, N vectors of outputs. A chain ends where a column reaches the next multiple of
// `length`, and is added to those before it, of which the first is +0: no sum ends as -0.
template <class T, int N>
void sparse_row(T* z, const StoredRows<T>& x, Size row, const T* w, Size ld, const T* b,
                Size length) {
  constexpr Size width = kWidth<T>;
  Sums<T, N> chain{}, total{};
  if (b != nullptr) {
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) chain.v[i] = load<T>(b + i * width);
  }
  Size chain_end = length;
  const Size end = x.starts[row + 1];
  for (Size e = x.starts[row]; e < end; ++e) {
    const Size k = x.columns[e];
    if (e + kElementsAhead < end) prefetch<T, N>(w + x.columns[e + kElementsAhead] * ld);
    if (k >= chain_end) {
      total.add(chain);
      chain = {};
      chain_end = (k / length + 1) * length;
    }
    chain.add_row(x.values[e], w + k * ld);
  }
  total.add(chain);
#pragma GCC unroll 16
  for (int i = 0; i < N; ++i) store<T>(z + i * width, total.v[i]);
}

// A narrow layer: row k of W is part k mod S of a block, and takes part in chain k mod S.
template <class T, int P>
void narrow_sparse_row(T* z, const StoredRows<T>& x, Size row, const T* w, const T* b) {
  constexpr Size chains = kLanes<T> / P;
  alignas(64) T sums[kLanes<T>] = {};
  if (b != nullptr)
    for (int j = 0; j < P; ++j) sums[j] = b[j];
  for (Size e = x.starts[row]; e < x.starts[row + 1]; ++e) {
    const Size k = x.columns[e];
    T* const chain = sums + k % chains * P;
    for (int j = 0; j < P; ++j) chain[j] = fma(x.values[e], w[k * P + j], chain[j]);
  }
  Block<T> acc = load_block(sums);
  join_chains<T, P>(acc);
  for (int i = 0; i * kWidth<T> < P; ++i) store<T>(z + i * kWidth<T>, acc.part[i]);
}

template <class T>
void sparse_affine(T* z, Size ldz, const StoredRows<T>& x, const T* w, Size ld, const T* b,
                   Size rows, Size n_in, Size n_out) {
  if (ld < kLanes<T>)
    return with_narrow_width<T>(ld, [&](auto p) {
      for (Size r = 0; r < rows; ++r) narrow_sparse_row<T, p>(z + r * ldz, x, r, w, b);
    });
  constexpr int most = max_vectors(1);
  constexpr Size width = kWidth<T>;
  const Size length = ld == kLanes<T> ? chain_length(n_in) : n_in;
  const Parts panels((n_out + width - 1) / width, most);
  for (Size r = 0; r < rows; ++r) {
    for (Size p = 0, j = 0; p < panels.count; j += panels.size(p) * width, ++p)
      with_count<most>(panels.size(p), [&](auto n) {
        sparse_row<T, n>(z + r * ldz + j, x, r, w + j, ld, b != nullptr ? b + j : nullptr, length);
      });
  }
}

// Row k of ∇W from the samples that have an element in column k, N vectors of outputs, the last one
// of them perhaps in part.
template <class T, int N>
CHAINRULE_INLINE void sparse_gradient_row(const ChunkSum<T>& sum, const StoredColumns<T>& x, Size i,
                                          Size at, const T* delta, Size lddelta, bool several,
                                          Size count) {
  constexpr Size width = kWidth<T>;
  Sums<T, N> acc{};
  for (Size e = x.starts[i]; e < x.starts[i + 1]; ++e)
    acc.add_row(x.values[e], delta + x.samples[e] * lddelta);
  if (several) acc.add({});
  if (count == N * width) return take<N>(sum, acc.v, at);
  take<N - 1>(sum, acc.v, at);
  take_partial<T>(sum, acc.v[N - 1], at + (N - 1) * width, count - (N - 1) * width);
}

// A narrow layer, whose rows are shorter than a vector may be.
template <class T>
void narrow_sparse_gradient_row(const ChunkSum<T>& sum, const StoredColumns<T>& x, Size i, Size at,
                                const T* delta, Size lddelta, bool several, Size n_out) {
  for (Size j = 0; j < n_out; ++j) {
    T acc = 0;
    for (Size e = x.starts[i]; e < x.starts[i + 1]; ++e)
      acc = fma(x.values[e], delta[x.samples[e] * lddelta + j], acc);
    if (several) acc = acc + T(0);
    for (int m = sum.merged; m > 0; --m) acc = sum.g[(m - 1) * sum.distance + at + j] + acc;
    if (sum.steps)
      sum.w[at + j] = fma(-sum.learning_rate, acc, sum.w[at + j]);
    else
      sum.g[at + j] = acc;
  }
}

template <class T>
void sparse_gradient(const ChunkSum<T>& sum, Size ld, const StoredColumns<T>& x, Size begin,
                     Size end, const T* delta, Size lddelta, Size samples, Size n_out) {
  constexpr int most = max_vectors(1);
  constexpr Size width = kWidth<T>;
  const bool several = samples > 1;
  const Parts panels((n_out + width - 1) / width, most);
  for (Size i = begin; i < end; ++i) {
    const Size row = x.columns[i] * ld;
    if (ld < kLanes<T>) {
      narrow_sparse_gradient_row<T>(sum, x, i, row, delta, lddelta, several, n_out);
      continue;
    }
    for (Size p = 0, j = 0; p < panels.count; j += panels.size(p) * width, ++p)
      with_count<most>(panels.size(p), [&](auto n) {
        const Size left = n_out - j;
        sparse_gradient_row<T, n>(sum, x, i, row + j, delta + j, lddelta, several,
                                  left < n * width ? left : n * width);
      });
  }
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
