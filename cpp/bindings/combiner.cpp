// Requests of several threads, answered by calls that they share (flat combining): the thread whose
// request is first in the queue answers for those behind it.
//
// Everything here is guarded by the GIL. No bytecode runs between steps that belong together, so an
// exception that arrives in a thread (Ctrl-C, a signal handler that raises,
// PyThreadState_SetAsyncExc) comes before a request is in the queue, after it has left, or out of a
// call of Python code, and then destructors take the request out. Who leads is no state of its own
// that could be left behind: it is the front of the queue.

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "bindings/handle.h"
#include "bindings/instances.h"
#include "bindings/sleeper.h"
#include "core/parallel.h"

namespace chainrule::python {
namespace {

Deadline deadline_of(const py::object& timeout) {
  if (timeout.is_none()) return {};
  const double seconds = PyFloat_AsDouble(timeout.ptr());
  if (seconds == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  if (seconds != seconds) throw py::value_error("timeout is nan, expected seconds or None");
  return Deadline(seconds);
}

struct Request {
  enum class State { waiting, under_way, out };

  Request(const py::object& x_, std::size_t rows_) : x(x_), rows(rows_) {}

  py::object x;
  std::size_t rows;
  State state = State::waiting;
  bool alone = false;  // it was in a batch that failed
  bool left = false;   // its thread was interrupted while the batch was under way
  py::object result;
  std::optional<Sleeper> sleeper;

  void wake() {
    if (sleeper) sleeper->wake();
  }
  void sleep(const Deadline& deadline) {
    if (!sleeper) sleeper.emplace();
    sleeper->sleep(deadline);
  }
};

// The queue, and how many rows wait or are under way.
struct Line {
  std::deque<std::shared_ptr<Request>> queue;  // the first one's thread leads
  std::size_t queued_rows = 0;
  std::size_t rows = 0;  // those of coroutines too
  std::vector<Sleeper*> closers;
  bool closed = false;
  std::size_t requests_so_far = 0, rows_so_far = 0, batches = 0, refused = 0;

  void wake_first() {
    if (!queue.empty()) queue.front()->wake();
  }
  void take_out(std::deque<std::shared_ptr<Request>>::iterator place) {
    queued_rows -= (*place)->rows;
    (*place)->state = Request::State::out;
    queue.erase(place);
  }
};

}  // namespace

struct Combiner {
  double max_wait;
  std::size_t max_batch, max_queue;
  py::object queue_full;  // the exception
  unsigned forks = fork_generation();
  std::shared_ptr<Line> line = std::make_shared<Line>();

  // A child of a fork begins anew: the other threads' requests have nobody there.
  const std::shared_ptr<Line>& here() {
    if (forks != fork_generation()) {
      line = std::make_shared<Line>();
      forks = fork_generation();
    }
    return line;
  }
};

// Rows that count as waiting for as long as this lives. In Python it is for `with` alone, without a
// name: then nothing but the value stack of the frame refers to it, which an exception clears,
// while a traceback would keep the frame's variables.
class Admission {
 public:
  Admission(Combiner& combiner, std::size_t rows) : line_(combiner.here()), rows_(rows) {
    if (line_->closed) throw std::runtime_error("the batcher is closed");
    if (line_->rows != 0 && line_->rows + rows > combiner.max_queue) {
      ++line_->refused;
      PyErr_Format(combiner.queue_full.ptr(),
                   "%zu rows wait already, and max_queue is %zu: %zu more were refused; try again "
                   "later, or raise max_queue",
                   line_->rows, combiner.max_queue, rows);
      throw py::error_already_set();
    }
    line_->rows += rows;
    ++line_->requests_so_far;
    line_->rows_so_far += rows;
  }
  ~Admission() { release(); }
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  void release() {
    if (line_ == nullptr) return;
    const std::shared_ptr<Line> line = std::move(line_);
    line->rows -= rows_;
    if (line->rows == 0)
      for (Sleeper* const closer : line->closers) closer->wake();
  }
  Line& line() { return *line_; }

 private:
  std::shared_ptr<Line> line_;
  std::size_t rows_;
};

namespace {

// A thread's request in the queue, for as long as this lives.
class Place {
 public:
  Place(Line& line, const std::shared_ptr<Request>& request) : line_(line), request_(request) {
    line.queue.push_back(request);
    line.queued_rows += request->rows;
    outer_ = std::exchange(t_innermost, this);
  }
  ~Place() {
    t_innermost = outer_;
    if (request_->state == Request::State::under_way) request_->left = true;
    if (request_->state != Request::State::waiting) return;
    line_.take_out(std::ranges::find(line_.queue, request_));
    line_.wake_first();
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  // Whether this thread has a place already: it is called by its own predictor, or by the handler
  // of a signal, and would wait for itself.
  static bool is_taken(const Line& line) {
    const Place* place = t_innermost;
    while (place != nullptr && &place->line_ != &line) place = place->outer_;
    return place != nullptr;
  }

 private:
  static thread_local const Place* t_innermost;

  Line& line_;
  const std::shared_ptr<Request>& request_;
  const Place* outer_ = nullptr;
};

thread_local const Place* Place::t_innermost = nullptr;

// The first requests of the queue while they are being answered.
class Batch {
 public:
  Batch(Line& line, std::size_t max_rows) : line_(line) {
    const auto& queue = line.queue;
    const Request& first = *queue.front();
    std::size_t n = 1, rows = first.rows;
    while (!first.alone && n < queue.size() && !queue[n]->alone &&
           rows + queue[n]->rows <= max_rows)
      rows += queue[n++]->rows;
    requests_.assign(queue.begin(), queue.begin() + static_cast<std::ptrdiff_t>(n));
    for (std::size_t i = 1; i < n; ++i) requests_[i]->state = Request::State::under_way;
    ++line.batches;
  }
  // Those that have no answer wait again, each to be answered alone: one of them may be at fault.
  ~Batch() {
    for (std::size_t i = 1; i < requests_.size(); ++i) {
      Request& request = *requests_[i];
      if (request.state != Request::State::under_way) continue;
      request.state = Request::State::waiting;
      request.alone = true;
      if (request.left) line_.take_out(std::ranges::find(line_.queue, requests_[i]));
      request.wake();
    }
  }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  std::size_t size() const { return requests_.size(); }

  // A new list of their x.
  py::object inputs() const {
    const auto list =
        py::reinterpret_steal<py::object>(PyList_New(static_cast<Py_ssize_t>(size())));
    if (!list) throw py::error_already_set();
    for (std::size_t i = 0; i < size(); ++i)
      PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i),
                      py::object(requests_[i]->x).release().ptr());
    return list;
  }

  // Gives each its result, and takes all of them out of the queue.
  void answer(PyObject* const* results) {
    for (std::size_t i = 0; i < size(); ++i) {
      requests_[i]->result = py::reinterpret_borrow<py::object>(results[i]);
      line_.take_out(line_.queue.begin());
      requests_[i]->wake();
    }
    line_.wake_first();
  }

 private:
  Line& line_;
  std::vector<std::shared_ptr<Request>> requests_;
};

py::object call_python(PyObject* function, PyObject* a, PyObject* b = nullptr) {
  PyObject* const arguments[] = {a, b};
  const std::size_t n = b == nullptr ? 1 : 2;
  PyObject* const result =
      or_stay([&] { return PyObject_Vectorcall(function, arguments, n, nullptr); });
  if (result == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}

// Waits until the first request's batch is full, or for max_wait.
void gather(const Combiner& combiner, Line& line, Request& first, const Deadline& timeout) {
  if (combiner.max_wait == 0 || first.alone) return;
  const Deadline deadline = earlier(Deadline(combiner.max_wait), timeout);
  while (line.queued_rows < combiner.max_batch && !line.closed && !deadline.passed())
    first.sleep(deadline);
}

// Answers the first requests of the queue, the first one of which is this thread's.
void lead(const Combiner& combiner, Line& line, Request& first, PyObject* predictor,
          PyObject* together) {
  Batch batch(line, combiner.max_batch);
  if (batch.size() == 1) {
    const py::object result = call_python(predictor, first.x.ptr());
    PyObject* const only = result.ptr();
    batch.answer(&only);
    return;
  }
  try {
    const py::object results = call_python(together, predictor, batch.inputs().ptr());
    if (!PyList_Check(results.ptr()) ||
        static_cast<std::size_t>(PyList_GET_SIZE(results.ptr())) != batch.size())
      throw py::type_error("together must return a list of one result per x");
    batch.answer(&PyList_GET_ITEM(results.ptr(), 0));
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_MemoryError)) throw;
    first.alone = true;  // it may fit alone
  }
}

py::object combine(Combiner& combiner, const py::object& predictor, const py::object& together,
                   const py::object& x, std::size_t rows, const py::object& timeout) {
  const Deadline deadline = deadline_of(timeout);
  if (Place::is_taken(*combiner.here())) return call_python(predictor.ptr(), x.ptr());
  Admission admission(combiner, rows);
  Line& line = admission.line();
  const auto request = std::make_shared<Request>(x, rows);
  const Place place(line, request);
  if (line.queued_rows >= combiner.max_batch) line.wake_first();
  while (!request->result) {
    if (line.queue.front() == request) {
      gather(combiner, line, *request, deadline);
      lead(combiner, line, *request, predictor.ptr(), together.ptr());
    } else if (request->state == Request::State::under_way) {
      request->sleep({});
    } else if (!deadline.passed()) {
      request->sleep(deadline);
    } else {
      PyErr_Format(PyExc_TimeoutError, "no batch had room for the request within %S seconds",
                   timeout.ptr());
      throw py::error_already_set();
    }
  }
  return request->result;
}

// Refuses new requests; true as soon as no row waits, false if that takes longer than `timeout`.
bool close(Combiner& combiner, const py::object& timeout) {
  const Deadline deadline = deadline_of(timeout);
  const std::shared_ptr<Line> line = combiner.here();
  line->closed = true;
  line->wake_first();
  Sleeper sleeper;
  line->closers.push_back(&sleeper);
  struct Leave {
    Line& line;
    Sleeper* sleeper;
    ~Leave() { std::erase(line.closers, sleeper); }
  } const leave{*line, &sleeper};
  while (line->rows != 0) {
    if (deadline.passed()) return false;
    sleeper.sleep(deadline);
  }
  return true;
}

py::dict statistics(Combiner& combiner) {
  const Line& line = *combiner.here();
  py::dict counts;
  counts["requests"] = line.requests_so_far;
  counts["rows"] = line.rows_so_far;
  counts["batches"] = line.batches;
  counts["refused"] = line.refused;
  counts["waiting"] = line.rows;
  return counts;
}

std::unique_ptr<Combiner> make_combiner(double max_wait, std::size_t max_batch,
                                        std::size_t max_queue, const py::object& queue_full) {
  return std::make_unique<Combiner>(Combiner{max_wait, max_batch, max_queue, queue_full});
}

std::unique_ptr<Admission> make_admission(Combiner& combiner, std::size_t rows) {
  return std::make_unique<Admission>(combiner, rows);
}

}  // namespace

void bind_combiner(py::module_& module) {
  py::class_<Combiner> combiner(module, "Combiner", py::is_final(), plain_instances());
  def_init(combiner, &make_combiner, py::arg("max_wait"), py::arg("max_batch"),
           py::arg("max_queue"), py::arg("queue_full"));
  combiner.def_readonly("max_wait", &Combiner::max_wait)
      .def_readonly("max_batch", &Combiner::max_batch)
      .def_readonly("max_queue", &Combiner::max_queue)
      .def_property_readonly("closed", [](Combiner& self) { return self.here()->closed; })
      .def_property_readonly("rows", [](Combiner& self) { return self.here()->rows; })
      .def("combine", &combine, py::arg("predictor"), py::arg("together"), py::arg("x"),
           py::arg("rows"), py::arg("timeout"),
           "predictor(x), or an item of together(predictor, list of x) in this or another thread.")
      .def("count_batch", [](Combiner& self) { ++self.here()->batches; })
      .def("close", &close, py::arg("timeout"),
           "Refuse new requests; False if rows still wait after `timeout` seconds.")
      .def("statistics", &statistics);
  py::class_<Admission> admission(module, "Admission", py::is_final(), plain_instances());
  def_init(admission, &make_admission, py::arg("combiner"), py::arg("rows"));
  admission.def("__enter__", [](Admission&) {})
      .def("__exit__", [](Admission& self, const py::object&, const py::object&,
                          const py::object&) { self.release(); });
}

}  // namespace chainrule::python
