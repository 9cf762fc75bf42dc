// Steps and epochs of descent.
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/batch.h"
#include "bindings/instances.h"
#include "bindings/optimizer_state.h"
#include "bindings/targets.h"
#include "bindings/threads.h"
#include "core/random.h"

namespace chainrule::python {
namespace {

// Finite everywhere, in slices so that Ctrl-C is answered.
template <class T>
void check_finite(const Matrix& x, std::size_t first_row = 0) {
  constexpr std::size_t kSlice = 4096;
  for (std::size_t begin = 0; begin < x.rows; begin += kSlice) {
    const std::size_t end = std::min(begin + kSlice, x.rows);
    const std::size_t bad = first_nonfinite_row<T>(x, begin, end);
    if (bad < end) refuse_nonfinite(first_row + bad, "x");
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

// A step reads its samples to its end: those that lie in the parameters are copied first.
py::object apart(PyNetwork& handle, const py::object& array) {
  return handle.visit([&]<class T>(TypedNetwork<T>& typed) {
    const AlignedBuffer<T>& parameters = typed.network.parameters;
    if (!PyArray_Check(array.ptr()) ||
        !touches(array.ptr(), parameters.data(), parameters.size() * sizeof(T)))
      return array;
    auto copy = py::reinterpret_steal<py::object>(
        or_stay([&] { return PyArray_NewCopy(as_array(array), NPY_KEEPORDER); }));
    if (!copy) throw py::error_already_set();
    return copy;
  });
}

// (rates of the hidden layers, seed, epoch, samples of the epoch before these), or None.
using DropoutArgument =
    std::optional<std::tuple<std::vector<double>, std::uint64_t, std::uint64_t, std::uint64_t>>;

// `argument` must outlive the result.
Dropout view_dropout(const DropoutArgument& argument, const Layout& layout) {
  if (!argument) return {};
  const auto& [rates, seed, epoch, first_sample] = *argument;
  if (rates.size() != layout.layers.size() - 1)
    throw py::value_error(std::to_string(rates.size()) + " rates of dropout for " +
                          std::to_string(layout.layers.size() - 1) + " hidden layers");
  for (const double rate : rates)
    if (!(rate >= 0 && rate < 1))
      throw py::value_error("a rate of dropout is " + std::to_string(rate) +
                            ", expected a number in [0, 1)");
  return {rates, seed, epoch, first_sample};
}

// One update: (the batch's cost before it, the layer with non-finite numbers or 0). Without a state
// it is plain descent, which remembers nothing.
py::tuple step(PyNetwork& handle, const py::object& x, const py::object& y,
               const py::object& weight, OptimizerState* state, double learning_rate,
               const py::object& threads, Position* position, const py::object& label_smoothing,
               const DropoutArgument& dropout_argument, bool warn) {
  const Dropout dropout = view_dropout(dropout_argument, handle.layout());
  Batch batch(handle, apart(handle, x), apart(handle, y), apart(handle, weight));
  batch.smooth(handle, label_smoothing);
  return handle.visit([&]<class T>(TypedNetwork<T>& typed) -> py::tuple {
    if (state != nullptr)
      state->check_rate<T>(learning_rate);
    else
      check_rate<T>(learning_rate);
    check_finite<T>(batch.samples.x);
    if (warn)
      warn_of_targets(handle, batch, true);
    else
      check_targets(handle, batch, true);
    Optimizer<T> plain(Rule::sgd, {}, typed.network.layout);
    Optimizer<T>& optimizer = state != nullptr ? state->for_network<T>(handle) : plain;
    const int team = parse_threads(threads.ptr());
    const std::size_t rows = batch.x.matrix.rows;
    auto workspace = typed.take_workspace(workspace_rows(rows));
    EpochResult result;
    write_network(handle, batch.work, [&] {
      result = chainrule::train_epoch(typed.network, *workspace, optimizer, batch.samples, rows,
                                      &learning_rate, 1, team, {}, {}, dropout);
    });
    typed.spare = std::move(workspace);
    if (position != nullptr) {
      ++position->steps;
      position->samples += rows;
      position->cost += result.position.cost;
      position->weight += result.position.weight;
    }
    return py::make_tuple(result.position.mean(), result.bad_layer);
  });
}

void check_gradient_shape(PyArrayObject* array, const Layer& layer, bool is_weight, std::size_t l) {
  const auto dim = [&](int i) { return static_cast<std::size_t>(PyArray_DIM(array, i)); };
  const bool fits = is_weight
                        ? PyArray_NDIM(array) == 2 && dim(0) == layer.n_out && dim(1) == layer.n_in
                        : PyArray_NDIM(array) == 1 && dim(0) == layer.n_out;
  if (!fits)
    throw py::value_error("the gradient of layer " + std::to_string(l + 1) + "'s " +
                          (is_weight ? "weights" : "bias") + " has shape " + shape_text(array) +
                          ", expected (" + std::to_string(layer.n_out) +
                          (is_weight ? ", " + std::to_string(layer.n_in) + ")" : ",)"));
}

// Copies gradients that came from elsewhere into the layout of the parameters.
void copy_gradient(const py::tuple& target, const py::sequence& source, const Layout& layout,
                   bool is_weight) {
  if (source.size() != target.size())
    throw py::value_error("expected " + std::to_string(target.size()) + " gradients of " +
                          (is_weight ? "weights" : "biases") + ", one a layer, got " +
                          std::to_string(source.size()));
  for (std::size_t l = 0; l < target.size(); ++l) {
    const py::object item = source[l];
    const py::object array = real_array(item.ptr(), "a gradient");
    check_gradient_shape(as_array(array), layout.layers[l], is_weight, l);
    const py::object place = target[l];
    if (or_stay([&] { return PyArray_CopyInto(as_array(place), as_array(array)); }) < 0)
      throw py::error_already_set();
  }
}

void update(PyNetwork& handle, const py::sequence& weights, const py::sequence& biases,
            OptimizerState& state, double learning_rate, Position* position, std::size_t samples,
            double cost, double weight) {
  handle.visit([&]<class T>(TypedNetwork<T>& typed) {
    state.check_rate<T>(learning_rate);
    const Layout& layout = typed.network.layout;
    Optimizer<T>& optimizer = state.for_network<T>(handle);
    AlignedBuffer<T> buffer(layout.size);
    T* const gradient = buffer.data();
    const auto [to_weights, to_biases] = parameter_views(layout, gradient, own(std::move(buffer)));
    copy_gradient(to_weights, weights, layout, true);
    copy_gradient(to_biases, biases, layout, false);
    write_network(handle, static_cast<double>(layout.size),
                  [&] { apply_gradient(typed.network, optimizer, gradient, learning_rate); });
  });
  if (position == nullptr) return;
  ++position->steps;
  position->samples += samples;
  position->cost += cost * weight;
  position->weight += weight;
}

// Between chunks and steps of an epoch: lets readers pass and, about every 50 ms, looks for signals
// and tells Python how far it is.
struct EpochPoll {
  using Clock = std::chrono::steady_clock;

  Gate::Trainer& trainer;
  py::object callback;
  Position& position;  // as Python sees it
  std::optional<GilRelease>* away = nullptr;
  Clock::time_point looked = Clock::now();
  Clock::time_point asked = looked;
  bool asks = false;
  // Reading the clock would be a tenth of a tiny network's step: quick calls are counted instead.
  unsigned calls = 0;
  unsigned calls_a_look = 1;
  bool failed = false;

  static bool due(void* context) {
    auto& self = *static_cast<EpochPoll*>(context);
    if (++self.calls >= self.calls_a_look) self.look();
    return self.asks || self.trainer.readers_wait();
  }

  static bool stop(void* context, const Position& now) {
    auto& self = *static_cast<EpochPoll*>(context);
    self.trainer.let_readers_pass();
    return std::exchange(self.asks, false) && self.ask(now);
  }

  void look() {
    calls = 0;
    const auto now = Clock::now();
    const bool quick = now - looked < std::chrono::milliseconds(1);
    calls_a_look = quick ? std::min(2 * calls_a_look, 64u) : 1;
    looked = now;
    asks = now - asked >= std::chrono::milliseconds(50);
    if (asks) asked = now;
  }

  bool ask(const Position& now) {
    trainer.end();
    away->reset();
    position = now;
    or_stay([&] {
      failed = PyErr_CheckSignals() != 0;
      if (failed || callback.is_none()) return;
      PyObject* const answer =
          PyObject_CallFunction(callback.ptr(), "n", static_cast<Py_ssize_t>(now.steps));
      failed = answer == nullptr;
      Py_XDECREF(answer);
    });
    away->emplace();
    trainer.begin();
    return failed;
  }
};

py::tuple train_epoch(PyNetwork& handle, const py::object& x, const py::object& y,
                      const py::object& weight, Py_ssize_t batch_size,
                      const std::optional<std::pair<std::uint64_t, std::uint64_t>>& shuffle,
                      OptimizerState& state, const py::object& learning_rates,
                      const py::object& threads, const py::object& callback,
                      Position* given_position, const py::object& label_smoothing,
                      const DropoutArgument& dropout_argument) {
  const Dropout dropout = view_dropout(dropout_argument, handle.layout());
  if (batch_size < 1)
    throw py::value_error("batch_size is " + std::to_string(batch_size) + ", expected at least 1");
  Batch batch(handle, apart(handle, x), apart(handle, y), apart(handle, weight), false);
  batch.smooth(handle, label_smoothing);
  const std::size_t rows = batch.x.matrix.rows;
  const std::size_t size = std::min(static_cast<std::size_t>(batch_size), rows);
  const std::size_t n_steps = (rows + size - 1) / size;
  const auto rates = py::reinterpret_steal<py::object>(
      PyArray_FROMANY(learning_rates.ptr(), NPY_DOUBLE, 1, 1, NPY_ARRAY_CARRAY_RO));
  if (!rates) throw py::error_already_set();
  const std::size_t n_rates = static_cast<std::size_t>(PyArray_DIM(as_array(rates), 0));
  Position own_position;
  Position& position = given_position != nullptr ? *given_position : own_position;
  if (position.steps > n_steps)
    throw py::value_error("the position is " + std::to_string(position.steps) +
                          " steps into an epoch of " + std::to_string(n_steps));
  const std::size_t n_left = n_steps - position.steps;
  if (n_rates != 1 && n_rates != n_left)
    throw py::value_error(std::to_string(n_rates) + " learning rates for " +
                          std::to_string(n_left) + " steps, expected one, or one a step");
  const double* const rate = static_cast<const double*>(PyArray_DATA(as_array(rates)));
  return handle.visit([&]<class T>(TypedNetwork<T>& typed) -> py::tuple {
    for (std::size_t i = 0; i < n_rates; ++i) state.check_rate<T>(rate[i]);
    Optimizer<T>& optimizer = state.for_network<T>(handle);
    const int team = parse_threads(threads.ptr());
    auto workspace = typed.take_workspace(workspace_rows(size));
    Gate::Trainer trainer(handle.gate);
    EpochPoll poll{trainer, callback, position};
    EpochResult result;
    {
      std::vector<std::size_t> order;
      std::optional<GilRelease> away(std::in_place);
      poll.away = &away;
      if (shuffle) {
        order = permutation(shuffle->first, shuffle->second, rows);
        batch.samples.order = order.data();
      }
      trainer.begin();
      result = chainrule::train_epoch(
          typed.network, *workspace, optimizer, batch.samples, size, rate, n_rates, team,
          {&EpochPoll::stop, &poll, &EpochPoll::due}, position, dropout);
      trainer.end();
    }
    typed.spare = std::move(workspace);
    position = result.position;
    if (poll.failed) throw py::error_already_set();
    return py::make_tuple(position.mean(), position.steps, result.bad_layer);
  });
}

py::object check_data(PyNetwork& handle, const py::object& x, const py::object& y,
                      const py::object& weight, std::size_t first_row) {
  const Batch batch(handle, x, y, weight, false, first_row);
  handle.visit([&]<class T>(TypedNetwork<T>&) { check_finite<T>(batch.samples.x, first_row); });
  return check_targets(handle, batch, true, first_row);
}

std::unique_ptr<Position> make_position(std::size_t steps, std::size_t samples, double cost,
                                        double weight) {
  return std::make_unique<Position>(Position{steps, samples, cost, weight});
}

}  // namespace

void bind_descent(py::module_& module) {
  py::class_<Position> position(module, "Position", py::is_final(), plain_instances());
  def_init(position, &make_position, py::arg("steps") = 0, py::arg("samples") = 0,
           py::arg("cost") = 0.0, py::arg("weight") = 0.0);
  position.def_readonly("steps", &Position::steps, "Steps done in the epoch.")
      .def_readonly("samples", &Position::samples, "Samples of these steps.")
      .def_readonly("cost", &Position::cost, "Σ of the batches' costs, each times its weight.")
      .def_readonly("weight", &Position::weight, "Σ of the batches' weights.")
      .def_property_readonly("mean", &Position::mean, "The mean cost of the steps done.");
  module.def("step", &step, py::arg("network"), py::arg("x"), py::arg("y"),
             py::arg("sample_weight"), py::arg("optimizer"), py::arg("learning_rate"),
             py::arg("threads") = py::none(), py::arg("position") = py::none(),
             py::arg("label_smoothing") = 0.0, py::arg("dropout") = py::none(),
             py::arg("warn") = true,
             "One update from one batch: (cost before it, layer with non-finite numbers or 0). "
             "Moves `position` on.");
  module.def(
      "update", &update, py::arg("network"), py::arg("weights"), py::arg("biases"),
      py::arg("optimizer"), py::arg("learning_rate"), py::arg("position") = py::none(),
      py::arg("samples") = 0, py::arg("cost") = 0.0, py::arg("weight") = 0.0,
      "One update from given gradients. Moves `position` on by a step of so many samples of a mean "
      "cost, with the weight that they have together.");
  module.def("train_epoch", &train_epoch, py::arg("network"), py::arg("x"), py::arg("y"),
             py::arg("sample_weight"), py::arg("batch_size"), py::arg("shuffle"),
             py::arg("optimizer"), py::arg("learning_rates"), py::arg("threads") = py::none(),
             py::arg("poll") = py::none(), py::arg("position") = py::none(),
             py::arg("label_smoothing") = 0.0, py::arg("dropout") = py::none(),
             "The updates of an epoch from `position` on, which moves with them, also where an "
             "exception ends it: (cost, steps done, layer with non-finite numbers or 0).");
  module.def(
      "check_data", &check_data, py::arg("network"), py::arg("x"), py::arg("y"),
      py::arg("sample_weight"), py::arg("first_row") = 0,
      "Raise unless everything fits this network and is finite; rows count from `first_row`. "
      "Returns what the user is to be warned of: None, or what Concern is made of.");
  module.def(
      "check_label_smoothing",
      [](PyNetwork& handle, const py::object& value) {
        check_label_smoothing(value, handle.layout().loss);
      },
      py::arg("network"), py::arg("label_smoothing"),
      "Raise unless targets of this network can be so smoothed.");
}

}  // namespace chainrule::python
