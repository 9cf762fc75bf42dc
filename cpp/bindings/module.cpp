// The module chainrule._core: what it registers, in order.
#define CHAINRULE_IMPORTS_NUMPY
#include <new>

#include "bindings/handle.h"

PYBIND11_MODULE(_core, module) {
  namespace py = pybind11;
  namespace bindings = chainrule::python;
  if (_import_array() < 0) throw py::error_already_set();
  if (const char* error = chainrule::isa_error()) throw py::import_error(error);
  if (const char* error = chainrule::threads_error()) throw py::import_error(error);
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const std::bad_alloc&) {
      PyErr_SetString(PyExc_MemoryError, bindings::kNoMemory);
    }
  });
  module.attr("__version__") = CHAINRULE_VERSION;
  bindings::bind_network(module);
  bindings::bind_predictor(module);
  bindings::bind_functions(module);
  bindings::bind_combiner(module);
  bindings::bind_events(module);
  bindings::bind_sparse(module);
}
