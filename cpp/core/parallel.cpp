#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace chainrule {

std::atomic<unsigned> g_forks{0};

namespace {

std::atomic<int> g_threads{0};
std::atomic<bool> g_team_busy{false};
// In the child of a fork that could not leave its team behind.
std::atomic<bool> g_no_team{false};

using Body = void (*)(void* context, const Team&);

// The barrier of the team that this thread works in; null outside and under OpenMP.
thread_local std::barrier<>* t_barrier = nullptr;

// Runs body(team) on threads of its own; false, and nothing has run, where they cannot be had.
bool run_threads(int size, Body body, void* context) {
  std::atomic<int> go{0};  // 1: all threads are there, -1: they cannot be
  std::optional<std::barrier<>> barrier;
  const auto work = [&](int rank) {
    go.wait(0);
    if (go < 0) return;
    t_barrier = &*barrier;
    body(context, Team{rank, size});
    t_barrier = nullptr;
  };
  std::vector<std::thread> threads;
  bool complete = true;
  try {
    barrier.emplace(size);
    threads.reserve(static_cast<std::size_t>(size));
    for (int rank = 1; rank < size; ++rank) threads.emplace_back(work, rank);
  } catch (const std::exception&) {
    complete = false;
  }
  go = complete ? 1 : -1;
  go.notify_all();
  if (complete) work(0);
  for (std::thread& thread : threads) thread.join();
  return complete;
}

#if defined(_OPENMP)

// The size of the team that libgomp keeps for this thread.
thread_local int t_team = 1;

// libgomp ends the process where it cannot create a thread: before it does for the first time,
// as many are tried, and as many again for those that the system has not quite forgotten.
bool threads_can_be_had(int size) {
  return size <= t_team || run_threads(2 * size - 1, [](void*, const Team&) {}, nullptr);
}

bool run_openmp(int size, Body body, void* context) {
  if (omp_in_parallel() || !threads_can_be_had(size)) return false;
  t_team = size;
#pragma omp parallel num_threads(size)
  body(context, Team{omp_get_thread_num(), omp_get_num_threads()});
  return true;
}

#endif

#if defined(__unix__) || defined(__APPLE__)

// A child has one thread, and libgomp would wait for the others for ever: before a fork the team of
// the forking thread is dissolved, so that parent and child each start a new one when they need it.
void before_fork() {
#if defined(_OPENMP)
  g_no_team = omp_pause_resource_all(omp_pause_hard) != 0;
  t_team = 1;
#endif
}
void in_parent() { g_no_team = false; }
void in_child() {
  ++g_forks;
  g_team_busy = false;
}
[[maybe_unused]] const int g_fork_handlers = pthread_atfork(before_fork, in_parent, in_child);

#endif

struct Setting {
  int threads = 0;
  std::string error;
};

Setting read_environment() {
  const char* text = std::getenv("CHAINRULE_NUM_THREADS");
  if (text == nullptr || *text == '\0') return {};
  const std::string value = text;
  int threads = 0;
  const auto [end, status] = std::from_chars(value.data(), value.data() + value.size(), threads);
  if (status != std::errc() || end != value.data() + value.size() || threads < 1 ||
      threads > kMaxThreads)
    return {0, "CHAINRULE_NUM_THREADS=" + value + " is not a whole number from 1 to " +
                   std::to_string(kMaxThreads)};
  return {threads, {}};
}

const Setting& environment() {
  static const Setting setting = read_environment();
  return setting;
}

// The first number of OMP_NUM_THREADS, which joblib and batch systems set where several processes
// share the cores; 0 where there is none. It is not ours: what cannot be read is not obeyed.
int openmp_setting() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  int threads = 0;
  if (text != nullptr) std::from_chars(text, text + std::strlen(text), threads);
  return std::max(threads, 0);
}

int default_threads() {
  const int cores = std::min(usable_cores(), 16);
  const int limit = openmp_setting();
  return limit > 0 ? std::min(cores, limit) : cores;
}

}  // namespace

Team::Range Team::part(std::size_t n, std::size_t grain) const {
  const std::size_t grains = (n + grain - 1) / grain;
  const auto bound = [&](int r) {
    return std::min(n,
                    grains * static_cast<std::size_t>(r) / static_cast<std::size_t>(size) * grain);
  };
  return {bound(rank), bound(rank + 1)};
}

void Team::wait() const {
#if defined(_OPENMP)
#pragma omp barrier
#else
  t_barrier->arrive_and_wait();
#endif
}

void run_team(int threads, Body body, void* context) {
  if (threads > 1 && !g_no_team && t_barrier == nullptr &&
      !g_team_busy.exchange(true, std::memory_order_acquire)) {
#if defined(_OPENMP)
    const bool done = run_openmp(threads, body, context);
#else
    const bool done = run_threads(threads, body, context);
#endif
    g_team_busy.store(false, std::memory_order_release);
    if (done) return;
  }
  body(context, Team{});
}

int get_num_threads() {
  const int set = g_threads.load(std::memory_order_relaxed);
  if (set > 0) return set;
  if (environment().threads > 0) return environment().threads;
  static const int threads = default_threads();
  return threads;
}

void set_num_threads(int n) {
  environment();
  g_threads.store(n, std::memory_order_relaxed);
}

const char* threads_error() {
  return environment().error.empty() ? nullptr : environment().error.c_str();
}

bool has_openmp() {
#if defined(_OPENMP)
  return true;
#else
  return false;
#endif
}

}  // namespace chainrule
