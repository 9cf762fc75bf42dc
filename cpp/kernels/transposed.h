// d = Wᵀ δ. A row of W holds one k, but vectors follow the chains over j of neighbouring k's:
// squares of W are transposed in registers, into a small copy that many rows share, or on the way
// for a few.
#pragma once

#include "kernels/product.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

#if CHAINRULE_VECTOR_BYTES != 0
// Of every 2 H lanes: the first H of a and of b, or the last H of both.
template <class T, int H, int... I>
CHAINRULE_INLINE V<T> first_halves(V<T> a, V<T> b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, ((I & H) == 0 ? I : kWidth<T> + I - H)...);
}
template <class T, int H, int... I>
CHAINRULE_INLINE V<T> last_halves(V<T> a, V<T> b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, ((I & H) == 0 ? I + H : kWidth<T> + I)...);
}

// Lane s + i kWidth / Q comes from lane s Q + i.
template <class T, int Q, int... I>
CHAINRULE_INLINE V<T> in_order(V<T> v, std::integer_sequence<int, I...>) {
  constexpr int groups = kWidth<T> / Q;
  return __builtin_shufflevector(v, v, (I % groups * Q + I / groups)...);
}
#endif

// Every Q by Q square of the Q vectors v is transposed: lane s Q + i of v_j was lane s Q + j of
// v_i.
template <class T, int Q, int H = Q / 2>
CHAINRULE_INLINE void transpose_squares([[maybe_unused]] V<T> (&v)[Q]) {
#if CHAINRULE_VECTOR_BYTES != 0
  if constexpr (H > 0) {
    constexpr std::make_integer_sequence<int, kWidth<T>> lanes;
#pragma GCC unroll 16
    for (int i = 0; i < Q; ++i) {
      if ((i & H) != 0) continue;
      const V<T> a = v[i];
      const V<T> b = v[i + H];
      v[i] = first_halves<T, H>(a, b, lanes);
      v[i + H] = last_halves<T, H>(a, b, lanes);
    }
    transpose_squares<T, Q, H / 2>(v);
  }
#endif
}

// The lanes of a transposed square's vector, k by k.
template <class T, int Q>
CHAINRULE_INLINE V<T> lanes_in_order(V<T> v) {
#if CHAINRULE_VECTOR_BYTES != 0
  return in_order<T, Q>(v, std::make_integer_sequence<int, kWidth<T>>());
#else
  return v;
#endif
}

// packed_jk = w_jk for the n_in rows k of w, to whole vectors of them, and its first n_out columns.
template <class T, int Q = kWidth<T>>
void transpose(T* packed /*(n_out, ldp)*/, Size ldp, const T* w, Size ld, Size n_in, Size n_out) {
  if constexpr (Q > 1) {
    if (ld < Q) return transpose<T, Q / 2>(packed, ldp, w, ld, n_in, n_out);
  }
  constexpr Size rows = kWidth<T> / Q;
  const Size last = (n_in - 1) / rows * rows;
  for (Size k0 = 0; k0 < n_in; k0 += kWidth<T>) {
    for (Size j0 = 0; j0 < n_out; j0 += Q) {
      V<T> v[Q];
#pragma GCC unroll 16
      for (int i = 0; i < Q; ++i) {
        const Size k = k0 + i * rows;
        v[i] = load<T>(w + (k < last ? k : last) * ld + j0);
      }
      transpose_squares<T, Q>(v);
#pragma GCC unroll 16
      for (int j = 0; j < Q; ++j) {
        if (j0 + j == n_out) break;
        store<T>(packed + (j0 + j) * ldp + k0, lanes_in_order<T, Q>(v[j]));
      }
    }
  }
}

template <class T>
void packed_transposed(T* d, Size ldd, const T* delta, Size lddelta, const T* w, Size ld, Size rows,
                       Size n_in, Size n_out) {
  constexpr int most = max_vectors(kTileRows);
  constexpr Size ldp = most * kWidth<T>;
  alignas(64) T packed[kPackedRows * ldp];
  const StoreRow<T> finish{d, ldd};
  const Parts panels((n_in + kWidth<T> - 1) / kWidth<T>, most), cuts(n_out, kPackedRows);
  for (Size cut = 0, j = 0; cut < cuts.count; j += cuts.size(cut), ++cut) {
    for (Size p = 0, k = 0; p < panels.count; k += panels.size(p) * kWidth<T>, ++p) {
      const Size columns = panels.size(p) * kWidth<T>;
      transpose<T>(packed, ldp, w + k * ld + j, ld, n_in - k < columns ? n_in - k : columns,
                   cuts.size(cut));
      const Start<T> start = j > 0 ? finish.resume(0, k) : Start<T>{nullptr, 0};
      with_count<most>(panels.size(p), [&](auto n) {
        panel<T, n, false>(delta + j, lddelta, packed, ldp, cuts.size(cut), start, 0, rows, finish,
                           k);
      });
    }
  }
}

// R rows. A vector of W holds kWidth / Q rows k and Q columns j: Q = ld in a layer narrower than a
// vector. The lanes of the sums are in the order of the transposed squares until they are stored.
template <class T, int Q, int R>
void transposed_rows(T* d, Size ldd, const T* delta, Size lddelta, const T* w, Size ld, Size n_in,
                     Size n_out) {
  constexpr Size rows = kWidth<T> / Q;
  const Size last = (n_in - 1) / rows * rows;
  for (Size k0 = 0; k0 < n_in; k0 += kLanes<T>) {
    Block<T> acc[R] = {};
    for (Size j0 = 0; j0 < n_out; j0 += Q) {
      const Size count = n_out - j0 < Q ? n_out - j0 : Q;
#pragma GCC unroll 16
      for (int part = 0; part < kParts<T>; ++part) {
        V<T> v[Q];
#pragma GCC unroll 16
        for (int i = 0; i < Q; ++i) {
          // Beyond the last rows they are read again, and their sums go to the padding of d.
          const Size k = k0 + part * kWidth<T> + i * rows;
          v[i] = load<T>(w + (k < last ? k : last) * ld + j0);
        }
        transpose_squares<T, Q>(v);
#pragma GCC unroll 16
        for (int j = 0; j < Q; ++j) {
          if (j == count) break;
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r)
            acc[r].part[part] = fma(v[j], splat<T>(delta[r * lddelta + j0 + j]), acc[r].part[part]);
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int part = 0; part < kParts<T>; ++part) {
        store<T>(d + r * ldd + k0 + part * kWidth<T>,
                 lanes_in_order<T, Q>(acc[r].part[part]) + V<T>{});
      }
    }
  }
}

template <class T, int Q = kWidth<T>>
void affine_transposed(T* d, Size ldd, const T* delta, Size lddelta, const T* w, Size ld, Size rows,
                       Size n_in, Size n_out) {
  constexpr int few = 4;
  if (rows > few) return packed_transposed<T>(d, ldd, delta, lddelta, w, ld, rows, n_in, n_out);
  if constexpr (Q > 1) {
    if (ld < Q)
      return affine_transposed<T, Q / 2>(d, ldd, delta, lddelta, w, ld, rows, n_in, n_out);
  }
  with_count<few>(
      rows, [&](auto r) { transposed_rows<T, Q, r>(d, ldd, delta, lddelta, w, ld, n_in, n_out); });
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
