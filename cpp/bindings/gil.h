// Giving the GIL away, also while the interpreter ends.
//
// A thread that asks for the GIL of an interpreter that has ended is killed by CPython (before 3.14),
// in the middle of C++ that has to be left in order. So the end waits for the threads that are away,
// and a thread that would go away after that stays where it is, as CPython 3.14 does it.
#pragma once

#include <pybind11/pybind11.h>

namespace chainrule::python {

// While it lives, the interpreter does not end: around code that may give the GIL away. Made and
// dropped with the GIL held.
class Away {
 public:
  Away();
  ~Away();
  Away(const Away&) = delete;
  Away& operator=(const Away&) = delete;

 private:
  unsigned generation_;
};

// Without the GIL for as long as it lives.
class GilRelease {
  Away away_;
  pybind11::gil_scoped_release release_;
};

// True once the interpreter has begun to end: work without the GIL should stop soon.
bool interpreter_ends();

// Lets the end of the interpreter wait for every Away; once, when the module is imported.
void wait_at_exit();

}  // namespace chainrule::python
