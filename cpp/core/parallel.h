// The team of threads. parallel.cpp is the only file that names OpenMP.
#pragma once

#include <atomic>
#include <cstddef>
#include <string>

namespace chainrule {

// One thread's view of the team that runs a region.
struct Team {
  int rank = 0;
  int size = 1;

  // Waits for all threads of the team.
  void barrier() const {
    if (size > 1) wait();
  }

  // The part of [0, n) that belongs to this thread; bounds are multiples of `grain`.
  struct Range {
    std::size_t begin, end;
  };
  Range share(std::size_t n, std::size_t grain) const {
    return size > 1 ? part(n, grain) : Range{0, n};
  }

 private:
  void wait() const;
  Range part(std::size_t n, std::size_t grain) const;
};

// Below this many fused multiply-adds a region costs more than it saves.
inline constexpr double kParallelWork = 2e6;

// Runs body(team) on every thread of a team of `threads`; serially when that is 1, inside another
// region, while another team of this process is at work, or where the system gives no threads.
// The body must not throw.
void run_team(int threads, void (*body)(void* context, const Team&), void* context);

template <class Body>
void parallel(int threads, Body&& body) {
  if (threads <= 1) return body(Team{});
  run_team(
      threads, [](void* context, const Team& team) { (*static_cast<Body*>(context))(team); },
      &body);
}

// Process-wide: physical cores that affinity and the cgroup's CPU quota leave, at most 16 and at
// most OMP_NUM_THREADS; CHAINRULE_NUM_THREADS and set_num_threads override it.
inline constexpr int kMaxThreads = 256;
int get_num_threads();
void set_num_threads(int n);
int usable_cores();

// The team size for `work` multiply-adds: 1 or `threads` (0: the process-wide setting).
inline int team_size(double work, int threads) {
  if (work < kParallelWork) return 1;
  return threads > 0 ? threads : get_num_threads();
}

// What the CPU quotas of this process's cgroup and its ancestors leave, rounded up; 0: no limit.
// From /proc/self/cgroup and the folder /sys/fs/cgroup, or what stands for them in tests.
int cgroup_cores(const std::string& proc_self_cgroup, const std::string& sys_fs_cgroup);

// Null, or why CHAINRULE_NUM_THREADS cannot be obeyed.
const char* threads_error();

bool has_openmp();

// How many forks lie between this process and the one that loaded the library.
extern std::atomic<unsigned> g_forks;
inline unsigned fork_generation() { return g_forks.load(std::memory_order_relaxed); }

}  // namespace chainrule
