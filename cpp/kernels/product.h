// The matrix products of the three passes as one register tile:
//
//   c_rv = init_v + Σ_i a(r, i) b_iv,   one chain of fma over i = 0, 1, ... for each element
//
// Sums end in + (+0), which is all that a term of ±0 could change: it may be skipped.
//
//   forward    z = a Wᵀ + b    r: sample   i: k        a(r, i) = a[r ld + i]   b: rows of W
//   backward   d = δ W         r: sample   i: j        a(r, i) = δ[r ld + i]   b: rows of Wᵀ
//   gradient   ∇W = δᵀ a       r: k        i: sample   a(r, i) = a[r + i ld]   b: rows of δ
//
// Tile shapes, tails and blocking never change the order of one element's chain.
#pragma once

#include <type_traits>

#include "kernels/kernels.h"
#include "kernels/reduce.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// How many vectors side by side a tile of so many rows has at most: accumulators, loaded vectors
// and a broadcast fit the registers, and a few rows still have chains enough to hide the latency of
// fma.
constexpr int max_vectors(int rows) {
#if CHAINRULE_VECTOR_BYTES == 64 || CHAINRULE_VECTOR_BYTES == 16
  return rows <= 3 ? 8 : rows == 4 ? 6 : rows <= 6 ? 4 : rows <= 8 ? 3 : rows <= 12 ? 2 : 0;
#elif CHAINRULE_VECTOR_BYTES == 32
  return rows == 1 ? 8 : rows <= 3 ? 4 : rows <= 6 ? 2 : 0;
#else
  return rows == 1 ? 8 : rows <= 4 ? 2 : 0;
#endif
}

// The tallest tile of so many vectors.
constexpr int max_rows(int vectors) {
  int rows = 1;
  while (max_vectors(rows + 1) >= vectors) ++rows;
  return rows;
}

// The height of the tile that needs the fewest loads for its multiply-adds.
inline constexpr int kTileRows = CHAINRULE_VECTOR_BYTES == 0 ? 4 : 6;

// Rows of b are fetched this far ahead, and those of a, which may come from memory, further: the
// stride between them is more than hardware follows.
inline constexpr Size kAhead = 8;
inline constexpr Size kAheadByColumn = 16;

// So many rows of b a turn of the loop: the tiles of 16 registers need so many loads that counters
// would take instructions from the multiply-adds.
inline constexpr Size kRowsATurn = CHAINRULE_VECTOR_BYTES == 32 ? 2 : 1;

// N vectors, into the first-level cache or, at Level 2, the second.
template <class T, int N, int Level = 1>
CHAINRULE_INLINE void prefetch(const T* p) {
  constexpr Size line = 64 / static_cast<Size>(sizeof(T));
#pragma GCC unroll 16
  for (Size at = 0; at < N * kWidth<T>; at += line) __builtin_prefetch(p + at, 0, 4 - Level);
}

// Where a chain starts: at row r's element init_v + r ld (a bias has ld = 0), or at 0 for null.
template <class T>
struct Start {
  const T* init;
  Size ld;
  CHAINRULE_INLINE Start at(Size row, Size column) const {
    return {init == nullptr ? nullptr : init + row * ld + column, ld};
  }
};

// The panel of b that comes next, a part of whose rows each tile of this one fetches: one for every
// `every` of its own.
template <class T>
struct Next {
  const T* b;
  Size every;
};
struct NoNext {};

// What lies `ahead` elements beyond each row of b is fetched; 0 is kAhead rows.
template <class T, int R, int N, bool ByColumn, class Finish, class Following = NoNext>
[[gnu::noinline]] void tile(const T* a, Size lda, const T* b, Size ldb, Size length, Start<T> start,
                            const Finish& finish, Size row, Size column, Size ahead = 0,
                            [[maybe_unused]] Following next = {}) {
  constexpr Size width = kWidth<T>;
  if (ahead == 0) ahead = kAhead * ldb;
  V<T> acc[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v)
      acc[r][v] = start.init != nullptr ? load<T>(start.init + r * start.ld + v * width) : V<T>{};
  }
  finish.template expect<R, N>(row, column);
  const auto step = [&] {
    if constexpr (R > 1) prefetch<T, N>(b + ahead);
    if constexpr (ByColumn) {
      __builtin_prefetch(a + kAheadByColumn * lda);
      if constexpr (R > 1) __builtin_prefetch(a + kAheadByColumn * lda + R - 1);  // another line
    }
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
  };
  const auto run = [&](Size steps) __attribute__((always_inline)) {
    for (; steps >= kRowsATurn; steps -= kRowsATurn) {
#pragma GCC unroll 16
      for (Size turn = 0; turn < kRowsATurn; ++turn) step();
    }
    if constexpr (kRowsATurn > 1)
      for (; steps > 0; --steps) step();
  };
  if constexpr (std::is_same_v<Following, NoNext>) {
    run(length);
  } else {
    for (Size left = length; left > 0; left -= next.every) {
      prefetch<T, N, 2>(next.b);
      next.b += next.every * ldb;
      run(left < next.every ? left : next.every);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) finish(acc[r], row + r, column);
}

// n in parts of nearly equal size, at most `most` each. Narrow last ones would wait for their
// loads; a division for every part would cost more than a small tile.
struct Parts {
  Size count, each, larger;
  CHAINRULE_INLINE Parts(Size n, Size most)
      : count(n <= most ? 1 : (n + most - 1) / most),
        each(count == 1 ? n : n / count),
        larger(n - count * each) {}
  CHAINRULE_INLINE Size size(Size part) const { return each + (part < larger ? 1 : 0); }
};

// Calls f with `n`, 1 <= n <= Max, as a compile-time constant.
template <int Max, class F>
CHAINRULE_INLINE void with_count(Size n, F f) {
  if constexpr (Max == 1) {
    f(std::integral_constant<int, 1>());
  } else {
    if (n == Max)
      f(std::integral_constant<int, Max>());
    else
      with_count<Max - 1>(n, f);
  }
}

// N vectors of columns for all rows, in blocks of equal height: b is read once from memory and
// stays in the cache. a, b and start begin at `row` and `column`.
template <class T, int N, bool ByColumn, class Finish>
void panel(const T* a, Size lda, const T* b, Size ldb, Size length, Start<T> start, Size row,
           Size rows, const Finish& finish, Size column, Size ahead = 0, const T* next = nullptr) {
  constexpr int height = max_rows(N);
  const Parts blocks(rows, height);
  for (Size block = 0; block < blocks.count; ++block) {
    const Size size = blocks.size(block);
    with_count<height>(size, [&](auto r) {
      if constexpr (Finish::kResumes && N <= max_vectors(kTileRows)) {
        if (next != nullptr)
          return tile<T, r, N, ByColumn>(a, lda, b, ldb, length, start, finish, row, column, ahead,
                                         Next<T>{next + block * ldb, blocks.count});
      }
      tile<T, r, N, ByColumn>(a, lda, b, ldb, length, start, finish, row, column, ahead);
    });
    a += size * (ByColumn ? 1 : lda);
    start = start.at(size, 0);
    row += size;
  }
}

// How much of a stays in the second-level cache while b goes by, and how small b is where it stays
// in the first while a goes by, so many rows at a time.
inline constexpr Size kCachedBytes = Size{512} << 10;
inline constexpr Size kSmallBytes = Size{20} << 10;
inline constexpr Size kFewRows = 4 * kTileRows;

// Few rows wait for a large b: so many of its rows side by side are as many streams of whole pages,
// and while one panel of them is in use the next one, which lies beside it, is fetched.
inline constexpr Size kLargeBytes = Size{2} << 20;
inline constexpr Size kStreamedRows = 24;
inline constexpr Size kStreams = 16;

// A panel of a wide b is one short stretch of each row, in another page every time. The tiles of a
// panel fetch the next one; where many rows share it, it is copied first. So much of it stays in
// the second-level cache.
inline constexpr Size kFetchedRows = 160;
inline constexpr Size kPackedRows = 512;

template <class T, class Finish>
void packed_product(const T* a, Size lda, const T* b, Size ldb, Size length, const T* init,
                    Size rows, Size vectors, const Finish& finish) {
  constexpr int most = max_vectors(kTileRows);
  constexpr Size width = kWidth<T>;
  constexpr Size ldp = most * width;
  alignas(64) T packed[kPackedRows * ldp];
  const Parts cuts(length, kPackedRows), panels(vectors, most);
  for (Size cut = 0, i = 0; cut < cuts.count; i += cuts.size(cut), ++cut) {
    for (Size p = 0, column = 0; p < panels.count; column += panels.size(p) * width, ++p) {
      const Start<T> start = i > 0 ? finish.resume(0, column) : Start<T>{init, 0}.at(0, column);
      with_count<most>(panels.size(p), [&](auto n) {
        for (Size r = 0; r < cuts.size(cut); ++r)
          for (Size v = 0; v < n * width; v += width)
            store<T>(packed + r * ldp + v, load<T>(b + (i + r) * ldb + column + v));
        panel<T, n, false>(a + i, lda, packed, ldp, cuts.size(cut), start, 0, rows, finish, column);
      });
    }
  }
}

// finish(acc[N], row, column) is called for every row of every tile. A block of a, so many rows and
// so much of the chains' length that it stays in the cache, meets all panels of b; where chains are
// cut, their running sums wait in c.
template <class T, bool ByColumn, class Finish>
void product(const T* a, Size lda, const T* b, Size ldb, Size length, const T* init, Size rows,
             Size columns, const Finish& finish) {
  if (rows == 0) return;
  constexpr int widest = max_vectors(1);
  constexpr Size width = kWidth<T>;
  constexpr Size cached = kCachedBytes / static_cast<Size>(sizeof(T));
  const Size vectors = (columns + width - 1) / width;
  // Up to 8 rows are one tile, where the registers have room for three vectors of each.
  const int single = rows <= 8 ? max_vectors(static_cast<int>(rows)) : 0;
  const Parts panels(vectors, single > 2 ? single : max_vectors(kTileRows));
  Size depth = length;
  bool streams = false, fetches = false;
  if constexpr (Finish::kResumes) {
    if (length * ldb * static_cast<Size>(sizeof(T)) > kLargeBytes) {
      if (rows > kFetchedRows)
        return packed_product<T>(a, lda, b, ldb, length, init, rows, vectors, finish);
      streams = rows <= kStreamedRows;
      fetches = !streams;
      depth = streams ? kStreams : kPackedRows;
    } else if (rows * length > cached) {
      depth = cached / (rows < 512 ? rows : 512);
    }
  }
  Size height = cached / (depth < length ? depth : length);
  if (panels.count > 1 && length * columns * static_cast<Size>(sizeof(T)) <= kSmallBytes)
    height = kFewRows;
  const Parts cuts(length, depth), blocks(rows, height);
  for (Size cut = 0, i = 0; cut < cuts.count; i += cuts.size(cut), ++cut) {
    for (Size block = 0, row = 0; block < blocks.count; row += blocks.size(block), ++block) {
      for (Size p = 0, column = 0; p < panels.count; column += panels.size(p) * width, ++p) {
        const Start<T> start = i > 0 ? finish.resume(row, column) : Start<T>{init, 0}.at(0, column);
        const T* const here = b + i * ldb + column;
        const T* const next = p + 1 < panels.count   ? here + panels.size(p) * width
                              : cut + 1 < cuts.count ? b + (i + cuts.size(cut)) * ldb
                                                     : b;
        with_count<widest>(panels.size(p), [&](auto n) {
          panel<T, n, ByColumn>(a + (ByColumn ? row + i * lda : row * lda + i), lda, here, ldb,
                                cuts.size(cut), start, row, blocks.size(block), finish, column,
                                streams ? n * width : 0, fetches ? next : nullptr);
        });
      }
    }
  }
}

template <class T>
struct StoreRow {
  static constexpr bool kResumes = true;
  T* c;
  Size ldc;
  // What was stored is where the next part of a chain starts.
  CHAINRULE_INLINE Start<T> resume(Size row, Size column) const {
    return {c + row * ldc + column, ldc};
  }
  template <int R, int N>
  CHAINRULE_INLINE void expect(Size, Size) const {}
  template <int N>
  CHAINRULE_INLINE void operator()(const V<T> (&acc)[N], Size row, Size column) const {
    for (int v = 0; v < N; ++v) store<T>(c + row * ldc + column + v * kWidth<T>, acc[v] + V<T>{});
  }
};

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
