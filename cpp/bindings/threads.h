// Numbers of threads as Python gives them.
#pragma once

#include <string>

#include "bindings/numpy_view.h"
#include "core/parallel.h"

namespace chainrule::python {

// The argument called `name`, if there can be so many threads.
inline int checked_threads(long threads, const char* name, const char* otherwise = "") {
  if (!can_be_threads(threads))
    throw py::value_error(std::string(name) + " is " + std::to_string(threads) + ", expected " +
                          otherwise + "1 ... " + std::to_string(kMaxThreads));
  return static_cast<int>(threads);
}

// The argument `threads` of a call; None is 0, the process-wide setting.
inline int parse_threads(PyObject* value) {
  if (value == Py_None) return 0;
  if (!PyIndex_Check(value))
    throw py::type_error("threads must be None or a whole number, got " +
                         std::string(py::repr(value)));
  const long threads = PyLong_AsLong(value);
  if (threads == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return checked_threads(threads, "threads", "None or ");
}

}  // namespace chainrule::python
