#include "bindings/gil.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "core/parallel.h"

namespace py = pybind11;

namespace chainrule::python {
namespace {

std::atomic<bool> g_ends{false};
std::thread::id g_ending_thread;
// Threads that the end has to wait for, and the process that they belong to: the child of a fork
// has none of them.
std::atomic<int> g_awaited{0};
unsigned g_generation = 0;

// With the GIL held.
void forget_other_process() {
  if (g_generation == fork_generation()) return;
  g_generation = fork_generation();
  g_awaited = 0;
}

bool comes_too_late() { return g_ends && std::this_thread::get_id() != g_ending_thread; }

[[noreturn]] void stay_away() {
  while (true) std::this_thread::sleep_for(std::chrono::hours(1));
}

void wait_for_threads() {
  forget_other_process();
  g_ending_thread = std::this_thread::get_id();
  g_ends = true;
  while (g_awaited > 0) {
    const py::gil_scoped_release release;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace

GilRelease::GilRelease() {
  forget_other_process();
  state_ = PyEval_SaveThread();
  if (comes_too_late()) stay_away();
}

GilRelease::~GilRelease() {
  // Announced before looking: either this thread sees the end, or the end sees this thread.
  ++g_awaited;
  if (comes_too_late()) {
    --g_awaited;
    stay_away();
  }
  PyEval_RestoreThread(state_);
  --g_awaited;
}

KeepInterpreter::KeepInterpreter() {
  forget_other_process();
  if (comes_too_late()) {
    PyEval_SaveThread();
    stay_away();
  }
  generation_ = g_generation;
  ++g_awaited;
}

KeepInterpreter::~KeepInterpreter() {
  if (generation_ == g_generation) --g_awaited;
}

void watch_exit() {
  py::module_::import("atexit").attr("register")(py::cpp_function(&wait_for_threads));
}

}  // namespace chainrule::python
