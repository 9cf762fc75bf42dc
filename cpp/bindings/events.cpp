// What coroutines wait for: an object with `outcome`, None until it has happened, and `futures`, of
// those who wait. No bytecode runs between the two, so no exception that arrives can leave a part
// of the futures behind.
#include <memory>
#include <utility>

#include "bindings/handle.h"
#include "bindings/instances.h"
#include "bindings/sleeper.h"
#include "core/parallel.h"

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

// A job is a tuple (event, loop, function, settle): function() or what it raised becomes the
// outcome, and the loop settles the event, whatever arrives in this thread.
void compute(const py::tuple& job) {
  const py::object event = job[0], loop = job[1], function = job[2], settle_function = job[3];
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

// A thread that computes batches, for as long as they follow each other. Guarded by the GIL.
struct Worker {
  static constexpr double kIdleSeconds = 0.5;  // starting a thread is cheap beside it

  py::object job;  // the next one, null where there is none
  Sleeper sleeper;
  bool idle = false;  // a thread sleeps there
  unsigned forks = fork_generation();

  // Leaves a job; false if no thread waits for it, and one has to be started with run.
  bool hand(const py::tuple& next) {
    job = next;
    if (!idle || forks != fork_generation()) return false;
    sleeper.wake();
    return true;
  }

  void run() {
    while (await_job()) {
      const auto next = py::reinterpret_steal<py::tuple>(job.release());
      compute(next);
    }
  }

 private:
  bool await_job() {
    if (job) return true;
    if (forks != std::exchange(forks, fork_generation())) idle = false;
    if (std::exchange(idle, true)) return false;  // another thread waits
    const Deadline deadline(kIdleSeconds);
    while (!job && !deadline.passed()) sleeper.sleep(deadline);
    idle = false;
    return static_cast<bool>(job);
  }
};

namespace {

std::unique_ptr<Worker> make_worker() { return std::make_unique<Worker>(); }

}  // namespace

void bind_events(py::module_& module) {
  module.def(
      "settle", &settle, py::arg("event"), py::arg("outcome"),
      "Set event.outcome unless it is set, and give every future of event.futures a result.");
  py::class_<Worker> worker(module, "Worker", py::is_final(), plain_instances());
  def_init(worker, &make_worker);
  worker
      .def("hand", &Worker::hand, py::arg("job"),
           "Leave a job (event, loop, function, settle); False if a thread has to be started.")
      .def("run", &Worker::run, "Do the jobs, in a thread, until none comes for a while.");
}

}  // namespace chainrule::python
