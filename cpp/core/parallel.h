// Loops whose parts several threads share.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <string>
#include <type_traits>

namespace chainrule {

// Below this many fused multiply-adds a second thread costs more than it saves.
inline constexpr double kParallelWork = 2e6;

// part(context, i, thread) for each i of [0, parts), on at most `threads` threads: on the caller
// alone inside another such loop, while other threads of this process share one, or where the
// system gives no threads.
void run_parts(int threads, std::size_t parts,
               void (*part)(void* context, std::size_t i, int thread), void* context);

// body(i) or body(i, thread) for each i of [0, parts), in any order; thread is of [0, threads), and
// no two parts that run at once have the same. The body must not throw.
template <class Body>
void parallel_for(int threads, std::size_t parts, Body body) {
  const auto call = [](Body& f, std::size_t i, int thread) {
    if constexpr (std::is_invocable_v<Body&, std::size_t, int>)
      f(i, thread);
    else
      f(i);
  };
  if (threads <= 1 || parts <= 1) {
    for (std::size_t i = 0; i < parts; ++i) call(body, i, 0);
    return;
  }
  // A copy, so that what one thread needs can stay in registers: the address of this one gets
  // about.
  Body shared = body;
  run_parts(
      threads, parts,
      [](void* context, std::size_t i, int thread) {
        decltype(call){}(*static_cast<Body*>(context), i, thread);
      },
      &shared);
}

// The i-th of `ranges` ranges that make up [0, n); bounds are multiples of `grain`.
struct Range {
  std::size_t begin, end;
};
inline Range share(std::size_t n, std::size_t grain, std::size_t i, std::size_t ranges) {
  if (ranges == 1) return {0, n};  // a division takes longer than some layers
  const std::size_t grains = (n + grain - 1) / grain;
  const auto bound = [&](std::size_t r) { return std::min(n, grains * r / ranges * grain); };
  return {bound(i), bound(i + 1)};
}

// body(begin, end) for ranges of [0, n), at most as many as threads; bounds are multiples of
// `grain`.
template <class Body>
void parallel_ranges(int threads, std::size_t n, std::size_t grain, Body body) {
  if (threads <= 1) return body(std::size_t{0}, n);
  const std::size_t ranges = std::min(static_cast<std::size_t>(threads), (n + grain - 1) / grain);
  parallel_for(threads, ranges, [=](std::size_t i) {
    const auto [begin, end] = share(n, grain, i, ranges);
    body(begin, end);
  });
}

// Process-wide: physical cores that affinity and the cgroup's CPU quota leave, at most 16 and at
// most OMP_NUM_THREADS; CHAINRULE_NUM_THREADS and set_num_threads override it.
inline constexpr int kMaxThreads = 256;
constexpr bool can_be_threads(long n) { return n >= 1 && n <= kMaxThreads; }
int get_num_threads();
void set_num_threads(int n);
int usable_cores();

// The threads that `work` multiply-adds are worth: 1 or `threads` (0: the process-wide setting).
inline int threads_for(double work, int threads) {
  if (work < kParallelWork) return 1;
  return threads > 0 ? threads : get_num_threads();
}

// What the CPU quotas of this process's cgroup and its ancestors leave, rounded up; 0: no limit.
// From /proc/self/cgroup and the folder /sys/fs/cgroup, or what stands for them in tests.
int cgroup_cores(const std::string& proc_self_cgroup, const std::string& sys_fs_cgroup);

// Null, or why CHAINRULE_NUM_THREADS cannot be obeyed.
const char* threads_error();

// How many forks lie between this process and the one that loaded the library.
extern std::atomic<unsigned> g_forks;
inline unsigned fork_generation() { return g_forks.load(std::memory_order_relaxed); }

}  // namespace chainrule
