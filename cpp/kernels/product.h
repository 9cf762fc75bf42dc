// The matrix products of the three passes as one register tile:
//
//   c_rv = init_v + Σ_i a(r, i) b_iv,   one chain of fma over i = 0, 1, ... for each element
//
//   forward    z = a Wᵀ + b    r: sample   i: k        a(r, i) = a[r ld + i]   b: rows of W
//   backward   d = δ W         r: sample   i: j        a(r, i) = δ[r ld + i]   b: rows of Wᵀ
//   gradient   ∇W = δᵀ a       r: k        i: sample   a(r, i) = a[r + i ld]   b: rows of δ
//
// Tile shapes, tails and blocking never change the order of one element's chain.
#pragma once

#include "kernels/kernels.h"
#include "kernels/reduce.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// Rows and vectors of the largest tile: accumulators + loaded vectors + 1 fit the registers.
#if CHAINRULE_VECTOR_BYTES == 64 || CHAINRULE_VECTOR_BYTES == 16
inline constexpr int kTileRows = 12;
#elif CHAINRULE_VECTOR_BYTES == 32
inline constexpr int kTileRows = 6;
#else
inline constexpr int kTileRows = 4;
#endif
inline constexpr int kTileVectors = 2;

// One or two rows have too few chains to hide the latency of fma: their tiles are wider.
constexpr int panel_vectors(Size rows) { return rows == 1 ? 8 : rows == 2 ? 4 : kTileVectors; }

// Where a chain starts: at row r's element init_v + r ld (a bias has ld = 0), or at 0 for null.
template <class T>
struct Start {
  const T* init;
  Size ld;
  CHAINRULE_INLINE Start at(Size row, Size column) const {
    return {init == nullptr ? nullptr : init + row * ld + column, ld};
  }
};

template <class T, int R, int N, bool ByColumn, class Finish>
[[gnu::noinline]] void tile(const T* a, Size lda, const T* b, Size ldb, Size length, Start<T> start,
                            const Finish& finish, Size row, Size column) {
  constexpr Size width = kWidth<T>;
  V<T> acc[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v)
      acc[r][v] = start.init != nullptr ? load<T>(start.init + r * start.ld + v * width) : V<T>{};
  }
  for (Size i = 0; i < length; ++i) {
    V<T> bv[N];
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) bv[v] = load<T>(b + v * width);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const V<T> ar = splat<T>(ByColumn ? a[r] : a[r * lda]);
#pragma GCC unroll 16
      for (int v = 0; v < N; ++v) acc[r][v] = fma(ar, bv[v], acc[r][v]);
    }
    a += ByColumn ? lda : 1;
    b += ldb;
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) finish(acc[r], row + r, column);
}

// The columns [column, end) of one block of R rows, in tiles of N, N/2, ..., 1 vectors.
// b and start begin at `column`.
template <class T, int R, int N, bool ByColumn, class Finish>
void panel(const T* a, Size lda, const T* b, Size ldb, Size length, Start<T> start,
           const Finish& finish, Size row, Size column, Size end) {
  constexpr Size width = N * kWidth<T>;
  for (; column + width <= end; column += width, b += width, start = start.at(0, width))
    tile<T, R, N, ByColumn>(a, lda, b, ldb, length, start, finish, row, column);
  if constexpr (N > 1)
    panel<T, R, N / 2, ByColumn>(a, lda, b, ldb, length, start, finish, row, column, end);
}

template <class T, int R, bool ByColumn, class Finish>
void panel_of_rows(Size rows, const T* a, Size lda, const T* b, Size ldb, Size length,
                   Start<T> start, const Finish& finish, Size row, Size column, Size end) {
  if constexpr (R > 0) {
    if (rows == R)
      panel<T, R, panel_vectors(R), ByColumn>(a, lda, b, ldb, length, start, finish, row, column,
                                              end);
    else
      panel_of_rows<T, R - 1, ByColumn>(rows, a, lda, b, ldb, length, start, finish, row, column,
                                        end);
  }
}

// One panel of columns for all rows, in blocks of equal height: b is read once from memory and
// stays in the cache.
template <class T, bool ByColumn, class Finish>
void all_rows(const T* a, Size lda, const T* b, Size ldb, Size length, Start<T> start, Size rows,
              const Finish& finish, Size column, Size end) {
  const Size blocks = (rows + kTileRows - 1) / kTileRows;
  for (Size block = 0, row = 0; block < blocks; ++block) {
    const Size next = rows * (block + 1) / blocks;
    panel_of_rows<T, kTileRows, ByColumn>(next - row, a + row * (ByColumn ? 1 : lda), lda, b, ldb,
                                          length, start.at(row, 0), finish, row, column, end);
    row = next;
  }
}

// What is packed at a time: at most 128 KiB, so that it stays in the second-level cache, and long
// stretches of each row, so that memory streams. Running sums wait in memory between two blocks.
inline constexpr Size kPackedRows = 256;
inline constexpr Size kPackedPanels = 4;

// Rows of a wide b lie in different pages, which no prefetcher crosses: with enough rows of a
// to share the cost, its panels are copied together first.
template <class T>
CHAINRULE_INLINE bool worth_packing(Size rows, Size ldb) {
  return rows > 2 * kTileRows && ldb >= 16 * kLanes<T>;
}

// packed[panel][i][v]: the columns of `count` rows of b, panel by panel.
template <class T>
void pack(T* packed, const T* b, Size ldb, Size count, Size columns) {
  constexpr Size step = kTileVectors * kWidth<T>;
  for (Size i = 0; i < count; ++i, b += ldb)
    for (Size j = 0; j < columns; j += kWidth<T>)
      store<T>(packed + (j / step * kPackedRows + i) * step + j % step, load<T>(b + j));
}

template <class T, bool ByColumn, class Finish>
void packed_product(const T* a, Size lda, const T* b, Size ldb, Size length, const T* init,
                    Size rows, Size end, const Finish& finish) {
  constexpr Size step = kTileVectors * kWidth<T>;
  alignas(64) T packed[kPackedPanels * kPackedRows * step];
  for (Size group = 0; group < end; group += kPackedPanels * step) {
    const Size group_end = group + kPackedPanels * step < end ? group + kPackedPanels * step : end;
    for (Size i0 = 0; i0 < length; i0 += kPackedRows) {
      const Size count = length - i0 < kPackedRows ? length - i0 : kPackedRows;
      pack<T>(packed, b + i0 * ldb + group, ldb, count, group_end - group);
      for (Size column = group; column < group_end; column += step) {
        const Start<T> start = i0 > 0 ? finish.resume(column) : Start<T>{init, 0}.at(0, column);
        all_rows<T, ByColumn>(a + i0 * (ByColumn ? lda : 1), lda,
                              packed + (column - group) * kPackedRows, step, count, start, rows,
                              finish, column, column + step < end ? column + step : end);
      }
    }
  }
}

// finish(acc[N], row, column) is called for every row of every tile.
template <class T, bool ByColumn, class Finish>
void product(const T* a, Size lda, const T* b, Size ldb, Size length, const T* init, Size rows,
             Size columns, const Finish& finish) {
  if (rows == 0) return;
  constexpr Size width = kWidth<T>;
  const Size end = (columns + width - 1) / width * width;
  if (worth_packing<T>(rows, ldb) && (Finish::kResumes || length <= kPackedRows))
    return packed_product<T, ByColumn>(a, lda, b, ldb, length, init, rows, end, finish);
  const Size step = panel_vectors(rows) * width;
  for (Size column = 0; column < end; column += step)
    all_rows<T, ByColumn>(a, lda, b + column, ldb, length, Start<T>{init, 0}.at(0, column), rows,
                          finish, column, column + step < end ? column + step : end);
}

template <class T>
struct StoreRow {
  static constexpr bool kResumes = true;
  T* c;
  Size ldc;
  // What was stored is where the next part of the chain starts.
  CHAINRULE_INLINE Start<T> resume(Size column) const { return {c + column, ldc}; }
  template <int N>
  CHAINRULE_INLINE void operator()(const V<T> (&acc)[N], Size row, Size column) const {
    for (int v = 0; v < N; ++v) store<T>(c + row * ldc + column + v * kWidth<T>, acc[v]);
  }
};

// acc into g or w, elements of the padding excepted.
template <class T>
CHAINRULE_INLINE void accumulate(Accumulate mode, T* w, T* g, V<T> acc, T learning_rate,
                                 Size count) {
  if (mode == Accumulate::store) return store_partial<T>(g, acc, count);
  if (mode == Accumulate::add) return store_partial<T>(g, load_partial<T>(g, count) + acc, count);
  if (mode == Accumulate::add_step) acc = load_partial<T>(g, count) + acc;
  store_partial<T>(w, fma(splat<T>(-learning_rate), acc, load_partial<T>(w, count)), count);
}

template <class T>
struct AccumulateRow {
  static constexpr bool kResumes = false;
  CHAINRULE_INLINE Start<T> resume(Size) const { return {nullptr, 0}; }
  Accumulate mode;
  T *w, *g;
  Size ld, n;
  T learning_rate;
  template <int N>
  CHAINRULE_INLINE void operator()(const V<T> (&acc)[N], Size row, Size column) const {
    constexpr Size width = kWidth<T>;
    for (int v = 0; v < N; ++v) {
      const Size j = column + v * width;
      if (j >= n) return;
      accumulate<T>(mode, w + row * ld + j, g + row * ld + j, acc[v], learning_rate,
                    n - j < width ? n - j : width);
    }
  }
};

// d_rk = Σ_j w_jk δ_rj straight from W: scalar chains, kChains of them side by side.
template <class T>
void affine_transposed(T* d, Size ldd, const T* delta, Size lddelta, const T* w, Size ld, Size rows,
                       Size n_in, Size n_out) {
  constexpr Size kChains = 8;
  for (Size r = 0; r < rows; ++r) {
    const T* deltas = delta + r * lddelta;
    T* out = d + r * ldd;
    Size k = 0;
    for (; k + kChains <= n_in; k += kChains) {
      T acc[kChains] = {};
      for (Size j = 0; j < n_out; ++j) {
#pragma GCC unroll 8
        for (Size c = 0; c < kChains; ++c) acc[c] = fma(w[(k + c) * ld + j], deltas[j], acc[c]);
      }
      for (Size c = 0; c < kChains; ++c) out[k + c] = acc[c];
    }
    for (; k < n_in; ++k) {
      T acc = 0;
      for (Size j = 0; j < n_out; ++j) acc = fma(w[k * ld + j], deltas[j], acc);
      out[k] = acc;
    }
  }
}

// In squares, so that the cache lines of both sides are used whole.
template <class T>
void transpose(T* packed, Size ldp, const T* w, Size ld, Size begin, Size end, Size n_out) {
  constexpr Size square = kLanes<T>;
  for (Size j0 = 0; j0 < n_out; j0 += square) {
    const Size j1 = j0 + square < n_out ? j0 + square : n_out;
    for (Size k0 = begin; k0 < end; k0 += square) {
      const Size k1 = k0 + square < end ? k0 + square : end;
      for (Size j = j0; j < j1; ++j)
        for (Size k = k0; k < k1; ++k) packed[j * ldp + k] = w[k * ld + j];
    }
  }
}

template <class T>
void bias_gradient(Accumulate mode, T* b, T* g, const T* delta, Size lddelta, Size samples,
                   Size n_out, T learning_rate) {
  constexpr Size width = kWidth<T>;
  for (Size j = 0; j < n_out; j += width) {
    V<T> acc{};
    for (Size s = 0; s < samples; ++s) acc = acc + load<T>(delta + s * lddelta + j);
    accumulate<T>(mode, b + j, g + j, acc, learning_rate, n_out - j < width ? n_out - j : width);
  }
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
