#include "core/gate.h"

#include <new>
#include <stdexcept>
#include <thread>

namespace chainrule {

Gate::Reader::Reader(Gate& gate) : gate_(gate) {
  ++gate_.waiting_;
  {
    const std::lock_guard turn(gate_.turn_);
    gate_.mutex_.lock_shared();
  }
  --gate_.waiting_;
}

Gate::Trainer::Trainer(Gate& gate) : gate_(gate) {
  gate_.forget_other_process();
  if (gate_.training_.exchange(true))
    throw std::runtime_error(
        "this network is being trained by another thread: wait for it, or train a copy.deepcopy "
        "of the network");
}

Gate::Trainer::~Trainer() {
  end();
  gate_.training_ = false;
}

void Gate::Trainer::begin() {
  const std::lock_guard turn(gate_.turn_);
  gate_.mutex_.lock();
  locked_ = true;
  ++gate_.version_;
}

bool Gate::Trainer::try_begin() {
  const std::unique_lock turn(gate_.turn_, std::try_to_lock);
  if (!turn.owns_lock() || !gate_.mutex_.try_lock()) return false;
  locked_ = true;
  ++gate_.version_;
  return true;
}

void Gate::Trainer::end() {
  if (locked_) gate_.mutex_.unlock();
  locked_ = false;
}

void Gate::Trainer::let_readers_pass() {
  if (!readers_wait()) return;
  end();
  // Those who wait get in now; those who come while begin() waits, at the next boundary.
  for (int turn = 0; turn < 1000 && gate_.waiting_.load() > 0; ++turn) std::this_thread::yield();
  begin();
}

Gate::Fit::Fit(Gate& gate) : gate_(gate) {
  gate_.forget_other_process();
  if (gate_.fitting_.exchange(true))
    throw std::runtime_error("fit is already running on this network, in a callback or thread");
  generation_ = gate_.generation_;
}

// Where a fit goes on in the child of a fork, the claim that is held there is another fit's.
Gate::Fit::~Fit() {
  if (generation_ == gate_.generation_) gate_.fitting_ = false;
}

void Gate::start_anew() {
  generation_ = fork_generation();
  new (&turn_) std::mutex;
  new (&mutex_) std::shared_mutex;
  waiting_ = 0;
  training_ = false;
  fitting_ = false;
}

}  // namespace chainrule
