// ∇W = Σ δ aᵀ and ∇b = Σ δ over the samples of one chunk, and what becomes of them.
#pragma once

#include "kernels/product.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// What becomes of the sums of one chunk, acc, in g or w.
template <class T>
struct Target {
  Accumulate mode;
  T *w, *g;
  T learning_rate;

  CHAINRULE_INLINE bool to_weights() const {
    return mode == Accumulate::step || mode == Accumulate::add_step;
  }
  CHAINRULE_INLINE Target at(Size i) const { return {mode, w + i, g + i, learning_rate}; }

  // The first M vectors, whole.
  template <int M, int N>
  CHAINRULE_INLINE void take(const V<T> (&acc)[N]) const {
    constexpr Size width = kWidth<T>;
    if (mode == Accumulate::step) {
      const V<T> rate = splat<T>(-learning_rate);
      for (int v = 0; v < M; ++v)
        store<T>(w + v * width, fma(rate, acc[v], load<T>(w + v * width)));
    } else if (mode == Accumulate::add_step) {
      const V<T> rate = splat<T>(-learning_rate);
      for (int v = 0; v < M; ++v)
        store<T>(w + v * width, fma(rate, load<T>(g + v * width) + acc[v], load<T>(w + v * width)));
    } else {
      const bool add = mode == Accumulate::add;
      for (int v = 0; v < M; ++v)
        store<T>(g + v * width, add ? load<T>(g + v * width) + acc[v] : acc[v]);
    }
  }

  // The first `count` elements of one vector.
  CHAINRULE_INLINE void take_partial(V<T> acc, Size count) const {
    if (mode == Accumulate::store) return store_partial<T>(g, acc, count);
    if (mode == Accumulate::add) return store_partial<T>(g, load_partial<T>(g, count) + acc, count);
    if (mode == Accumulate::add_step) acc = load_partial<T>(g, count) + acc;
    store_partial<T>(w, fma(splat<T>(-learning_rate), acc, load_partial<T>(w, count)), count);
  }
};

// ∇W of one sample, δ aᵀ, along the rows of W: memory streams.
template <class T>
void outer_product(const Target<T>& target, Size ld, const T* a, const T* delta, Size rows,
                   Size n_out) {
  constexpr Size width = kWidth<T>;
  for (Size k = 0; k < rows; ++k) {
    const V<T> ak = splat<T>(a[k]);
    Size j = 0;
    for (; j + width <= n_out; j += width) {
      const V<T> acc[] = {fma(ak, load<T>(delta + j), V<T>{})};
      target.at(k * ld + j).template take<1>(acc);
    }
    if (j < n_out)
      target.at(k * ld + j).take_partial(fma(ak, load<T>(delta + j), V<T>{}), n_out - j);
  }
}

// Elements of the padding are not written.
template <class T>
struct AccumulateRow {
  static constexpr bool kResumes = false;
  Target<T> target;
  Size ld, n;
  CHAINRULE_INLINE Start<T> resume(Size, Size) const { return {nullptr, 0}; }
  // What the tile will change is fetched while it adds up.
  template <int R, int N>
  CHAINRULE_INLINE void expect(Size row, Size column) const {
    const T* const to = target.to_weights() ? target.w : target.g;
    for (int r = 0; r < R; ++r) prefetch<T, N>(to + (row + r) * ld + column);
  }
  template <int N>
  CHAINRULE_INLINE void operator()(const V<T> (&acc)[N], Size row, Size column) const {
    constexpr Size width = kWidth<T>;
    const Target<T> to = target.at(row * ld + column);
    if (column + N * width <= n) return to.template take<N>(acc);
    to.template take<N - 1>(acc);
    to.at((N - 1) * width).take_partial(acc[N - 1], n - column - (N - 1) * width);
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
void wide_gradient(const Target<T>& target, Size ld, T* strips, const T* a, Size lda,
                   const T* delta, Size lddelta, Size samples, Size rows, Size n_out) {
  constexpr Size few = 16;
  const AccumulateRow<T> finish{target, ld, n_out};
  if (samples == 1)
    outer_product<T>(target, ld, a, delta, rows, n_out);
  else if (strips != nullptr && samples >= few && samples <= kPackedRows)
    packed_gradient<T>(finish, strips, a, lda, delta, lddelta, samples, rows);
  else
    product<T, true>(a, lda, delta, lddelta, samples, nullptr, rows, n_out, finish);
}

template <class T>
void bias_gradient(Accumulate mode, T* b, T* g, const T* delta, Size lddelta, Size samples,
                   Size n_out, T learning_rate) {
  constexpr Size width = kWidth<T>;
  const Target<T> target{mode, b, g, learning_rate};
  for (Size j = 0; j < n_out; j += width) {
    V<T> acc{};
    for (Size s = 0; s < samples; ++s) acc = acc + load<T>(delta + s * lddelta + j);
    target.at(j).take_partial(acc, n_out - j < width ? n_out - j : width);
  }
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
