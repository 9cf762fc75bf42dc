// Samples are summed in chunks, and the sums of n chunks in a binary tree: the range of chunks is
// halved, the larger half first. Part of the arithmetic: whoever has a part of the range that is a
// subtree can sum it alone.
#pragma once

#include <array>
#include <bit>
#include <cstddef>

namespace chainrule {

inline constexpr std::size_t kChunkRows = 256;

inline std::size_t chunk_count(std::size_t samples) {
  return (samples + kChunkRows - 1) / kChunkRows;
}

// Where chunk i stands in the tree: how many sums to its left wait for it or for later ones, and
// how many of them, the last ones, take it in.
struct Place {
  int waiting = 0;
  int merged = 0;
};

constexpr Place place_of(std::size_t chunk, std::size_t chunks) {
  Place place;
  while (chunks > 1) {
    const std::size_t left = chunks - chunks / 2;
    if (chunk < left) {
      chunks = left;
      place.merged = 0;
    } else {
      chunk -= left;
      chunks -= left;
      ++place.waiting;
      ++place.merged;
    }
  }
  return place;
}

// The most sums that wait at a time.
constexpr std::size_t sums_waiting(std::size_t chunks) {
  return chunks < 4 ? 1 : std::bit_width(chunks) - 1;
}

// Sums of chunks in float64, handed over in order.
class TreeSum {
 public:
  explicit TreeSum(std::size_t chunks) : chunks_(chunks) {}

  void add(double sum) {
    const Place place = place_of(next_++, chunks_);
    int at = place.waiting;
    for (int m = 0; m < place.merged; ++m) sum = waiting_[static_cast<std::size_t>(--at)] + sum;
    waiting_[static_cast<std::size_t>(at)] = sum;
  }
  double total() const { return waiting_[0]; }

 private:
  std::size_t chunks_;
  std::size_t next_ = 0;
  std::array<double, 64> waiting_{};
};

}  // namespace chainrule
