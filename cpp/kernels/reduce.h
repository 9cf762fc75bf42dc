// Reductions in one order on every ISA: kLanes running sums (element j goes to lane
// j mod kLanes), then halves are added until `P` lanes are left.
#pragma once

#include <utility>

#include "kernels/kernels.h"
#include "kernels/vec.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// Vectors in one 64-byte block.
template <class T>
inline constexpr int kParts = kLanes<T> / kWidth<T>;

template <class T>
struct Block {
  V<T> part[kParts<T>];
};

#if CHAINRULE_VECTOR_BYTES == 0
template <class T>
CHAINRULE_INLINE T first_lane(V<T> v) {
  return v;
}
#else
template <class T>
CHAINRULE_INLINE T first_lane(V<T> v) {
  return v[0];
}

// Lane i takes lane i ^ H.
template <class T, int H, int... I>
CHAINRULE_INLINE V<T> exchange(V<T> v, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(v, v, (I ^ H)...);
}
#endif

template <class T>
CHAINRULE_INLINE Block<T> load_block(const T* p) {
  Block<T> block;
  for (int i = 0; i < kParts<T>; ++i) block.part[i] = load<T>(p + i * kWidth<T>);
  return block;
}

// The first n lanes; whole vectors where p has `room` for them.
template <class T>
CHAINRULE_INLINE void store_first(T* p, const Block<T>& block, Size n, Size room) {
  constexpr Size width = kWidth<T>;
  for (int i = 0; i < kParts<T> && i * width < n; ++i) {
    if (room >= (i + 1) * width)
      store<T>(p + i * width, block.part[i]);
    else
      store_partial<T>(p + i * width, block.part[i], n - i * width);
  }
}

// combine(x_i, x_{i + H}) for H = kLanes / 2, ..., P. The result fills the first P lanes
// of the block; where a vector is wider than P, every group of P lanes in it.
template <class T, int P, int H = kLanes<T> / 2, class Combine>
CHAINRULE_INLINE void fold(Block<T>& x, Combine combine) {
  if constexpr (H >= P) {
    if constexpr (H >= kWidth<T>) {
      for (int i = 0; i < H / kWidth<T>; ++i)
        x.part[i] = combine(x.part[i], x.part[i + H / kWidth<T>]);
    }
#if CHAINRULE_VECTOR_BYTES != 0
    if constexpr (H < kWidth<T>) {
      x.part[0] = combine(x.part[0],
                          exchange<T, H>(x.part[0], std::make_integer_sequence<int, kWidth<T>>()));
    }
#endif
    fold<T, P, H / 2>(x, combine);
  }
}

template <class T>
CHAINRULE_INLINE T sum(Block<T> x) {
  fold<T, 1>(x, [](V<T> a, V<T> b) { return a + b; });
  return first_lane<T>(x.part[0]);
}

template <class T>
CHAINRULE_INLINE T maximum(Block<T> x) {
  fold<T, 1>(x, [](V<T> a, V<T> b) { return max<T>(a, b); });
  return first_lane<T>(x.part[0]);
}

template <class T>
CHAINRULE_INLINE Block<T> filled(T x) {
  Block<T> block;
  for (auto& part : block.part) part = splat<T>(x);
  return block;
}

// Calls f(part of the block, index of the part's first element, elements of it that count)
// for every vector of a row of n elements.
template <class T, class F>
CHAINRULE_INLINE void for_each_vector(Size n, F f) {
  constexpr Size width = kWidth<T>;
  Size j = 0;
  for (; j + kLanes<T> <= n; j += kLanes<T>)
    for (int i = 0; i < kParts<T>; ++i) f(i, j + i * width, width);
  for (int i = 0; j < n; ++i, j += width) f(i, j, n - j < width ? n - j : width);
}

// The first n lanes of v, and those of `other` beyond.
template <class T>
CHAINRULE_INLINE V<T> keep_first(V<T> v, Size n, V<T> other) {
#if CHAINRULE_VECTOR_BYTES == 0
  return n > 0 ? v : other;
#else
  Bits<T> lane;
  for (int i = 0; i < kWidth<T>; ++i) lane[i] = i;
  return lane < (Bits<T>{} + static_cast<typename ElementOf<T>::Int>(n)) ? v : other;
#endif
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
