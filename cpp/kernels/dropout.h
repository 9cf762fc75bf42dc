// Dropout: random words by Philox4x32-10, several blocks side by side, and what they leave of
// activations and errors.
#pragma once

#include <utility>

#include "kernels/kernels.h"
#include "kernels/vec.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// One word of each of several blocks; the high halves are not looked at.
#if CHAINRULE_VECTOR_BYTES == 0
using Words = std::uint64_t;
inline constexpr int kBlocks = 1;
#else
typedef std::uint64_t Words __attribute__((vector_size(CHAINRULE_VECTOR_BYTES)));
inline constexpr int kBlocks = CHAINRULE_VECTOR_BYTES / 8;
#endif

// The products of the low halves.
CHAINRULE_INLINE Words multiply_low(Words a, Words b) {
#if CHAINRULE_VECTOR_BYTES == 64
  return (Words)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);
#elif CHAINRULE_VECTOR_BYTES == 32
  return (Words)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif CHAINRULE_VECTOR_BYTES == 16
  return (Words)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b));
#else
  return (a & 0xffffffff) * (b & 0xffffffff);
#endif
}

// The keys of the ten rounds.
struct PhiloxKeys {
  std::uint64_t of_round[10][2];
};

CHAINRULE_INLINE PhiloxKeys key_schedule(const std::uint32_t* key) {
  PhiloxKeys keys;
  for (std::uint32_t i = 0; i < 10; ++i) {
    keys.of_round[i][0] = key[0] + i * 0x9E3779B9u;
    keys.of_round[i][1] = key[1] + i * 0xBB67AE85u;
  }
  return keys;
}

struct PhiloxState {
  Words word[4];
};

// 0, 1, ... in the lanes.
CHAINRULE_INLINE Words lane_numbers() {
  Words numbers{};
#if CHAINRULE_VECTOR_BYTES != 0
  for (int i = 0; i < kBlocks; ++i) numbers[i] = static_cast<std::uint64_t>(i);
#endif
  return numbers;
}

CHAINRULE_INLINE void philox_round(PhiloxState& c, const std::uint64_t* key) {
  const Words p = multiply_low(c.word[0], Words{} + 0xD2511F53u);
  const Words q = multiply_low(c.word[2], Words{} + 0xCD9E8D57u);
  c = {{(q >> 32) ^ c.word[1] ^ key[0], q, (p >> 32) ^ c.word[3] ^ key[1], p}};
}

// The words of the blocks, one block after the other.
CHAINRULE_INLINE void store_words(std::uint32_t* to, const PhiloxState& c) {
#if CHAINRULE_VECTOR_BYTES == 0
  for (int i = 0; i < 4; ++i) to[i] = static_cast<std::uint32_t>(c.word[i]);
#else
  const Words front = (c.word[0] & 0xffffffff) | (c.word[1] << 32);
  const Words back = (c.word[2] & 0xffffffff) | (c.word[3] << 32);
  const auto interleave = [&]<int... I>(std::integer_sequence<int, I...>, auto half) {
    constexpr int begin = half * kBlocks / 2;
    return __builtin_shufflevector(front, back, (begin + I / 2 + I % 2 * kBlocks)...);
  };
  constexpr auto lanes = std::make_integer_sequence<int, kBlocks>();
  const Words both[] = {interleave(lanes, std::integral_constant<int, 0>()),
                        interleave(lanes, std::integral_constant<int, 1>())};
  __builtin_memcpy(to, both, sizeof both);
#endif
}

// What two vectors of blocks make of their counters: one alone would wait for each of its products.
inline constexpr Size kWordsAtOnce = 8 * kBlocks;

// The words of the blocks `first`, first + 1, ... with the row of the mask's counters.
CHAINRULE_INLINE void random_words(std::uint32_t* to, const PhiloxKeys& keys, std::uint64_t first,
                                   std::uint64_t row, std::uint32_t purpose) {
  const Words numbers = lane_numbers() + first;
  PhiloxState c[2];
  for (int i = 0; i < 2; ++i)
    c[i] = {{numbers + static_cast<std::uint64_t>(i * kBlocks), Words{} + row,
             Words{} + (row >> 32), Words{} + purpose}};
#pragma GCC unroll 10
  for (const auto& key : keys.of_round) {
    philox_round(c[0], key);
    philox_round(c[1], key);
  }
  store_words(to, c[0]);
  store_words(to + 4 * kBlocks, c[1]);
}

// `kept` where the word is not below the threshold, else 0.
template <class T>
CHAINRULE_INLINE V<T> factors(const std::uint32_t* words, std::uint32_t threshold, V<T> kept) {
#if CHAINRULE_VECTOR_BYTES == 0
  return *words < threshold ? T(0) : kept;
#else
  typedef std::uint32_t Loaded __attribute__((vector_size(4 * kWidth<T>)));
  Loaded loaded;
  __builtin_memcpy(&loaded, words, sizeof loaded);
  if constexpr (sizeof(T) == 4) {
    return value<T>(bits<T>(kept) & (Bits<T>)(loaded >= threshold));
  } else {
    const auto wide = __builtin_convertvector(loaded, Bits<T>);
    return value<T>(bits<T>(kept) & (wide >= static_cast<std::int64_t>(threshold)));
  }
#endif
}

template <class T>
void drop(T* out, T* factor, const T* a, Size ld, DropoutMask mask, T kept, Size first, Size rows,
          Size n) {
  const PhiloxKeys keys = key_schedule(mask.key);
  alignas(64) std::uint32_t words[kWordsAtOnce];
  for (Size r = 0; r < rows; ++r, ++mask.row, out += ld, factor += ld, a += ld) {
    for (Size begin = 0; begin < n; begin += kWordsAtOnce) {
      const auto block = static_cast<std::uint64_t>(first + begin) / 4;
      random_words(words, keys, block, mask.row, mask.purpose);
      const Size end = n - begin < kWordsAtOnce ? n : begin + kWordsAtOnce;
      for (Size j = begin; j < end; j += kWidth<T>) {
        const V<T> f = factors<T>(words + (j - begin), mask.threshold, splat<T>(kept));
        store<T>(factor + j, f);
        store<T>(out + j, load<T>(a + j) * f);
      }
    }
  }
}

template <class T>
void multiply(T* d, const T* factor, Size ld, Size rows, Size n) {
  for (Size r = 0; r < rows; ++r, d += ld, factor += ld)
    for (Size j = 0; j < n; j += kWidth<T>) store<T>(d + j, load<T>(d + j) * load<T>(factor + j));
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
