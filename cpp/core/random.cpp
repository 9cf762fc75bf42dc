#include "core/random.h"

#include <numeric>
#include <utility>

namespace chainrule {
namespace {

struct Product {
  std::uint32_t high, low;
};

Product multiply(std::uint32_t a, std::uint32_t b) {
  const std::uint64_t product = std::uint64_t{a} * b;
  return {static_cast<std::uint32_t>(product >> 32), static_cast<std::uint32_t>(product)};
}

// The high and low halves of a 64 x 64 bit product.
struct WideProduct {
  std::uint64_t high, low;
};

WideProduct multiply_wide(std::uint64_t a, std::uint64_t b) {
  const std::uint64_t a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
  const std::uint64_t middle = a1 * b0 + (a0 * b0 >> 32);
  const std::uint64_t carry = a0 * b1 + (middle & 0xffffffff);
  return {a1 * b1 + (middle >> 32) + (carry >> 32), a * b};
}

}  // namespace

PhiloxBlock philox4x32(PhiloxKey key, PhiloxBlock c) {
  for (int round = 0; round < 10; ++round) {
    const Product first = multiply(0xD2511F53, c[0]);
    const Product second = multiply(0xCD9E8D57, c[2]);
    c = {second.high ^ c[1] ^ key[0], second.low, first.high ^ c[3] ^ key[1], first.low};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return c;
}

RandomStream::RandomStream(std::uint64_t seed, Purpose purpose, std::uint64_t index)
    : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
      counter_{0, static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
               static_cast<std::uint32_t>(purpose)} {}

std::uint32_t RandomStream::next_word() {
  if (used_ == 4) {
    block_ = philox4x32(key_, counter_);
    // 2^34 words a stream; beyond, the purpose word makes room.
    if (++counter_[0] == 0) counter_[3] += 0x100;
    used_ = 0;
  }
  return block_[used_++];
}

std::uint64_t RandomStream::next_word64() {
  const std::uint64_t low = next_word();
  return low | std::uint64_t{next_word()} << 32;
}

double RandomStream::next_uniform() { return static_cast<double>(next_word64() >> 11) * 0x1p-53; }

std::uint64_t RandomStream::below(std::uint64_t n) {
  WideProduct product = multiply_wide(next_word64(), n);
  if (product.low < n) {
    const std::uint64_t threshold = (0 - n) % n;
    while (product.low < threshold) product = multiply_wide(next_word64(), n);
  }
  return product.high;
}

std::vector<std::size_t> permutation(std::uint64_t seed, std::uint64_t epoch, std::size_t n) {
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  RandomStream stream(seed, Purpose::shuffle, epoch);
  for (std::size_t i = n; i > 1; --i) std::swap(order[i - 1], order[stream.below(i)]);
  return order;
}

}  // namespace chainrule
