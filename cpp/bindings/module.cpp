// The module chainrule._core: what it registers, in order.
#define CHAINRULE_IMPORTS_NUMPY
#include "bindings/handle.h"

PYBIND11_MODULE(_core, module) {
  namespace py = pybind11;
  namespace bindings = chainrule::python;
  if (_import_array() < 0) throw py::error_already_set();
  if (const char* error = chainrule::isa_error()) throw py::import_error(error);
  if (const char* error = chainrule::threads_error()) throw py::import_error(error);
  module.attr("__version__") = CHAINRULE_VERSION;
  bindings::wait_at_exit();
  bindings::bind_network(module);
  bindings::bind_predictor(module);
  bindings::bind_functions(module);
}
