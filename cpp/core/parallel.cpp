#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <string>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace chainrule {
namespace {

std::atomic<int> g_threads{0};
std::atomic<bool> g_team_busy{false};
// A child of a fork has none of its parent's threads, and libgomp does not know.
std::atomic<unsigned> g_forks{0};

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
  static const Setting setting = [] {
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, [] {
      ++g_forks;
      g_team_busy = false;
    });
#endif
    return read_environment();
  }();
  return setting;
}

}  // namespace

Team::Range Team::share(std::size_t n, std::size_t grain) const {
  const std::size_t grains = (n + grain - 1) / grain;
  const auto bound = [&](int r) {
    return std::min(n,
                    grains * static_cast<std::size_t>(r) / static_cast<std::size_t>(size) * grain);
  };
  return {bound(rank), bound(rank + 1)};
}

void Team::barrier() const {
#if defined(_OPENMP)
  if (size > 1) {
#pragma omp barrier
  }
#endif
}

int team_size(double work, int threads) {
  if (work < kParallelWork) return 1;
  return threads > 0 ? threads : get_num_threads();
}

void run_team(int threads, void (*body)(void* context, const Team&), void* context) {
#if defined(_OPENMP)
  if (threads > 1 && fork_generation() == 0 && !omp_in_parallel() &&
      !g_team_busy.exchange(true, std::memory_order_acquire)) {
#pragma omp parallel num_threads(threads)
    body(context, Team{omp_get_thread_num(), omp_get_num_threads()});
    g_team_busy.store(false, std::memory_order_release);
    return;
  }
#endif
  static_cast<void>(threads);
  body(context, Team{});
}

unsigned fork_generation() { return g_forks.load(std::memory_order_relaxed); }

int get_num_threads() {
  const int set = g_threads.load(std::memory_order_relaxed);
  if (set > 0) return set;
  if (environment().threads > 0) return environment().threads;
  static const int cores = std::min(usable_cores(), 16);
  return cores;
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
