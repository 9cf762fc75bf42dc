// Layers narrower than one 64-byte block: ld = P in {1, 2, 4, ...}, S = kLanes / P rows of W in
// a block. Lane s P + j of a block belongs to row k = k0 + s and column j.
#pragma once

#include "kernels/gradient.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

#if CHAINRULE_VECTOR_BYTES != 0
template <class T, int P, int... I>
CHAINRULE_INLINE V<T> repeat_each(V<T> v, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(v, v, (I / P)...);
}
template <class T, int P, int... I>
CHAINRULE_INLINE V<T> repeat_all(V<T> v, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(v, v, (I % P)...);
}
#endif

// Part `i` of the block whose lane s P + j is a_s; zero from s = count on, where nothing is read.
template <class T, int P>
CHAINRULE_INLINE V<T> each_lane(const T* a, int i, Size count) {
  constexpr int width = kWidth<T>;
  const Size first = i * width / P;
  if constexpr (P >= width) {
    return splat<T>(first < count ? a[first] : T(0));
  } else {
#if CHAINRULE_VECTOR_BYTES != 0
    // No more than is used: a wider load could not take over what was stored just before.
    const Size left = count - first;
    const V<T> v = left >= width / P ? load_first<T, width / P>(a + first)
                                     : load_partial<T>(a + first, left < 0 ? 0 : left);
    return repeat_each<T, P>(v, std::make_integer_sequence<int, width>());
#endif
  }
}

// Part `i` of the block whose lane s P + j is row_j.
template <class T, int P>
CHAINRULE_INLINE V<T> every_row(const T* row, int i) {
  constexpr int width = kWidth<T>;
  if constexpr (P >= width) {
    return load<T>(row + i * width % P);
  } else {
#if CHAINRULE_VECTOR_BYTES != 0
    return repeat_all<T, P>(load<T>(row), std::make_integer_sequence<int, width>());
#endif
  }
}

// The sum of the chains of a narrow layer, in the first P lanes.
template <class T, int P>
CHAINRULE_INLINE void join_chains(Block<T>& acc) {
  fold<T, P>(acc, [](V<T> x, V<T> y) { return x + y; });
  for (int i = 0; i * kWidth<T> < P; ++i) acc.part[i] = acc.part[i] + V<T>{};
}

// z of R rows, in the first P lanes of each block; they end in + (+0).
template <class T, int P, int R>
CHAINRULE_INLINE void narrow_sums(Block<T> (&acc)[R], const T* a, Size lda, const T* w, const T* b,
                                  Size n_in) {
  constexpr Size chains = kLanes<T> / P;
  for (int i = 0; i < kParts<T>; ++i)
    for (int r = 0; r < R; ++r) acc[r].part[i] = b != nullptr ? load<T>(b + i * kWidth<T>) : V<T>{};
  for (Size k = 0; k < n_in; k += chains) {
    for (int i = 0; i < kParts<T>; ++i) {
      const V<T> wi = load<T>(w + k * P + i * kWidth<T>);
      for (int r = 0; r < R; ++r)
        acc[r].part[i] = fma(wi, each_lane<T, P>(a + r * lda + k, i, n_in - k), acc[r].part[i]);
    }
  }
  for (int r = 0; r < R; ++r) join_chains<T, P>(acc[r]);
}

template <class T, int P, int R>
void narrow_affine_rows(T* z, Size ldz, const T* a, Size lda, const T* w, const T* b, Size n_in) {
  Block<T> acc[R];
  narrow_sums<T, P>(acc, a, lda, w, b, n_in);
  for (int r = 0; r < R; ++r) {
    for (int i = 0; i * kWidth<T> < P; ++i) store<T>(z + r * ldz + i * kWidth<T>, acc[r].part[i]);
  }
}

template <class T, int P>
void narrow_affine(T* z, Size ldz, const T* a, Size lda, const T* w, const T* b, Size rows,
                   Size n_in) {
  constexpr int kRows = 4;
  Size r = 0;
  for (; r + kRows <= rows; r += kRows)
    narrow_affine_rows<T, P, kRows>(z + r * ldz, ldz, a + r * lda, lda, w, b, n_in);
  for (; r < rows; ++r) narrow_affine_rows<T, P, 1>(z + r * ldz, ldz, a + r * lda, lda, w, b, n_in);
}

// Lane s P + j counts when j < n_out and row s of the block exists.
template <class T, int P>
CHAINRULE_INLINE V<T> narrow_select(V<T> yes, V<T> no, int i, Size rows, Size n_out) {
#if CHAINRULE_VECTOR_BYTES == 0
  return i % P < n_out && i / P < rows ? yes : no;
#else
  using Int = typename ElementOf<T>::Int;
  Bits<T> row, column;
  for (int lane = 0; lane < kWidth<T>; ++lane) {
    row[lane] = (i * kWidth<T> + lane) / P;
    column[lane] = (i * kWidth<T> + lane) % P;
  }
  const Int count = static_cast<Int>(rows < kLanes<T> ? rows : kLanes<T>);
  const Bits<T> inside = (row < Bits<T>{} + count) & (column < Bits<T>{} + static_cast<Int>(n_out));
  return inside ? yes : no;
#endif
}

// The rows [begin, end) of ∇W, kBlocks blocks side by side. Padding keeps its zeros.
template <class T, int P>
void narrow_gradient(const ChunkSum<T>& chunk, const T* a, Size lda, const T* delta, Size lddelta,
                     Size samples, Size begin, Size end, Size n_in, Size n_out) {
  constexpr Size chains = kLanes<T> / P;
  constexpr int kBlocks = 4;
  for (Size k0 = begin; k0 < end; k0 += kBlocks * chains) {
    Block<T> acc[kBlocks] = {};
    const Size blocks = (end - k0 + chains - 1) / chains;
    const int used = blocks < kBlocks ? static_cast<int>(blocks) : kBlocks;
    for (Size s = 0; s < samples; ++s) {
      for (int i = 0; i < kParts<T>; ++i) {
        const V<T> deltas = every_row<T, P>(delta + s * lddelta, i);
        for (int block = 0; block < used; ++block) {
          const Size k = k0 + block * chains;
          const V<T> ak = each_lane<T, P>(a + s * lda + k, i, n_in - k);
          acc[block].part[i] = fma(ak, deltas, acc[block].part[i]);
        }
      }
    }
    for (int block = 0; block < used; ++block) {
      const Size k = k0 + block * chains;
      for (int i = 0; i < kParts<T>; ++i) {
        const Size at = k * P + i * kWidth<T>;
        T* const target = (chunk.steps ? chunk.w : chunk.g) + at;
        const V<T> old = load<T>(target);
        V<T> sum = acc[block].part[i];
        if (samples > 1) sum = sum + V<T>{};
        for (int m = chunk.merged; m > 0; --m)
          sum = load<T>(chunk.g + (m - 1) * chunk.distance + at) + sum;
        if (chunk.steps) sum = fma(splat<T>(-chunk.learning_rate), sum, old);
        store<T>(target, narrow_select<T, P>(sum, old, i, n_in - k, n_out));
      }
    }
  }
}

// Calls f with P = ld as a compile-time constant.
template <class T, int P = kLanes<T> / 2, class F>
CHAINRULE_INLINE void with_narrow_width(Size ld, F f) {
  if constexpr (P > 0) {
    if (ld == P)
      f(std::integral_constant<int, P>());
    else
      with_narrow_width<T, P / 2>(ld, f);
  }
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
