// Threads that wait for work. The caller never waits for one that has not come: it takes the parts
// of its work one by one, as they do, and goes on when all are done.
#include <atomic>
#include <cfenv>
#include <chrono>
#include <cstdint>
#include <exception>
#include <new>
#include <thread>
#include <vector>

#include "core/threads.h"

#if defined(__unix__) || defined(__APPLE__)
#include <csignal>
#endif

namespace chainrule {
namespace {

using Clock = std::chrono::steady_clock;

// How long a thread looks for a change before it sleeps, which costs both sides some microseconds:
// longer than what lies between two calls of a loop, shorter than anybody else would miss the core.
constexpr std::chrono::microseconds kAwake{100};

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

// A system that has just refused a thread is not asked again so soon.
constexpr std::chrono::milliseconds kRefusal{100};

// Looks for kAwake whether the number is another one than `seen`.
void look_for_change(const std::atomic<std::uint32_t>& number, std::uint32_t seen) {
  constexpr int kLooks = 64;  // for one at the clock
  const auto end = Clock::now() + kAwake;
  do {
    for (int i = 0; i < kLooks; ++i) {
      if (number.load(std::memory_order_acquire) != seen) return;
      pause();
    }
  } while (Clock::now() < end);
}

// Sleeps until it is, and returns it.
std::uint32_t sleep_until_change(const std::atomic<std::uint32_t>& number, std::uint32_t seen) {
  number.wait(seen);
  return number.load(std::memory_order_acquire);
}

// Signals are for the threads of the program, but for those that a thread raises itself.
class SignalsBlocked {
#if defined(__unix__) || defined(__APPLE__)
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) sigdelset(&all, own);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
#endif
};

class Pool {
 public:
  // Does all parts, on the caller and at most threads - 1 helpers; those that the system does not
  // give are not missed.
  void run(int threads, std::size_t parts, Part part, void* context);
  void end_helpers();     // between two runs
  void forget_helpers();  // which are another process's

 private:
  void add_helpers(std::size_t count);
  void help();
  void take_parts();
  bool take(std::uint64_t cost, std::uint64_t& before);

  // Helpers that may still join, times kHelper, plus the parts that nobody has taken yet.
  static constexpr std::uint64_t kHelper = std::uint64_t{kMostParts} + 1;
  alignas(64) std::atomic<std::uint64_t> open_{0};
  alignas(64) std::atomic<std::uint32_t> undone_{0};  // parts
  alignas(64) std::atomic<std::uint32_t> calls_{0};
  // Of the call that is running: written while no part is open, and read by those who hold one.
  Part part_ = nullptr;
  void* context_ = nullptr;
  std::size_t parts_ = 0;
  int threads_ = 0;
  std::fenv_t environment_{};  // rounding and flushing are the caller's

  // No more helpers stay awake than the last call had places for.
  std::atomic<int> wanted_{0};
  std::atomic<int> awake_{0};
  std::atomic<bool> end_{false};
  std::vector<std::thread> helpers_;
  Clock::time_point ask_again_{};
};

void Pool::run(int threads, std::size_t parts, Part part, void* context) {
  add_helpers(static_cast<std::size_t>(threads - 1));
  part_ = part;
  context_ = context;
  parts_ = parts;
  threads_ = threads;
  std::fegetenv(&environment_);
  wanted_.store(threads - 1, std::memory_order_relaxed);
  undone_.store(static_cast<std::uint32_t>(parts), std::memory_order_relaxed);
  open_.store(static_cast<std::uint64_t>(threads - 1) * kHelper + parts, std::memory_order_release);
  calls_.fetch_add(1);
  for (int i = awake_.load() + 1; i < threads; ++i) calls_.notify_one();
  std::uint64_t before;
  while (take(1, before)) {
    part(context, parts - before % kHelper, 0);
    undone_.fetch_sub(1, std::memory_order_relaxed);
  }
  for (std::uint32_t n = undone_.load(std::memory_order_acquire); n != 0;) {
    look_for_change(undone_, n);
    n = sleep_until_change(undone_, n);
  }
}

void Pool::end_helpers() {
  end_ = true;
  calls_.fetch_add(1);
  calls_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
  helpers_.clear();
  end_ = false;
}

void Pool::forget_helpers() {
  open_ = 0;
  end_ = false;
  awake_ = 0;
  ask_again_ = {};
  new (&helpers_) std::vector<std::thread>;
}

void Pool::add_helpers(std::size_t count) {
  if (helpers_.size() >= count || Clock::now() < ask_again_) return;
  [[maybe_unused]] const SignalsBlocked blocked{};
  try {
    while (helpers_.size() < count) helpers_.emplace_back(&Pool::help, this);
  } catch (const std::exception&) {
    ask_again_ = Clock::now() + kRefusal;  // the others do their parts
  }
}

void Pool::help() {
  std::uint32_t seen = calls_.load(std::memory_order_acquire);
  while (!end_) {
    take_parts();
    if (awake_.fetch_add(1) < wanted_.load(std::memory_order_relaxed))
      look_for_change(calls_, seen);
    awake_.fetch_sub(1);
    seen = sleep_until_change(calls_, seen);
  }
}

// The next part is taken before the one that is done counts as done: until then the call goes on,
// and what it has written here stays.
void Pool::take_parts() {
  std::uint64_t before;
  if (!take(kHelper + 1, before)) return;
  const int thread = threads_ - static_cast<int>(before / kHelper);
  std::fesetenv(&environment_);
  bool more = true;
  while (more) {
    part_(context_, parts_ - before % kHelper, thread);
    more = take(1, before);
    if (undone_.fetch_sub(1, std::memory_order_acq_rel) == 1) undone_.notify_one();
  }
}

// Lowers open_ by `cost` where a part is left, and a helper's place if that is part of the cost.
bool Pool::take(std::uint64_t cost, std::uint64_t& before) {
  before = open_.load(std::memory_order_acquire);
  while (before % kHelper != 0 && before >= cost)
    if (open_.compare_exchange_weak(before, before - cost, std::memory_order_acquire)) return true;
  return false;
}

// Never destroyed, as its threads live as long as the process.
union Immortal {
  Pool pool;
  Immortal() : pool() {}
  ~Immortal() {}
};
Immortal g_immortal;
Pool& g_pool = g_immortal.pool;

}  // namespace

const bool kThreadsOfOpenmp = false;

bool run_on_threads(int threads, std::size_t parts, Part part, void* context) {
  g_pool.run(threads, parts, part, context);
  return true;
}

// Python warns of a fork in a process with several threads: those that are asleep need not count.
void before_fork(bool idle) {
  if (idle) g_pool.end_helpers();
}

void in_child() { g_pool.forget_helpers(); }

}  // namespace chainrule
