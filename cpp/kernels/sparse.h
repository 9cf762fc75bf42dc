// Products with rows of which only the elements that are not zero are stored: z is a sum of rows of
// W, and of ∇W only the rows of columns with elements are touched. The chains are those of the
// dense kernels, whose other terms are zeros.
#pragma once

#include "kernels/narrow.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// The row of W that comes so many elements later is fetched, as is that of ∇W: it may lie anywhere.
inline constexpr Size kElementsAhead = 8;
inline constexpr Size kColumnsAhead = 3;

// The parts of a chain's sum, N vectors wide.
template <class T, int N>
struct Sums {
  V<T> v[N];

  CHAINRULE_INLINE void add_row(T x, const T* row) {
    const V<T> factor = splat<T>(x);
#pragma GCC unroll 32
    for (int i = 0; i < N; ++i) v[i] = fma(factor, load<T>(row + i * kWidth<T>), v[i]);
  }
  CHAINRULE_INLINE void add(const Sums& other) {
#pragma GCC unroll 32
    for (int i = 0; i < N; ++i) v[i] = v[i] + other.v[i];
  }
};

// How many vectors of outputs a row adds up at a time: with a factor they fit the registers.
inline constexpr int kMostSums = CHAINRULE_VECTOR_BYTES == 16   ? 16
                                 : CHAINRULE_VECTOR_BYTES == 32 ? 14
                                                                : 8;

// One row of x, N vectors of outputs. What is fetched may belong to the rows of x that follow,
// whose elements end at `last`.
template <class T, int N>
void sparse_row(T* z, const StoredRows<T>& x, Size row, Size last, const T* w, Size ld,
                const T* b) {
  Sums<T, N> sum{};
  if (b != nullptr) {
#pragma GCC unroll 32
    for (int i = 0; i < N; ++i) sum.v[i] = load<T>(b + i * kWidth<T>);
  }
  const Size end = x.starts[row + 1];
  for (Size e = x.starts[row]; e < end; ++e) {
    if (e + kElementsAhead < last) prefetch<T, N>(w + x.columns[e + kElementsAhead] * ld);
    sum.add_row(x.values[e], w + x.columns[e] * ld);
  }
#pragma GCC unroll 32
  for (int i = 0; i < N; ++i) store<T>(z + i * kWidth<T>, sum.v[i] + V<T>{});
}

// A layer of one block. A chain ends where a column reaches the next multiple of its length, and is
// added to those before it, of which the first is +0: no sum ends as -0.
template <class T>
void sparse_block_row(T* z, const StoredRows<T>& x, Size row, const T* w, const T* b, Size length) {
  constexpr int parts = kParts<T>;
  Sums<T, parts> chain{}, total{};
  if (b != nullptr) {
#pragma GCC unroll 16
    for (int i = 0; i < parts; ++i) chain.v[i] = load<T>(b + i * kWidth<T>);
  }
  Size chain_end = length;
  for (Size e = x.starts[row]; e < x.starts[row + 1]; ++e) {
    const Size k = x.columns[e];
    if (k >= chain_end) {
      total.add(chain);
      chain = {};
      chain_end = (k / length + 1) * length;
    }
    chain.add_row(x.values[e], w + k * kLanes<T>);
  }
  total.add(chain);
#pragma GCC unroll 16
  for (int i = 0; i < parts; ++i) store<T>(z + i * kWidth<T>, total.v[i]);
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
  if (ld == kLanes<T>) {
    for (Size r = 0; r < rows; ++r)
      sparse_block_row<T>(z + r * ldz, x, r, w, b, chain_length(n_in));
    return;
  }
  constexpr Size width = kWidth<T>;
  const Parts panels((n_out + width - 1) / width, kMostSums);
  const Size last = x.starts[rows];
  for (Size r = 0; r < rows; ++r) {
    for (Size p = 0, j = 0; p < panels.count; j += panels.size(p) * width, ++p)
      with_count<kMostSums>(panels.size(p), [&](auto n) {
        sparse_row<T, n>(z + r * ldz + j, x, r, last, w + j, ld, b != nullptr ? b + j : nullptr);
      });
  }
}

// One dense row: of so many inputs at a time those that are not zero are listed first, so that the
// loop over rows of W has no branches to guess; at least one in kWorthSkipping has to be zero.
inline constexpr Size kListed = 1024;
inline constexpr Size kFewestToSkip = 64;
inline constexpr Size kWorthSkipping = 6;

template <class T>
Size count_zeros(const T* a, Size n) {
  Size zeros = 0;
  Size k = 0;
#if CHAINRULE_VECTOR_BYTES != 0
  Bits<T> equal{};
  for (; k + kWidth<T> <= n; k += kWidth<T>) equal += load<T>(a + k) == V<T>{};  // -1 where it is
  for (int lane = 0; lane < kWidth<T>; ++lane) zeros -= equal[lane];
#endif
  for (; k < n; ++k) zeros += a[k] == T(0);
  return zeros;
}

// N vectors of outputs from the listed inputs; the sum goes on from `start`.
template <class T, int N>
void listed_row(T* z, const T* a, const std::int32_t* list, Size count, const T* w, Size ld,
                const T* start) {
  Sums<T, N> sum{};
  if (start != nullptr) {
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) sum.v[i] = load<T>(start + i * kWidth<T>);
  }
  for (Size e = 0; e < count; ++e) {
    const Size k = list[e];
    sum.add_row(a[k], w + k * ld);
  }
#pragma GCC unroll 16
  for (int i = 0; i < N; ++i) store<T>(z + i * kWidth<T>, sum.v[i] + V<T>{});
}

// z of one row as `affine` gives it, without the rows of W whose input is 0; false, and nothing
// done, where there are too few of them.
template <class T>
bool skipping_affine(T* z, const T* a, const T* w, Size ld, const T* b, Size n_in, Size n_out) {
  if (n_in < kFewestToSkip || count_zeros(a, n_in) * kWorthSkipping < n_in) return false;
  constexpr int most = max_vectors(1);
  constexpr Size width = kWidth<T>;
  const Parts panels((n_out + width - 1) / width, most);
  std::int32_t list[kListed];
  for (Size k0 = 0; k0 < n_in; k0 += kListed) {
    const Size part = n_in - k0 < kListed ? n_in - k0 : kListed;
    Size count = 0;
    for (Size k = 0; k < part; ++k) {
      list[count] = static_cast<std::int32_t>(k);
      count += a[k0 + k] != T(0);
    }
    for (Size p = 0, j = 0; p < panels.count; j += panels.size(p) * width, ++p)
      with_count<most>(panels.size(p), [&](auto n) {
        const T* const start = k0 > 0 ? z + j : b != nullptr ? b + j : nullptr;
        listed_row<T, n>(z + j, a + k0, list, count, w + k0 * ld + j, ld, start);
      });
  }
  return true;
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
  constexpr Size width = kWidth<T>;
  const bool several = samples > 1;
  const Parts panels((n_out + width - 1) / width, kMostSums);
  for (Size i = begin; i < end; ++i) {
    const Size row = x.columns[i] * ld;
    if (i + kColumnsAhead < end) {
      const T* const ahead = (sum.steps ? sum.w : sum.g) + x.columns[i + kColumnsAhead] * ld;
      for (Size j = 0; j < n_out; j += kLanes<T>) __builtin_prefetch(ahead + j, 1);
    }
    if (ld < kLanes<T>) {
      narrow_sparse_gradient_row<T>(sum, x, i, row, delta, lddelta, several, n_out);
      continue;
    }
    for (Size p = 0, j = 0; p < panels.count; j += panels.size(p) * width, ++p)
      with_count<kMostSums>(panels.size(p), [&](auto n) {
        const Size left = n_out - j;
        sparse_gradient_row<T, n>(sum, x, i, row + j, delta + j, lddelta, several,
                                  left < n * width ? left : n * width);
      });
  }
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
