#include "core/roofline.h"

#include <algorithm>
#include <chrono>

#include "core/aligned_buffer.h"
#include "kernels/kernels.h"

namespace chainrule {
namespace {

// The best of several rounds of `work(times)`, which returns an amount: amount a second.
template <class Work>
double best_rate(Work work) {
  using Clock = std::chrono::steady_clock;
  const auto timed = [&](Size times) {
    const auto start = Clock::now();
    const double amount = work(times);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return std::pair(amount, std::max(seconds, 1e-9));
  };
  Size times = 1;
  while (timed(times).second < 1e-3) times *= 2;
  double best = 0;
  for (int round = 0; round < 9; ++round) {
    const auto [amount, seconds] = timed(times);
    best = std::max(best, amount / seconds);
  }
  return best;
}

}  // namespace

template <class T>
double fma_rate() {
  T sink[2] = {T(0.5), T(0.25)};
  return best_rate([&](Size times) {
    return 2.0 * static_cast<double>(kernels<T>().fma_chains(sink, 1000 * times));
  });
}

double read_rate(std::size_t bytes) {
  const std::size_t n = std::max<std::size_t>(bytes / sizeof(float) / 128, 1) * 128;
  const AlignedBuffer<float> buffer(n);
  volatile float sink = 0;
  return best_rate([&](Size times) {
    for (Size i = 0; i < times; ++i)
      sink = kernels<float>().read_sum(buffer.data(), static_cast<Size>(n));
    return static_cast<double>(n * sizeof(float)) * static_cast<double>(times);
  });
}

template double fma_rate<float>();
template double fma_rate<double>();

}  // namespace chainrule
