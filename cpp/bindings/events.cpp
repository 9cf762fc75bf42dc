// What coroutines wait for: an object with `outcome`, None until it has happened, and `futures`, of
// those who wait. No bytecode runs between the two, so no exception that arrives can leave a part
// of the futures behind.
#include "bindings/handle.h"

namespace chainrule::python {
namespace {

// Attempts to schedule a callback. Each exception that arrives in the thread costs one.
constexpr int kAttempts = 1000;

PyObject* call_method(const py::handle& object, const char* name, PyObject* argument = nullptr) {
  return or_stay(
      [&] { return PyObject_CallMethod(object.ptr(), name, argument ? "O" : nullptr, argument); });
}

bool is_true(PyObject* object) {
  const auto owner = py::reinterpret_steal<py::object>(object);
  return object != nullptr && PyObject_IsTrue(object) == 1;
}

void set_outcome(const py::object& event, const py::handle& outcome) {
  if (PyObject_SetAttrString(event.ptr(), "outcome", outcome.ptr()) != 0)
    throw py::error_already_set();
}

// In the event loop: the outcome, unless there is one, and a result for every future. Tries all of
// them, whatever one raises.
void settle(const py::object& event, const py::object& outcome) {
  if (event.attr("outcome").is_none()) set_outcome(event, outcome);
  const py::list futures = event.attr("futures");
  std::exception_ptr failure;
  for (std::size_t i = 0; i < futures.size(); ++i) {
    const py::object future = futures[i];
    if (is_true(call_method(future, "done"))) continue;
    PyErr_Clear();
    if (PyObject* const none = call_method(future, "set_result", Py_None))
      Py_DECREF(none);
    else
      failure = std::make_exception_ptr(py::error_already_set());
  }
  PyList_SetSlice(futures.ptr(), 0, PyList_GET_SIZE(futures.ptr()), nullptr);
  if (failure) std::rethrow_exception(failure);
}

// In a thread of its own: function() or what it raised becomes the outcome, and the loop settles
// the event, whatever arrives in this thread.
void compute(const py::object& event, const py::object& loop, const py::object& function,
             const py::object& settle_function) {
  py::object outcome = py::reinterpret_steal<py::object>(
      or_stay([&] { return PyObject_CallNoArgs(function.ptr()); }));
  if (!outcome) outcome = py::error_already_set().value();
  set_outcome(event, outcome);
  for (int i = 0; i < kAttempts; ++i) {
    PyObject* const handle = or_stay([&] {
      return PyObject_CallMethod(loop.ptr(), "call_soon_threadsafe", "OOO", settle_function.ptr(),
                                 event.ptr(), outcome.ptr());
    });
    if (handle != nullptr) {
      Py_DECREF(handle);
      return;
    }
    PyErr_Clear();
    if (is_true(call_method(loop, "is_closed"))) return;  // nobody waits any more
    PyErr_Clear();
  }
}

}  // namespace

void bind_events(py::module_& module) {
  module.def(
      "settle", &settle, py::arg("event"), py::arg("outcome"),
      "Set event.outcome unless it is set, and give every future of event.futures a result.");
  module.def("compute", &compute, py::arg("event"), py::arg("loop"), py::arg("function"),
             py::arg("settle"),
             "Call function(), in any thread, and have the loop settle the event with its result.");
}

}  // namespace chainrule::python
