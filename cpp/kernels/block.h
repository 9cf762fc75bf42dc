// The forward product of layers one 64-byte block wide: a single chain of fma for each output would
// leave a processor waiting for every one of them, so chain_count(n_in) chains run over consecutive
// parts of the inputs.
#pragma once

#include "kernels/product.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// One row, C chains side by side.
template <class T, int C>
void block_row(T* z, const T* a, const T* w, const T* b, Size n_in) {
  const Size length = chain_length(n_in);
  Block<T> acc[C] = {};
  if (b != nullptr) acc[0] = load_block(b);
  const auto step = [&](int chain, Size i) __attribute__((always_inline)) {
    const Size k = chain * length + i;
    const V<T> ak = splat<T>(a[k]);
#pragma GCC unroll 16
    for (int part = 0; part < kParts<T>; ++part)
      acc[chain].part[part] =
          fma(ak, load<T>(w + k * kLanes<T> + part * kWidth<T>), acc[chain].part[part]);
  };
  const Size last = n_in - (C - 1) * length;
  Size i = 0;
  for (; i < last; ++i) {
#pragma GCC unroll 16
    for (int chain = 0; chain < C; ++chain) step(chain, i);
  }
  for (; i < length; ++i) {
#pragma GCC unroll 16
    for (int chain = 0; chain + 1 < C; ++chain) step(chain, i);
  }
  for (int part = 0; part < kParts<T>; ++part) {
    V<T> sum = acc[0].part[part];
#pragma GCC unroll 16
    for (int chain = 1; chain < C; ++chain) sum = sum + acc[chain].part[part];
    store<T>(z + part * kWidth<T>, sum + V<T>{});
  }
}

// R rows, chain after chain, each added to those before it, which wait in z.
template <class T, int R>
[[gnu::noinline]] void block_rows(T* z, Size ldz, const T* a, Size lda, const T* w, const T* b,
                                  Size n_in) {
  constexpr int parts = kParts<T>;
  constexpr Size width = kWidth<T>;
  const Size length = chain_length(n_in);
  V<T> acc[R][parts];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < parts; ++p) acc[r][p] = b != nullptr ? load<T>(b + p * width) : V<T>{};
  }
  const auto step = [&] {
    V<T> row[parts];
#pragma GCC unroll 16
    for (int p = 0; p < parts; ++p) row[p] = load<T>(w + p * width);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const V<T> ar = splat<T>(a[r * lda]);
#pragma GCC unroll 16
      for (int p = 0; p < parts; ++p) acc[r][p] = fma(ar, row[p], acc[r][p]);
    }
    ++a;
    w += kLanes<T>;
  };
  for (Size left = n_in; left > 0; left -= length) {
    Size steps = left < length ? left : length;
    for (; steps >= kRowsATurn; steps -= kRowsATurn) {
#pragma GCC unroll 16
      for (Size turn = 0; turn < kRowsATurn; ++turn) step();
    }
    if constexpr (kRowsATurn > 1)
      for (; steps > 0; --steps) step();
    const bool first = left == n_in;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
      for (int p = 0; p < parts; ++p) {
        T* const at = z + r * ldz + p * width;
        store<T>(at, (first ? V<T>{} : load<T>(at)) + acc[r][p]);
        acc[r][p] = V<T>{};
      }
    }
  }
}

template <class T>
void block_affine(T* z, Size ldz, const T* a, Size lda, const T* w, const T* b, Size rows,
                  Size n_in, Size n_out) {
  const Size chains = chain_count(n_in);
  if (chains == 1)
    return product<T, false>(a, lda, w, kLanes<T>, n_in, b, rows, n_out, StoreRow<T>{z, ldz});
  if (rows == 1)
    return with_count<kMostChains>(chains, [&](auto c) { block_row<T, c>(z, a, w, b, n_in); });
  constexpr int height = max_rows(kParts<T>);
  const Parts blocks(rows, height);
  for (Size block = 0; block < blocks.count; ++block) {
    const Size size = blocks.size(block);
    with_count<height>(size, [&](auto r) { block_rows<T, r>(z, ldz, a, lda, w, b, n_in); });
    z += size * ldz;
    a += size * lda;
  }
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
