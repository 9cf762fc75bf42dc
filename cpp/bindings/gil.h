// Giving the GIL away, also while the interpreter ends.
//
// CPython before 3.14 ends a thread that asks for the GIL of an interpreter that is being torn down
// by unwinding its stack: through noexcept frames, and running destructors without the GIL. Such a
// thread stays where it is instead, as from 3.14 on.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

namespace chainrule::python {

[[noreturn]] inline void stay() {
  while (true) std::this_thread::sleep_for(std::chrono::hours(1));
}

// f(), which may ask for the GIL. Closely around calls of Python's or NumPy's C functions: what f
// makes itself would be destroyed without the GIL.
template <class F>
decltype(auto) or_stay(F f) {
#if defined(__GLIBCXX__)
  try {
    return f();
  } catch (abi::__forced_unwind&) {
    stay();
  }
#else
  return f();  // elsewhere nothing is unwound
#endif
}

// Without the GIL for as long as it lives.
class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  ~GilRelease() {
    or_stay([&] { PyEval_RestoreThread(state_); });
  }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace chainrule::python
