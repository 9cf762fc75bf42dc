// Costs, gradients, pullbacks and traces.
#include <mutex>

#include "bindings/batch.h"
#include "bindings/instances.h"
#include "bindings/targets.h"

namespace chainrule::python {
namespace {

double cost(PyNetwork& handle, const py::object& x, const py::object& y, const py::object& weight,
            const py::object& label_smoothing) {
  Batch batch(handle, x, y, weight);
  batch.smooth(handle, label_smoothing);
  warn_of_targets(handle, batch);
  return handle.visit([&](auto& typed) {
    auto workspace = typed.take_workspace(workspace_rows(batch.x.matrix.rows));
    const double result = read_network(handle, batch.work, [&] {
      return mean_cost(typed.network, *workspace, batch.samples, 0, batch.x.matrix.rows, 0);
    });
    typed.spare = std::move(workspace);
    return result;
  });
}

// For callers that warn themselves, once for many calls.
py::tuple sample_costs_of(PyNetwork& handle, const py::object& x, const py::object& y,
                          std::size_t first_row) {
  const Batch batch(handle, x, y, py::none(), true, first_row);
  const py::object concern = check_targets(handle, batch, false, first_row);
  return handle.visit([&]<class T>(TypedNetwork<T>& typed) -> py::tuple {
    const std::size_t rows = batch.x.matrix.rows;
    py::object costs = new_array(kTypenum<T>, 1, rows, true);
    auto workspace = typed.take_workspace(workspace_rows(rows));
    read_network(handle, batch.work, [&] {
      sample_costs(typed.network, *workspace, batch.samples,
                   static_cast<T*>(PyArray_DATA(as_array(costs))));
    });
    typed.spare = std::move(workspace);
    return py::make_tuple(costs, concern);
  });
}

py::tuple gradients_of(PyNetwork& handle, const py::object& x, const py::object& y,
                       const py::object& weight, const py::object& label_smoothing, bool warn) {
  Batch batch(handle, x, y, weight);
  batch.smooth(handle, label_smoothing);
  if (warn)
    warn_of_targets(handle, batch);
  else
    check_targets(handle, batch, false);
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

// Rows of a workspace, one after the other.
template <class T>
void copy_rows(T* to, const T* view, std::size_t stride, std::size_t rows, std::size_t columns) {
  for (std::size_t r = 0; r < rows; ++r) std::copy_n(view + r * stride, columns, to + r * columns);
}

template <class T>
py::object array_of_rows(const T* view, std::size_t stride, std::size_t rows, std::size_t columns,
                         bool vector) {
  py::object array = new_array(kTypenum<T>, rows, columns, vector);
  copy_rows(static_cast<T*>(PyArray_DATA(as_array(array))), view, stride, rows, columns);
  return array;
}

}  // namespace

// What record() keeps for one reverse pass after another.
struct Tape {
  py::object network;  // keeps the handle alive
  py::object outputs;  // a^L, until record() hands it out
  PyNetwork* handle;
  std::variant<std::unique_ptr<Workspace<float>>, std::unique_ptr<Workspace<double>>> workspace;
  std::uint64_t version = 0;
  std::size_t rows = 0;
  bool is_vector = false;
  std::mutex mutex;  // a pullback writes the workspace's δ: one at a time
};

namespace {

std::unique_ptr<Tape> make_tape(const py::object& self, const py::object& x_object,
                                bool input_gradient) {
  PyNetwork& handle = self.cast<PyNetwork&>();
  const Input x = view_samples(x_object.ptr(), handle.layout().n_inputs(), handle.typenum(), "x");
  const Pin pin(x.array);
  auto tape = std::make_unique<Tape>();
  tape->network = self;
  tape->handle = &handle;

  tape->rows = x.matrix.rows;
  tape->is_vector = x.is_vector;
  handle.visit([&]<class T>(TypedNetwork<T>& typed) {
    const Layout& layout = typed.network.layout;
    auto workspace = std::make_unique<Workspace<T>>(
        layout, x.matrix.rows, input_gradient ? Workspace<T>::input_gradient : Workspace<T>::none);
    read_network(handle, work_of(layout, x.matrix), [&] {
      tape->version = handle.gate.version();
      record(typed.network, *workspace, x.matrix);
    });
    tape->outputs = array_of_rows(workspace->layers.back().a, layout.layers.back().stride,
                                  x.matrix.rows, layout.n_outputs(), x.is_vector);
    tape->workspace = std::move(workspace);
  });
  return tape;
}

py::tuple record_forward(const py::object& self, const py::object& x, bool input_gradient) {
  const py::object tape = py::type::of<Tape>()(self, x, input_gradient);
  return py::make_tuple(std::exchange(tape.cast<Tape&>().outputs, {}), tape);
}

py::tuple pullback(Tape& tape, const py::object& dC_da) {
  PyNetwork& handle = *tape.handle;

  const Layout& layout = handle.layout();
  const Input d = view_rows(dC_da.ptr(), layout.n_outputs(), handle.typenum(), "dC_da");
  const Pin pin(d.array);
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
    py::object dx = py::none();
    if (workspace.dx != nullptr)
      dx = new_array(kTypenum<T>, tape.rows, layout.n_inputs(), tape.is_vector);
    read_network(handle, training_work(layout, tape.rows), [&] {
      const std::lock_guard lock(tape.mutex);
      if (handle.gate.version() != tape.version)
        throw std::runtime_error(
            "the network's parameters changed since vjp(x): call vjp again and use the new "
            "pullback");
      pull_back(typed.network, workspace, d.matrix, gradient.data());
      if (workspace.dx != nullptr)
        copy_rows(static_cast<T*>(PyArray_DATA(as_array(dx))), workspace.dx, layout.input_stride,
                  tape.rows, layout.n_inputs());
    });
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
  Backpropagation<T> pass(network, ws, rows);
  const Chunk<T> all = pass.chunk(batch.samples, 0, rows, 0);
  read_network(handle, batch.work, [&] {
    pass.load(batch.samples, 0, all, 0, rows);
    pass.forward(all, 0, rows);
    pass.output_error(all, 0, rows, true);
    pass.backward(all, 0, rows);
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
      return array_of_rows(view, layer.stride, rows, layer.n_out, vector);
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
  if (batch.x.matrix.is_sparse())
    throw py::type_error("x is a sparse matrix, which is not taken here: pass x.toarray()");
  py::tuple quantities =
      handle.visit([&](auto& typed) { return trace_typed(handle, typed.network, batch); });
  warn_of_targets(handle, batch);  // not before there is memory for so many rows
  return quantities;
}

}  // namespace

void bind_derivatives(py::class_<PyNetwork>& network, py::module_& module) {
  py::class_<Tape> tape(module, "Tape", py::is_final(), holds_network<Tape>());
  def_init(tape, &make_tape, py::arg("network"), py::arg("x"), py::arg("input_gradient") = true);
  tape.def("pullback", &pullback, py::arg("dC_da"));
  network.def("cost", &cost, py::arg("x"), py::arg("y"), py::arg("sample_weight") = py::none(),
              py::kw_only(), py::arg("label_smoothing") = 0.0,
              R"(The mean cost of the samples, or Σ wᵢ Cᵢ / Σ wᵢ with weights.

Parameters
----------
x : array_like or sparse matrix, shape (n, n_0) or (n_0,)
y : array_like
    Values of shape (n, n_L), or (n,) where n_L is 1; integer labels of shape (n,) with
    cross_entropy. For a one-dimensional x, what a row of y would be. Nothing is broadcast.
sample_weight : array_like, shape (n,), optional
    Finite weights, none negative, not all 0.
label_smoothing : float, default 0
    ε in [0, 1): y_j becomes (1 - ε) y_j + ε/n_L with cross_entropy, (1 - ε) y_j + ε/2 with
    binary_cross_entropy (Szegedy et al., 2016).

Returns
-------
float

Raises
------
TypeError, ValueError
    An array of another kind, shape or range; the message says what was expected.

Warns
-----
UserWarning
    Of targets that the output activation cannot give, and of rows that do not sum to 1 with
    cross_entropy.
)");
  module.def("gradients", &gradients_of, py::arg("network"), py::arg("x"), py::arg("y"),
             py::arg("sample_weight") = py::none(), py::arg("label_smoothing") = 0.0,
             py::arg("warn") = true, "(cost, ∇W of every layer, ∇b of every layer).");
  module.def("sample_costs", &sample_costs_of, py::arg("network"), py::arg("x"), py::arg("y"),
             py::arg("first_row") = 0,
             "(the cost of each sample, what the user is to be warned of): see `check_data`.");
  module.def("record", &record_forward, py::arg("network"), py::arg("x"),
             py::arg("input_gradient") = true, "(a^L, the tape that pulls ∂C/∂a^L back).");
  module.def("trace", &trace_of, py::arg("network"), py::arg("x"), py::arg("y"),
             "(a, z, g', δ) of every layer, per sample.");
}

}  // namespace chainrule::python
