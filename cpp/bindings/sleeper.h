// How a thread waits for others without the GIL, and until when.
#pragma once

#include <algorithm>
#include <chrono>
#include <new>
#include <optional>
#include <utility>

#include "bindings/gil.h"

namespace chainrule::python {

using Clock = std::chrono::steady_clock;

// The end of a time that a caller gave in seconds, or never.
class Deadline {
 public:
  Deadline() = default;
  explicit Deadline(double seconds)
      : end_(Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                std::chrono::duration<double>(std::clamp(seconds, 0.0, 1e9)))) {}

  bool passed() const { return end_ && Clock::now() >= *end_; }

  // At most an hour: whoever sleeps looks again.
  long long microseconds_left() const {
    const auto hour = std::chrono::microseconds(std::chrono::hours(1));
    if (!end_) return hour.count();
    const auto left = std::chrono::ceil<std::chrono::microseconds>(*end_ - Clock::now());
    return std::clamp(left, std::chrono::microseconds(0), hour).count();
  }

  friend Deadline earlier(const Deadline& a, const Deadline& b) {
    if (!a.end_ || !b.end_) return a.end_ ? a : b;
    return *a.end_ < *b.end_ ? a : b;
  }

 private:
  std::optional<Clock::time_point> end_;
};

// What one thread sleeps on, and others wake. One of Python's own locks: signals end its waits.
class Sleeper {
 public:
  Sleeper() : lock_(PyThread_allocate_lock()) {
    if (lock_ == nullptr) throw std::bad_alloc();
    PyThread_acquire_lock(lock_, NOWAIT_LOCK);
  }
  ~Sleeper() {
    wake();
    PyThread_free_lock(lock_);
  }
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;

  void wake() {
    if (std::exchange(woken_, true)) return;
    PyThread_release_lock(lock_);
  }

  // Until wake(), the deadline or a signal; throws what the handler of a signal raises.
  void sleep(const Deadline& deadline) {
    PyLockStatus status = PY_LOCK_FAILURE;
    {
      const long long microseconds = deadline.microseconds_left();
      const GilRelease away;
      status = PyThread_acquire_lock_timed(lock_, microseconds, 1);
    }
    if (status == PY_LOCK_ACQUIRED) woken_ = false;
    if (status == PY_LOCK_INTR && or_stay([] { return PyErr_CheckSignals(); }) < 0)
      throw py::error_already_set();
  }

 private:
  PyThread_type_lock lock_;
  bool woken_ = false;
};

}  // namespace chainrule::python
