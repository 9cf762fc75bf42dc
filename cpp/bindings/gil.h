// Giving the GIL away, also while the interpreter ends.
//
// CPython before 3.14 kills a thread that asks for the GIL of an interpreter that has ended, in the
// middle of C++ that has to be left in order. So a thread that would come back then stays away for
// good, as from 3.14 on; and the end waits for those that are on their way.
#pragma once

#include <pybind11/pybind11.h>

namespace chainrule::python {

// Without the GIL for as long as it lives.
class GilRelease {
 public:
  GilRelease();
  ~GilRelease();
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* state_;
};

// While it lives, the interpreter does not end: around code of others that gives the GIL away. Made
// and dropped with the GIL held.
class KeepInterpreter {
 public:
  KeepInterpreter();
  ~KeepInterpreter();
  KeepInterpreter(const KeepInterpreter&) = delete;
  KeepInterpreter& operator=(const KeepInterpreter&) = delete;

 private:
  unsigned generation_;
};

// Makes the end of the interpreter known here; once, when the module is imported.
void watch_exit();

}  // namespace chainrule::python
