#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/threads.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace chainrule {

std::atomic<unsigned> g_forks{0};

namespace {

std::atomic<int> g_threads{0};
// Whether a loop of this process has the threads.
std::atomic<bool> g_busy{false};

#if defined(__unix__) || defined(__APPLE__)

// Whether the fork that this thread is making holds g_busy.
thread_local bool t_holds = false;

void prepare_fork() {
  t_holds = !g_busy.exchange(true);
  before_fork(t_holds);
}
void go_on_in_parent() {
  if (t_holds) g_busy = false;
}
void start_in_child() {
  ++g_forks;
  in_child();
  g_busy = false;
}
[[maybe_unused]] const int g_fork_handlers =
    pthread_atfork(prepare_fork, go_on_in_parent, start_in_child);

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
  if (status != std::errc() || end != value.data() + value.size() || !can_be_threads(threads))
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

void run_parts(int threads, std::size_t parts, Part part, void* context) {
  threads = static_cast<int>(std::min(static_cast<std::size_t>(threads), parts));
  if (parts <= kMostParts && !g_busy.exchange(true, std::memory_order_acquire)) {
    const bool done = run_on_threads(threads, parts, part, context);
    g_busy.store(false, std::memory_order_release);
    if (done) return;
  }
  for (std::size_t i = 0; i < parts; ++i) part(context, i, 0);
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

}  // namespace chainrule
