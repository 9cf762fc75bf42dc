// Who may read and who may write the parameters of one network.
//
// A Trainer is made, and training() asked, one thread at a time: in Python, with the GIL held. What
// runs inside such a turn from beginning to end needs no lock. Everything else reads under a shared
// lock, and waits for a step boundary while another thread trains.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <shared_mutex>

#include "core/parallel.h"

namespace chainrule {

class Gate {
 public:
  // Reads for as long as it lives.
  class Reader {
   public:
    explicit Reader(Gate& gate);
    ~Reader() { gate_.mutex_.unlock_shared(); }
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

   private:
    Gate& gate_;
  };

  // Writes between begin and end. Throws std::runtime_error while another thread trains.
  class Trainer {
   public:
    explicit Trainer(Gate& gate);
    ~Trainer();
    Trainer(const Trainer&) = delete;
    Trainer& operator=(const Trainer&) = delete;

    void begin();      // waits until the readers have left
    bool try_begin();  // false where it would have to wait
    void end();
    bool readers_wait() const { return gate_.waiting_.load(std::memory_order_relaxed) > 0; }
    void let_readers_pass();  // at a step boundary: those who wait go first

   private:
    Gate& gate_;
    bool locked_ = false;
  };

  // The claim of one fit, for as long as it lives. Throws std::runtime_error while another one
  // holds it. The child of a fork starts without claims, those of the fork's callers included.
  class Fit {
   public:
    explicit Fit(Gate& gate);
    ~Fit();
    Fit(const Fit&) = delete;
    Fit& operator=(const Fit&) = delete;

   private:
    Gate& gate_;
    unsigned generation_;
  };

  // True while a thread trains.
  bool training() {
    forget_other_process();
    return training_.load(std::memory_order_relaxed);
  }

  // Rises whenever the parameters may have changed.
  std::uint64_t version() const { return version_.load(); }

 private:
  // The child of a fork inherits locks whose owners it does not have: it starts with new ones.
  void forget_other_process() {
    if (generation_ != fork_generation()) start_anew();
  }
  void start_anew();

  unsigned generation_ = 0;
  std::mutex turn_;  // held by a trainer while readers leave, so that no new one enters
  std::shared_mutex mutex_;
  std::atomic<int> waiting_{0};
  std::atomic<bool> training_{false};
  std::atomic<bool> fitting_{false};
  std::atomic<std::uint64_t> version_{0};
};

}  // namespace chainrule
