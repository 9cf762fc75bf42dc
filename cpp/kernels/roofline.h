// What bounds every other kernel, reached with the same instructions: fma on registers alone, and
// reading memory.
#pragma once

#include "kernels/kernels.h"
#include "kernels/reduce.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// Independent chains: the latency of fma times the units that any CPU has.
inline constexpr int kFmaChains = 12;

template <class T>
Size fma_chains(T* sink, Size steps) {
  // Each starts elsewhere: equal chains would be computed once.
  V<T> acc[kFmaChains];
  for (int i = 0; i < kFmaChains; ++i) acc[i] = splat<T>(static_cast<T>(i));
  const V<T> a = splat<T>(sink[0]), b = splat<T>(sink[1]);
  for (Size i = 0; i < steps; ++i)
#pragma GCC unroll 16
    for (V<T>& chain : acc) chain = fma(a, chain, b);
  V<T> total{};
  for (const V<T>& chain : acc) total = total + chain;
  sink[0] = first_lane<T>(total);
  return steps * kFmaChains * kWidth<T>;
}

template <class T>
T read_sum(const T* x, Size n) {
  constexpr int kSums = 8;
  constexpr Size step = kSums * kWidth<T>;
  V<T> acc[kSums] = {};
  for (Size i = 0; i + step <= n; i += step)
#pragma GCC unroll 8
    for (int s = 0; s < kSums; ++s) acc[s] = acc[s] + load<T>(x + i + s * kWidth<T>);
  V<T> total{};
  for (const V<T>& part : acc) total = total + part;
  return first_lane<T>(total);
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
