#include "bindings/gil.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "core/parallel.h"

namespace py = pybind11;

namespace chainrule::python {
namespace {

constexpr std::chrono::milliseconds kPause{1};

std::atomic<bool> g_ends{false};
std::thread::id g_ending_thread;
// Threads that are away, and the process that they belong to: a child of a fork has none of them.
// Changed with the GIL held.
int g_away = 0;
unsigned g_generation = 0;

void forget_other_process() {
  if (g_generation == fork_generation()) return;
  g_generation = fork_generation();
  g_away = 0;
}

void wait_for_threads() {
  forget_other_process();
  g_ending_thread = std::this_thread::get_id();
  g_ends = true;
  while (g_away > 0) {
    const py::gil_scoped_release release;
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

Away::Away() {
  forget_other_process();
  generation_ = g_generation;
  if (interpreter_ends() && std::this_thread::get_id() != g_ending_thread) {
    PyEval_SaveThread();
    while (true) std::this_thread::sleep_for(std::chrono::hours(1));
  }
  ++g_away;
}

Away::~Away() {
  if (generation_ == g_generation) --g_away;
}

bool interpreter_ends() { return g_ends.load(std::memory_order_relaxed); }

void wait_at_exit() {
  py::module_::import("atexit").attr("register")(py::cpp_function(&wait_for_threads));
}

}  // namespace chainrule::python
