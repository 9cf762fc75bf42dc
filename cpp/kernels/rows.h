// Formulas, element by element, over the rows of matrices. Four vectors go side by side wherever
// they lie: one alone would wait for the latency of each of its operations.
#pragma once

#include "kernels/activations.h"
#include "kernels/narrow.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// Walks along the first n elements of every row, a vector at a time.
template <class T>
struct Walk {
  T* a;
  Size lda;
  const T* z;
  Size ldz;
  Size n;
  Size j = 0;
  CHAINRULE_INLINE void next() {
    j += kWidth<T>;
    // No branch: it would end the instructions that are put in order together.
    const Size over = -static_cast<Size>(j >= n);
    j &= ~over;
    a += lda & over;
    z += ldz & over;
  }
};

// a = g(z) for n elements a row: whole vectors, or less than one.
template <class T, class G, bool kWhole>
CHAINRULE_SCHEDULED void map_vectors(G g, T* a, Size lda, const T* z, Size ldz, Size rows, Size n) {
  constexpr int kAbreast = 4;
  Walk<T> walk{a, lda, z, ldz, n};
  Size left = kWhole ? rows * (n / kWidth<T>) : rows;
  for (; left >= kAbreast; left -= kAbreast) {
    V<T> v[kAbreast];
    T* to[kAbreast];
#pragma GCC unroll 4
    for (int i = 0; i < kAbreast; ++i) {
      v[i] = g.value(load<T>(walk.z + walk.j));
      to[i] = walk.a + walk.j;
      walk.next();
    }
#pragma GCC unroll 4
    for (int i = 0; i < kAbreast; ++i) {
      if constexpr (kWhole)
        store<T>(to[i], v[i]);
      else
        store_partial<T>(to[i], v[i], n);
    }
  }
  for (; left > 0; --left) {
    const V<T> v = g.value(load<T>(walk.z + walk.j));
    if constexpr (kWhole)
      store<T>(walk.a + walk.j, v);
    else
      store_partial<T>(walk.a + walk.j, v, n);
    walk.next();
  }
}

#if CHAINRULE_VECTOR_BYTES != 0
// The first H lanes of a, then those of b.
template <class T, int H, int... I>
CHAINRULE_INLINE V<T> abut(V<T> a, V<T> b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (I < H ? I : kWidth<T> + I - H)...);
}
// The lanes from First on, to the front.
template <class T, int First, int... I>
CHAINRULE_INLINE V<T> to_front(V<T> v, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(v, v, ((I + First) % kWidth<T>)...);
}

// The first P elements of each of R rows, one after the other; the last row instead of those that
// do not exist.
template <class T, int P, int R>
CHAINRULE_INLINE V<T> join_rows(const T* z, Size ldz, Size first, Size last) {
  if constexpr (R == 1) {
    return load<T>(z + (first < last ? first : last) * ldz);
  } else {
    return abut<T, P * R / 2>(join_rows<T, P, R / 2>(z, ldz, first, last),
                              join_rows<T, P, R / 2>(z, ldz, first + R / 2, last),
                              std::make_integer_sequence<int, kWidth<T>>());
  }
}

template <class T, int P, int S = 0>
CHAINRULE_INLINE void part_rows(T* a, Size lda, V<T> v, Size rows, Size n) {
  if constexpr (S * P < kWidth<T>) {
    if (S >= rows) return;
    store_partial<T>(a + S * lda,
                     to_front<T, S * P>(v, std::make_integer_sequence<int, kWidth<T>>()), n);
    part_rows<T, P, S + 1>(a, lda, v, rows, n);
  }
}

// n <= P elements a row: several rows share a vector.
template <class T, class G, int P>
void map_joined_rows(G g, T* a, Size lda, const T* z, Size ldz, Size rows, Size n) {
  constexpr Size width = kWidth<T>;
  constexpr int kRows = kWidth<T> / P;
  constexpr Size kVectors = 64;
  alignas(64) T joined[kVectors * width];
  for (Size begin = 0; begin < rows; begin += kVectors * kRows) {
    Size vectors = 0;
    for (; vectors < kVectors && begin + vectors * kRows < rows; ++vectors)
      store<T>(joined + vectors * width,
               join_rows<T, P, kRows>(z, ldz, begin + vectors * kRows, rows - 1));
    map_vectors<T, G, true>(g, joined, 0, joined, 0, 1, vectors * width);
    for (Size i = 0; i < vectors; ++i) {
      const Size r = begin + i * kRows;
      part_rows<T, P>(a + r * lda, lda, load<T>(joined + i * width), rows - r, n);
    }
  }
}
#endif

// The smallest power of two that is not below n.
CHAINRULE_INLINE Size power_from(Size n) {
  Size power = 1;
  while (power < n) power *= 2;
  return power;
}

// Less than a vector a row.
template <class T, class G>
void map_short_rows(G g, T* a, Size lda, const T* z, Size ldz, Size rows, Size n) {
#if CHAINRULE_VECTOR_BYTES != 0
  if (rows > 1 && n <= kWidth<T> / 2)
    return with_narrow_width<T, kWidth<T> / 2>(
        power_from(n), [&](auto p) { map_joined_rows<T, G, p>(g, a, lda, z, ldz, rows, n); });
#endif
  map_vectors<T, G, false>(g, a, lda, z, ldz, rows, n);
}

template <class T, class G>
void map_rows(G g, T* a, Size lda, const T* z, Size ldz, Size rows, Size n) {
  constexpr Size width = kWidth<T>;
  if (lda == n && ldz == n) {
    n *= rows;
    rows = 1;
  }
  const Size whole = n / width * width;
  if constexpr (G::kCostly) {
    if (whole > 0) map_vectors<T, G, true>(g, a, lda, z, ldz, rows, whole);
    if (whole < n) map_short_rows<T>(g, a + whole, lda, z + whole, ldz, rows, n - whole);
  } else {
    for (Size r = 0; r < rows; ++r, a += lda, z += ldz) {
      for (Size j = 0; j < whole; j += width) store<T>(a + j, g.value(load<T>(z + j)));
      if (whole < n) store_partial<T>(a + whole, g.value(load<T>(z + whole)), n - whole);
    }
  }
}

template <class T>
void map_rows(Formula<T, Activation::identity> g, T* a, Size lda, const T* z, Size ldz, Size rows,
              Size n) {
  if (a != z) map_rows<T, decltype(g)>(g, a, lda, z, ldz, rows, n);
}

// d = d ⊙ g'(z)
template <class T, class G>
CHAINRULE_SCHEDULED void multiply_rows(G g, T* d, Size ldd, const T* z, Size ldz, const T* a,
                                       Size lda, Size rows, Size n) {
  constexpr Size width = kWidth<T>;
  constexpr int kAbreast = G::kCostly ? 4 : 1;
  for (Size r = 0; r < rows; ++r, d += ldd, z += ldz, a += lda) {
    Size j = 0;
    for (; kAbreast > 1 && j + kAbreast * width <= n; j += kAbreast * width) {
      V<T> v[kAbreast];
#pragma GCC unroll 4
      for (int i = 0; i < kAbreast; ++i) {
        const Size at = j + i * width;
        v[i] = load<T>(d + at) * g.derivative(load<T>(z + at), load<T>(a + at));
      }
#pragma GCC unroll 4
      for (int i = 0; i < kAbreast; ++i) store<T>(d + j + i * width, v[i]);
    }
    for (; j < n; j += width)
      store<T>(d + j, load<T>(d + j) * g.derivative(load<T>(z + j), load<T>(a + j)));
  }
}

template <class T>
void multiply_rows(Formula<T, Activation::identity>, T*, Size, const T*, Size, const T*, Size, Size,
                   Size) {}

// g of the first n lanes of a block, at least; the others hold anything.
template <class T, class G>
CHAINRULE_INLINE void map_block(G g, Block<T>& z, Size n) {
  for (int i = 0; i < kParts<T> && i * kWidth<T> < n; ++i) z.part[i] = g.value(z.part[i]);
}
template <class T>
CHAINRULE_INLINE void map_block(Formula<T, Activation::softmax>, Block<T>& z, Size n) {
  z = softmax<T>(z, n);
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
