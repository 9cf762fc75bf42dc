// ∇W = Σ δ aᵀ and ∇b = Σ δ over the samples of one chunk, and what becomes of them.
#pragma once

#include "kernels/product.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// The first M of the vectors acc, sums of a chunk from element `at` on, whole.
template <int M, class T, int N>
CHAINRULE_INLINE void take(const ChunkSum<T>& sum, const V<T> (&acc)[N], Size at) {
  constexpr Size width = kWidth<T>;
  V<T> total[N];
  for (int v = 0; v < M; ++v) total[v] = acc[v];
  for (int m = sum.merged; m > 0; --m) {
    const T* const waiting = sum.g + (m - 1) * sum.distance + at;
    for (int v = 0; v < M; ++v) total[v] = load<T>(waiting + v * width) + total[v];
  }
  if (sum.steps) {
    const V<T> rate = splat<T>(-sum.learning_rate);
    T* const w = sum.w + at;
    for (int v = 0; v < M; ++v)
      store<T>(w + v * width, fma(rate, total[v], load<T>(w + v * width)));
  } else {
    for (int v = 0; v < M; ++v) store<T>(sum.g + at + v * width, total[v]);
  }
}

// The first `count` elements of one vector.
template <class T>
CHAINRULE_INLINE void take_partial(const ChunkSum<T>& sum, V<T> acc, Size at, Size count) {
  for (int m = sum.merged; m > 0; --m)
    acc = load_partial<T>(sum.g + (m - 1) * sum.distance + at, count) + acc;
  if (!sum.steps) return store_partial<T>(sum.g + at, acc, count);
  T* const w = sum.w + at;
  store_partial<T>(w, fma(splat<T>(-sum.learning_rate), acc, load_partial<T>(w, count)), count);
}

// ∇W of one sample, δ aᵀ, along the rows of W: memory streams.
template <class T>
void outer_product(const ChunkSum<T>& sum, Size ld, const T* a, const T* delta, Size rows,
                   Size n_out) {
  constexpr Size width = kWidth<T>;
  for (Size k = 0; k < rows; ++k) {
    const V<T> ak = splat<T>(a[k]);
    Size j = 0;
    for (; j + width <= n_out; j += width) {
      const V<T> acc[] = {fma(ak, load<T>(delta + j), V<T>{})};
      take<1>(sum, acc, k * ld + j);
    }
    if (j < n_out) take_partial<T>(sum, fma(ak, load<T>(delta + j), V<T>{}), k * ld + j, n_out - j);
  }
}

// Elements of the padding are not written.
template <class T>
struct AccumulateRow {
  static constexpr bool kResumes = false;
  ChunkSum<T> sum;
  Size ld, n;
  CHAINRULE_INLINE Start<T> resume(Size, Size) const { return {nullptr, 0}; }
  // What the tile will change is fetched while it adds up.
  template <int R, int N>
  CHAINRULE_INLINE void expect(Size row, Size column) const {
    const T* const to = sum.steps ? sum.w : sum.g;
    for (int r = 0; r < R; ++r) prefetch<T, N>(to + (row + r) * ld + column);
  }
  template <int N>
  CHAINRULE_INLINE void operator()(const V<T> (&acc)[N], Size row, Size column) const {
    constexpr Size width = kWidth<T>;
    const Size at = row * ld + column;
    V<T> total[N];
    for (int v = 0; v < N; ++v) total[v] = acc[v] + V<T>{};
    if (column + N * width <= n) return take<N>(sum, total, at);
    take<N - 1>(sum, total, at);
    take_partial<T>(sum, total[N - 1], at + (N - 1) * width, n - column - (N - 1) * width);
  }
};

// Many samples, and a W of several panels: all tiles of a strip of a, kTileRows columns wide, read
// the same few numbers of each long row. The strips are copied first, one after the other, and so
// is each panel of δ.
template <class T>
[[gnu::noinline]] void packed_gradient(const AccumulateRow<T>& finish, T* strips, const T* a,
                                       Size lda, const T* delta, Size lddelta, Size samples,
                                       Size rows) {
  constexpr int most = max_vectors(kTileRows);
  constexpr Size width = kWidth<T>;
  constexpr Size ldp = most * width;
  const Size strip = kTileRows * samples;
  T* to = strips;
  for (Size row = 0; row < rows; row += kTileRows) {
    const T* from = a + row;
    if (rows - row >= kTileRows) {
      for (Size s = 0; s < samples; ++s, from += lda, to += kTileRows)
        __builtin_memcpy(to, from, kTileRows * sizeof(T));
    } else {
      for (Size s = 0; s < samples; ++s, from += lda, to += kTileRows)
        for (Size r = 0; r < rows - row; ++r) to[r] = from[r];
    }
  }
  alignas(64) T packed[kPackedRows * ldp];
  const Parts panels((finish.n + width - 1) / width, most);
  const Size cached = kCachedBytes / static_cast<Size>(sizeof(T)) / strip * kTileRows;
  for (Size begin = 0; begin < rows; begin += cached) {
    const Size end = begin + cached < rows ? begin + cached : rows;
    for (Size p = 0, column = 0; p < panels.count; column += panels.size(p) * width, ++p) {
      with_count<most>(panels.size(p), [&](auto n) {
        for (Size s = 0; s < samples; ++s)
          for (Size v = 0; v < n * width; v += width)
            store<T>(packed + s * ldp + v, load<T>(delta + s * lddelta + column + v));
        for (Size row = begin; row < end; row += kTileRows)
          with_count<kTileRows>(end - row < kTileRows ? end - row : kTileRows, [&](auto r) {
            tile<T, r, n, true>(strips + row * samples, kTileRows, packed, ldp, samples,
                                Start<T>{nullptr, 0}, finish, row, column);
          });
      });
    }
  }
}

template <class T>
void wide_gradient(const ChunkSum<T>& sum, Size ld, T* strips, const T* a, Size lda, const T* delta,
                   Size lddelta, Size samples, Size rows, Size n_out) {
  constexpr Size few = 16;
  const AccumulateRow<T> finish{sum, ld, n_out};
  if (samples == 1)
    outer_product<T>(sum, ld, a, delta, rows, n_out);
  else if (strips != nullptr && samples >= few && samples <= kPackedRows)
    packed_gradient<T>(finish, strips, a, lda, delta, lddelta, samples, rows);
  else
    product<T, true>(a, lda, delta, lddelta, samples, nullptr, rows, n_out, finish);
}

template <class T>
void bias_gradient(const ChunkSum<T>& sum, const T* delta, Size lddelta, Size samples, Size n_out) {
  constexpr Size width = kWidth<T>;
  for (Size j = 0; j < n_out; j += width) {
    V<T> acc{};
    for (Size s = 0; s < samples; ++s) acc = acc + load<T>(delta + s * lddelta + j);
    take_partial<T>(sum, acc, j, n_out - j < width ? n_out - j : width);
  }
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
