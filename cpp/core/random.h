// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): a function
// from (key, counter) to four random words, so that a seed means the same everywhere.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace chainrule {

using PhiloxKey = std::array<std::uint32_t, 2>;
using PhiloxBlock = std::array<std::uint32_t, 4>;

PhiloxBlock philox4x32(PhiloxKey key, PhiloxBlock counter);

// What a stream is for; streams of one seed never meet.
enum class Purpose : std::uint32_t { initialize = 1, shuffle = 2, dropout = 3 };

// The words of one stream in order: key = seed, counter = (block, index, index, purpose).
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, Purpose purpose, std::uint64_t index);

  std::uint32_t next_word();
  std::uint64_t next_word64();           // low word first
  double next_uniform();                 // [0, 1), 53 bits
  std::uint64_t below(std::uint64_t n);  // [0, n), unbiased (Lemire, 2019)

 private:
  PhiloxKey key_;
  PhiloxBlock counter_;
  PhiloxBlock block_{};
  unsigned used_ = 4;
};

// The order of the samples in one epoch: Fisher-Yates from the last place down.
std::vector<std::size_t> permutation(std::uint64_t seed, std::uint64_t epoch, std::size_t n);

}  // namespace chainrule
