// Costs, gradients, pullbacks, traces and descent.
#include <pybind11/stl.h>

#include <chrono>
#include <cmath>
#include <optional>
#include <vector>

#include "bindings/handle.h"
#include "core/random.h"

namespace chainrule::python {
namespace {

// Samples whose arrays stay alive as long as this does.
struct Batch {
  Input x;
  TargetInput y;
  WeightInput weights;
  Samples samples;
  double work = 0;

  Batch(Handle& handle, const py::object& x_object, const py::object& y_object,
        const py::object& weight_object, bool convert = true)
      : x(view_rows(x_object.ptr(), handle.layout().n_inputs(), handle.typenum(), "x", convert)),
        y(view_targets(y_object.ptr(), handle.layout(), x.matrix.rows, x.is_vector,
                       handle.typenum(), convert)),
        weights(view_weights(weight_object.ptr(), x.matrix.rows)) {
    if (x.matrix.rows == 0)
      throw py::value_error("x has no rows: a cost is a mean over at least one sample");
    samples = {x.matrix, y.targets, weights.data, nullptr};
    work =
        3.0 * static_cast<double>(x.matrix.rows) * static_cast<double>(handle.layout().multiplies);
  }
};

int checked_threads(std::optional<int> threads) {
  if (!threads) return 0;
  if (*threads < 1 || *threads > kMaxThreads)
    throw py::value_error("threads is " + std::to_string(*threads) + ", expected None or 1 ... " +
                          std::to_string(kMaxThreads));
  return *threads;
}

void check_learning_rate(double rate) {
  if (!std::isfinite(rate) || rate < 0)
    throw py::value_error("the learning rate is " + std::to_string(rate) +
                          ", expected a finite number that is not negative");
}

// Releases the GIL where the work is worth it.
class MaybeRelease {
 public:
  explicit MaybeRelease(double work) {
    if (work >= kReleaseWork) release_.emplace();
  }

 private:
  std::optional<py::gil_scoped_release> release_;
};

// Reading while another thread may train: waits for a step boundary.
template <class F>
auto read_network(Handle& handle, double work, F f) {
  if (work < kReleaseWork && !handle.gate.training()) return f();
  const py::gil_scoped_release release;
  const Gate::Reader reader(handle.gate);
  return f();
}

double cost(PyNetwork& handle, const py::object& x, const py::object& y, const py::object& weight) {
  const Batch batch(handle, x, y, weight);
  return handle.visit([&](auto& typed) {
    auto workspace = typed.take_workspace(workspace_rows(batch.x.matrix.rows));
    const double result = read_network(handle, batch.work, [&] {
      return mean_cost(typed.network, *workspace, batch.samples, 0, batch.x.matrix.rows, 0);
    });
    typed.spare = std::move(workspace);
    return result;
  });
}

py::tuple gradients_of(PyNetwork& handle, const py::object& x, const py::object& y,
                       const py::object& weight) {
  const Batch batch(handle, x, y, weight);
  return handle.visit([&]<class T>(TypedNetwork<T>& typed) -> py::tuple {
    auto workspace = typed.take_workspace(workspace_rows(batch.x.matrix.rows));
    AlignedBuffer<T> gradient(typed.network.layout.size);
    const double result = read_network(handle, batch.work, [&] {
      return mean_gradient(typed.network, *workspace, batch.samples, 0, batch.x.matrix.rows,
                           gradient.data(), 0);
    });
    typed.spare = std::move(workspace);
    T* const data = gradient.data();
    const auto [weights, biases] =
        parameter_views(typed.network.layout, data, own(std::move(gradient)));
    return py::make_tuple(result, weights, biases);
  });
}

// Copies rows of a workspace into a fresh array.
template <class T>
py::object copy_rows(const T* view, std::size_t stride, std::size_t rows, std::size_t columns,
                     bool vector) {
  py::object array = new_array(kTypenum<T>, rows, columns, vector);
  T* const data = static_cast<T*>(PyArray_DATA(as_array(array)));
  for (std::size_t r = 0; r < rows; ++r)
    std::copy_n(view + r * stride, columns, data + r * columns);
  return array;
}

}  // namespace

// What record() keeps for one reverse pass after another.
struct Tape {
  py::object network;  // keeps the handle alive
  PyNetwork* handle;
  std::variant<std::unique_ptr<Workspace<float>>, std::unique_ptr<Workspace<double>>> workspace;
  std::uint64_t version;
  std::size_t rows;
  bool is_vector;
};

namespace {

py::tuple record_forward(const py::object& self, const py::object& x_object) {
  PyNetwork& handle = self.cast<PyNetwork&>();
  const Input x = view_rows(x_object.ptr(), handle.layout().n_inputs(), handle.typenum(), "x");
  auto tape = std::make_unique<Tape>();
  tape->network = self;
  tape->handle = &handle;
  tape->version = handle.version;
  tape->rows = x.matrix.rows;
  tape->is_vector = x.is_vector;
  py::object a = handle.visit([&]<class T>(TypedNetwork<T>& typed) {
    const Layout& layout = typed.network.layout;
    auto workspace =
        std::make_unique<Workspace<T>>(layout, x.matrix.rows, Workspace<T>::input_gradient);
    const double work = static_cast<double>(x.matrix.rows) * static_cast<double>(layout.multiplies);
    read_network(handle, work, [&] { record(typed.network, *workspace, x.matrix); });
    py::object outputs = copy_rows(workspace->layers.back().a, layout.layers.back().stride,
                                   x.matrix.rows, layout.n_outputs(), x.is_vector);
    tape->workspace = std::move(workspace);
    return outputs;
  });
  return py::make_tuple(a, std::move(tape));
}

py::tuple pullback(Tape& tape, const py::object& dC_da) {
  PyNetwork& handle = *tape.handle;
  if (handle.version != tape.version)
    throw std::runtime_error(
        "the network's parameters changed since vjp(x): call vjp again and use the new pullback");
  const Layout& layout = handle.layout();
  const Input d = view_rows(dC_da.ptr(), layout.n_outputs(), handle.typenum(), "dC_da");
  if (d.matrix.rows != tape.rows || d.is_vector != tape.is_vector) {
    const std::string n = std::to_string(layout.n_outputs());
    throw py::value_error(
        "dC_da has shape " + shape_text(as_array(d.array)) + ", expected " +
        (tape.is_vector ? "(" + n + ",)" : "(" + std::to_string(tape.rows) + ", " + n + ")") +
        ", the shape of a");
  }
  return handle.visit([&]<class T>(TypedNetwork<T>& typed) -> py::tuple {
    Workspace<T>& workspace = *std::get<std::unique_ptr<Workspace<T>>>(tape.workspace);
    AlignedBuffer<T> gradient(layout.size);
    const double work =
        3.0 * static_cast<double>(tape.rows) * static_cast<double>(layout.multiplies);
    // The tape's δ are written: one pullback at a time, which the GIL alone can promise.
    if (!handle.gate.training()) {
      pull_back(typed.network, workspace, d.matrix, gradient.data());
    } else {
      read_network(handle, work,
                   [&] { pull_back(typed.network, workspace, d.matrix, gradient.data()); });
    }
    py::object dx =
        copy_rows(workspace.dx, layout.input_stride, tape.rows, layout.n_inputs(), tape.is_vector);
    T* const data = gradient.data();
    const auto [weights, biases] = parameter_views(layout, data, own(std::move(gradient)));
    return py::make_tuple(weights, biases, dx);
  });
}

// Every z, a, g' and δ of the samples, each δ of its own sample's cost.
template <class T>
py::tuple trace_typed(Handle& handle, const Network<T>& network, const Batch& batch) {
  const Layout& layout = network.layout;
  const std::size_t rows = batch.x.matrix.rows;
  const bool vector = batch.x.is_vector;
  Workspace<T> ws(layout, rows, Workspace<T>::keep_every_z);
  std::fill_n(ws.scale, rows, T(1));
  Backpropagation<T> pass(network, ws);
  const Chunk<T> all = pass.chunk(batch.samples, 0, rows, 0);
  read_network(handle, batch.work, [&] {
    pass.load(batch.samples, 0, all, 0, rows);
    pass.forward(all, 0, rows);
    pass.output_error(all, 0, rows, true);
    pass.backward(all, 0, rows, false);
  });
  const std::size_t n_layers = layout.layers.size();
  py::tuple a(n_layers + 1), z(n_layers), slopes(n_layers), deltas(n_layers);
  py::object x = new_array(kTypenum<T>, rows, layout.n_inputs(), vector);
  for (std::size_t r = 0; r < rows; ++r)
    read_row<T>(batch.x.matrix, r,
                static_cast<T*>(PyArray_DATA(as_array(x))) + r * layout.n_inputs());
  a[0] = x;
  for (std::size_t l = 0; l < n_layers; ++l) {
    const Layer& layer = layout.layers[l];
    const auto& views = ws.layers[l];
    const auto copy = [&](const T* view) {
      return copy_rows(view, layer.stride, rows, layer.n_out, vector);
    };
    a[l + 1] = copy(views.a);
    z[l] = copy(views.z);
    deltas[l] = copy(views.delta);
    // g' = 1 ⊙ g', in the memory of δ. The diagonal of softmax's Jacobian is a (1 - a), as σ'.
    std::fill_n(views.delta, rows * layer.stride, T(1));
    const Activation g =
        layer.activation == Activation::softmax ? Activation::sigmoid : layer.activation;
    const Size stride = static_cast<Size>(layer.stride);
    kernels<T>().multiply_derivative(g, views.delta, stride, views.z, stride, views.a, stride,
                                     static_cast<Size>(rows), static_cast<Size>(layer.n_out));
    slopes[l] = copy(views.delta);
  }
  return py::make_tuple(a, z, slopes, deltas);
}

py::tuple trace_of(PyNetwork& handle, const py::object& x, const py::object& y) {
  const Batch batch(handle, x, y, py::none());
  return handle.visit([&](auto& typed) { return trace_typed(handle, typed.network, batch); });
}

}  // namespace

// The state of an optimiser and the network it belongs to.
struct OptimizerState {
  py::object network;
  PyNetwork* handle;
  std::variant<std::unique_ptr<Optimizer<float>>, std::unique_ptr<Optimizer<double>>> optimizer;
  Rule rule;
  Hyperparameters hyperparameters;

  template <class T>
  Optimizer<T>& of() {
    return *std::get<std::unique_ptr<Optimizer<T>>>(optimizer);
  }
  // The optimiser for a network of T; a ValueError where it met another network first.
  template <class T>
  Optimizer<T>& for_network(const PyNetwork& other) {
    if (&other != handle)
      throw py::value_error(
          "this optimizer keeps the state of another network: use one optimizer "
          "a network, or call its reset()");
    return of<T>();
  }
};

namespace {

template <class T>
std::unique_ptr<Optimizer<T>> make_optimizer(const OptimizerState& state, const Layout& layout) {
  return std::make_unique<Optimizer<T>>(state.rule, state.hyperparameters, layout);
}

std::unique_ptr<OptimizerState> make_state(const py::object& network, const std::string& rule,
                                           const py::dict& hyperparameters) {
  auto state = std::make_unique<OptimizerState>();
  state->network = network;
  state->handle = &network.cast<PyNetwork&>();
  if (rule != kRuleNames[0] && rule != kRuleNames[1])
    throw py::value_error("unknown rule '" + rule + "', expected sgd or adam");
  state->rule = rule == kRuleNames[0] ? Rule::sgd : Rule::adam;
  Hyperparameters& hyper = state->hyperparameters;
  for (const auto& [key, value] : hyperparameters) {
    const auto name = py::cast<std::string>(key);
    const double number = py::cast<double>(value);
    if (!std::isfinite(number)) throw py::value_error(name + " must be finite");
    if (name == "momentum")
      hyper.momentum = number;
    else if (name == "nesterov")
      hyper.nesterov = number != 0;
    else if (name == "weight_decay")
      hyper.weight_decay = number;
    else if (name == "beta1")
      hyper.beta1 = number;
    else if (name == "beta2")
      hyper.beta2 = number;
    else if (name == "eps")
      hyper.eps = number;
    else
      throw py::value_error("unknown hyperparameter '" + name + "'");
  }
  state->handle->visit([&]<class T>(TypedNetwork<T>& typed) {
    state->optimizer = make_optimizer<T>(*state, typed.network.layout);
  });
  return state;
}

double step(PyNetwork& handle, const py::object& x, const py::object& y, const py::object& weight,
            OptimizerState& state, double learning_rate, std::optional<int> threads) {
  check_learning_rate(learning_rate);
  const Batch batch(handle, x, y, weight);
  return handle.visit([&]<class T>(TypedNetwork<T>& typed) {
    Optimizer<T>& optimizer = state.for_network<T>(handle);
    const int team = checked_threads(threads);
    const std::size_t rows = batch.x.matrix.rows;
    auto workspace = typed.take_workspace(workspace_rows(rows));
    Gate::Trainer trainer(handle.gate);
    ++handle.version;
    double result = 0;
    {
      const MaybeRelease release(batch.work);
      trainer.begin();
      result = train_epoch(typed.network, *workspace, optimizer, batch.samples, rows,
                           &learning_rate, 1, team, {})
                   .cost;
      trainer.end();
    }
    typed.spare = std::move(workspace);
    return result;
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
    if (PyArray_CopyInto(as_array(place), as_array(array)) < 0) throw py::error_already_set();
  }
}

void update(PyNetwork& handle, const py::sequence& weights, const py::sequence& biases,
            OptimizerState& state, double learning_rate) {
  check_learning_rate(learning_rate);
  handle.visit([&]<class T>(TypedNetwork<T>& typed) {
    const Layout& layout = typed.network.layout;
    Optimizer<T>& optimizer = state.for_network<T>(handle);
    AlignedBuffer<T> buffer(layout.size);
    T* const gradient = buffer.data();
    const auto [to_weights, to_biases] = parameter_views(layout, gradient, own(std::move(buffer)));
    copy_gradient(to_weights, weights, layout, true);
    copy_gradient(to_biases, biases, layout, false);
    Gate::Trainer trainer(handle.gate);
    ++handle.version;
    trainer.begin();
    apply_gradient(typed.network, optimizer, gradient, learning_rate);
  });
}

// Between chunks and steps of an epoch: lets readers pass and, about every 50 ms, looks for signals
// and tells Python how far it is.
struct EpochPoll {
  using Clock = std::chrono::steady_clock;

  Gate::Trainer& trainer;
  py::object callback;
  Clock::time_point looked = Clock::now();
  Clock::time_point asked = looked;
  // Reading the clock would be a tenth of a tiny network's step: quick calls are counted instead.
  unsigned calls = 0;
  unsigned calls_a_look = 1;
  bool failed = false;

  static bool stop(void* context, std::size_t steps_done) {
    auto& self = *static_cast<EpochPoll*>(context);
    self.trainer.let_readers_pass();
    if (++self.calls < self.calls_a_look) return false;
    self.calls = 0;
    const auto now = Clock::now();
    const bool quick = now - self.looked < std::chrono::milliseconds(1);
    self.calls_a_look = quick ? std::min(2 * self.calls_a_look, 64u) : 1;
    self.looked = now;
    if (now - self.asked < std::chrono::milliseconds(50)) return false;
    self.asked = now;
    return self.ask(steps_done);
  }

  bool ask(std::size_t steps_done) {
    trainer.end();
    {
      const py::gil_scoped_acquire acquire;
      failed = PyErr_CheckSignals() != 0;
      if (!failed && !callback.is_none()) {
        PyObject* const answer =
            PyObject_CallFunction(callback.ptr(), "n", static_cast<Py_ssize_t>(steps_done));
        failed = answer == nullptr;
        Py_XDECREF(answer);
      }
    }
    trainer.begin();
    return failed;
  }
};

py::tuple train(PyNetwork& handle, const py::object& x, const py::object& y,
                const py::object& weight, Py_ssize_t batch_size,
                const std::optional<std::pair<std::uint64_t, std::uint64_t>>& shuffle,
                OptimizerState& state, const py::object& learning_rates, std::optional<int> threads,
                const py::object& callback) {
  if (batch_size < 1)
    throw py::value_error("batch_size is " + std::to_string(batch_size) + ", expected at least 1");
  Batch batch(handle, x, y, weight, false);
  const std::size_t rows = batch.x.matrix.rows;
  const std::size_t size = std::min(static_cast<std::size_t>(batch_size), rows);
  const std::size_t n_steps = (rows + size - 1) / size;
  const auto rates = py::reinterpret_steal<py::object>(
      PyArray_FROMANY(learning_rates.ptr(), NPY_DOUBLE, 1, 1, NPY_ARRAY_CARRAY_RO));
  if (!rates) throw py::error_already_set();
  const std::size_t n_rates = static_cast<std::size_t>(PyArray_DIM(as_array(rates), 0));
  if (n_rates != 1 && n_rates != n_steps)
    throw py::value_error(std::to_string(n_rates) + " learning rates for " +
                          std::to_string(n_steps) + " steps, expected one, or one a step");
  const double* const rate = static_cast<const double*>(PyArray_DATA(as_array(rates)));
  for (std::size_t i = 0; i < n_rates; ++i) check_learning_rate(rate[i]);
  return handle.visit([&]<class T>(TypedNetwork<T>& typed) -> py::tuple {
    Optimizer<T>& optimizer = state.for_network<T>(handle);
    const int team = checked_threads(threads);
    auto workspace = typed.take_workspace(workspace_rows(size));
    Gate::Trainer trainer(handle.gate);
    ++handle.version;
    EpochPoll poll{trainer, callback};
    EpochResult result;
    {
      const py::gil_scoped_release release;
      std::vector<std::size_t> order;
      if (shuffle) {
        order = permutation(shuffle->first, shuffle->second, rows);
        batch.samples.order = order.data();
      }
      trainer.begin();
      result = train_epoch(typed.network, *workspace, optimizer, batch.samples, size, rate, n_rates,
                           team, {&EpochPoll::stop, &poll});
      trainer.end();
    }
    typed.spare = std::move(workspace);
    if (poll.failed) throw py::error_already_set();
    return py::make_tuple(result.cost, result.steps, result.bad_layer);
  });
}

// Finite everywhere, in slices so that Ctrl-C is answered.
template <class T>
void check_finite(const Matrix& matrix, const char* name) {
  constexpr std::size_t kSlice = 4096;
  for (std::size_t begin = 0; begin < matrix.rows; begin += kSlice) {
    const std::size_t end = std::min(begin + kSlice, matrix.rows);
    const std::size_t bad = first_nonfinite_row<T>(matrix, begin, end);
    if (bad < end)
      throw py::value_error(
          std::string("row ") + std::to_string(bad) + " of " + name +
          " holds NaN, an infinity, or a number too large for the network's dtype; "
          "clean the data before fit, for instance with numpy.nan_to_num");
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

void check_data(PyNetwork& handle, const py::object& x, const py::object& y,
                const py::object& weight) {
  const Batch batch(handle, x, y, weight, false);
  handle.visit([&]<class T>(TypedNetwork<T>&) {
    check_finite<T>(batch.samples.x, "x");
    check_finite<T>(batch.samples.y.matrix, "y");
  });
}

}  // namespace

// Parameters and optimiser state as they were.
struct Snapshot {
  py::object network;
  py::object state;
  std::variant<std::unique_ptr<AlignedBuffer<float>>, std::unique_ptr<AlignedBuffer<double>>>
      parameters;
  std::variant<std::unique_ptr<Optimizer<float>>, std::unique_ptr<Optimizer<double>>> optimizer;
};

namespace {

std::unique_ptr<Snapshot> make_snapshot(const py::object& network, const py::object& state_object) {
  auto snapshot = std::make_unique<Snapshot>();
  snapshot->network = network;
  snapshot->state = state_object;
  PyNetwork& handle = network.cast<PyNetwork&>();
  OptimizerState& state = state_object.cast<OptimizerState&>();
  handle.visit([&]<class T>(TypedNetwork<T>& typed) {
    auto parameters = std::make_unique<AlignedBuffer<T>>(typed.network.layout.size);
    parameters->copy_from(typed.network.parameters);
    auto optimizer = make_optimizer<T>(state, typed.network.layout);
    optimizer->copy_from(state.for_network<T>(handle));
    snapshot->parameters = std::move(parameters);
    snapshot->optimizer = std::move(optimizer);
  });
  return snapshot;
}

void restore(Snapshot& snapshot) {
  PyNetwork& handle = snapshot.network.cast<PyNetwork&>();
  OptimizerState& state = snapshot.state.cast<OptimizerState&>();
  Gate::Trainer trainer(handle.gate);
  trainer.begin();
  ++handle.version;
  handle.visit([&]<class T>(TypedNetwork<T>& typed) {
    typed.network.parameters.copy_from(
        *std::get<std::unique_ptr<AlignedBuffer<T>>>(snapshot.parameters));
    state.of<T>().copy_from(*std::get<std::unique_ptr<Optimizer<T>>>(snapshot.optimizer));
  });
}

}  // namespace

void bind_training(py::class_<PyNetwork>& network, py::module_& module) {
  py::class_<Tape>(module, "Tape", py::is_final()).def("pullback", &pullback, py::arg("dC_da"));
  py::class_<OptimizerState>(module, "OptimizerState", py::is_final())
      .def(py::init(&make_state), py::arg("network"), py::arg("rule"), py::arg("hyperparameters"))
      .def_property_readonly("step", [](OptimizerState& self) {
        return self.handle->visit([&]<class T>(TypedNetwork<T>&) { return self.of<T>().step(); });
      });
  py::class_<Snapshot>(module, "Snapshot", py::is_final())
      .def(py::init(&make_snapshot), py::arg("network"), py::arg("optimizer"))
      .def("restore", &restore);
  network
      .def("cost", &cost, py::arg("x"), py::arg("y"), py::arg("sample_weight") = py::none(),
           R"(The mean cost of the samples, or Σ wᵢ Cᵢ / Σ wᵢ with weights.

Parameters
----------
x : array_like, shape (n, n_0) or (n_0,)
y : array_like
    Values of shape (n, n_L), or (n,) where n_L is 1; integer labels of shape (n,) with
    cross_entropy. For a one-dimensional x, what a row of y would be. Nothing is broadcast.
sample_weight : array_like, shape (n,), optional
    Finite weights, none negative, not all 0.

Returns
-------
float

Raises
------
TypeError, ValueError
    An array of another kind, shape or range; the message says what was expected.
)")
      .def("gradients_of", &gradients_of, py::arg("x"), py::arg("y"),
           py::arg("sample_weight") = py::none(), "(cost, ∇W of every layer, ∇b of every layer).")
      .def("record", &record_forward, py::arg("x"), "(a^L, the tape that pulls ∂C/∂a^L back).")
      .def("trace_of", &trace_of, py::arg("x"), py::arg("y"),
           "(a, z, g', δ) of every layer, per sample.")
      .def("step", &step, py::arg("x"), py::arg("y"), py::arg("sample_weight"),
           py::arg("optimizer"), py::arg("learning_rate"), py::arg("threads") = py::none(),
           "One update from one batch; returns its cost before the update.")
      .def("update", &update, py::arg("weights"), py::arg("biases"), py::arg("optimizer"),
           py::arg("learning_rate"), "One update from given gradients.")
      .def("train_epoch", &train, py::arg("x"), py::arg("y"), py::arg("sample_weight"),
           py::arg("batch_size"), py::arg("shuffle"), py::arg("optimizer"),
           py::arg("learning_rates"), py::arg("threads") = py::none(), py::arg("poll") = py::none(),
           "One epoch of updates: (cost, steps done, layer with non-finite numbers or 0).")
      .def("check_data", &check_data, py::arg("x"), py::arg("y"), py::arg("sample_weight"),
           "Raise unless everything fits this network and is finite.");
}

}  // namespace chainrule::python
