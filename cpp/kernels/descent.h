// Descent one sample at a time: the update that a sample has left behind and the forward product of
// the next sample, in one pass over W.
//
//   w_jk = fma(-η, fma(a'_k, δ'_j, +0), w_jk),  b_j = fma(-η, δ'_j + 0, b_j)
//   z_j  = b_j,  then  z_j = fma(w_jk, a_k, z_j)  for k = 0, 1, ...,  in the chains of `affine`
//
// Padding is stored as it was.
#pragma once

#include "kernels/narrow.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// One step down the gradient a δ.
template <class T>
CHAINRULE_INLINE V<T> stepped(V<T> w, V<T> a, V<T> delta, T learning_rate) {
  return fma(splat<T>(-learning_rate), fma(a, delta, V<T>{}), w);
}

// b_j, ... after their step, stored.
template <class T>
CHAINRULE_INLINE V<T> step_bias(T* b, const T* delta, Size j, Size n_out, T learning_rate) {
  const V<T> old = load<T>(b + j);
  const V<T> sum = V<T>{} + load<T>(delta + j);
  const V<T> value = keep_first<T>(fma(splat<T>(-learning_rate), sum, old), n_out - j, old);
  store<T>(b + j, value);
  return value;
}

// R rows of W as R streams through memory; z waits in the cache. It gets + (+0) every time, though
// the last one would do.
template <class T, int R>
CHAINRULE_INLINE void step_affine_rows(T* z, const T* a, T* w, Size ld, const T* a_before,
                                       const T* delta, Size n_out, T learning_rate) {
  constexpr Size width = kWidth<T>;
  V<T> next[R], before[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    next[r] = splat<T>(a[r]);
    before[r] = splat<T>(a_before[r]);
  }
  const auto column = [&](Size j, auto keep) {
    const V<T> deltas = load<T>(delta + j);
    V<T> acc = load<T>(z + j);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      T* const at = w + r * ld + j;
      const V<T> old = load<T>(at);
      const V<T> value = keep(stepped<T>(old, before[r], deltas, learning_rate), old);
      store<T>(at, value);
      acc = fma(next[r], value, acc);
    }
    store<T>(z + j, acc + V<T>{});
  };
  Size j = 0;
  for (; j + width <= n_out; j += width) column(j, [](V<T> value, V<T>) { return value; });
  if (j < n_out)
    column(j, [&](V<T> value, V<T> old) { return keep_first<T>(value, n_out - j, old); });
}

template <class T, int R>
void step_affine_blocks(T* z, const T* a, T* w, Size ld, const T* a_before, const T* delta,
                        Size n_in, Size n_out, T learning_rate) {
  Size k = 0;
  for (; k + R <= n_in; k += R)
    step_affine_rows<T, R>(z, a + k, w + k * ld, ld, a_before + k, delta, n_out, learning_rate);
  if constexpr (R > 1)
    step_affine_blocks<T, R / 2>(z, a + k, w + k * ld, ld, a_before + k, delta, n_in - k, n_out,
                                 learning_rate);
}

template <class T, int P>
void narrow_step_affine(T* z, const T* a, T* w, T* b, const T* a_before, const T* delta, Size n_in,
                        Size n_out, T learning_rate) {
  constexpr Size chains = kLanes<T> / P;
  Block<T> acc = {};
  if (b != nullptr) {
    for (int i = 0; i < kParts<T>; ++i)
      acc.part[i] = step_bias<T>(b, delta, i * kWidth<T>, n_out, learning_rate);
  }
  const auto block = [&](Size k, Size rows) {
    for (int i = 0; i < kParts<T>; ++i) {
      T* const at = w + k * P + i * kWidth<T>;
      const V<T> old = load<T>(at);
      const V<T> before = each_lane<T, P>(a_before + k, i, rows);
      const V<T> value = narrow_select<T, P>(
          stepped<T>(old, before, every_row<T, P>(delta, i), learning_rate), old, i, rows, n_out);
      store<T>(at, value);
      acc.part[i] = fma(value, each_lane<T, P>(a + k, i, rows), acc.part[i]);
    }
  };
  Size k = 0;
  for (; k + chains <= n_in; k += chains) block(k, chains);
  if (k < n_in) block(k, n_in - k);
  join_chains<T, P>(acc);
  for (int i = 0; i * kWidth<T> < P; ++i) store<T>(z + i * kWidth<T>, acc.part[i]);
}

template <class T>
void step_affine(T* z, const T* a, T* w, Size ld, T* b, const T* a_before, const T* delta,
                 Size n_in, Size n_out, T learning_rate) {
  constexpr int kRows = CHAINRULE_VECTOR_BYTES == 32 ? 4 : 8;
  if (ld < kLanes<T>)
    return with_narrow_width<T>(ld, [&](auto p) {
      narrow_step_affine<T, p>(z, a, w, b, a_before, delta, n_in, n_out, learning_rate);
    });
  for (Size j = 0; j < n_out; j += kWidth<T>)
    store<T>(z + j, b != nullptr ? step_bias<T>(b, delta, j, n_out, learning_rate) : V<T>{});
  const Size length = ld == kLanes<T> ? chain_length(n_in) : n_in;
  step_affine_blocks<T, kRows>(z, a, w, ld, a_before, delta, length, n_out, learning_rate);
  for (Size k = length; k < n_in; k += length) {
    alignas(64) T chain[kLanes<T>] = {};
    step_affine_blocks<T, kRows>(chain, a + k, w + k * ld, ld, a_before + k, delta,
                                 n_in - k < length ? n_in - k : length, n_out, learning_rate);
    for (Size j = 0; j < n_out; j += kWidth<T>)
      store<T>(z + j, load<T>(z + j) + load<T>(chain + j));
  }
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
