// The state of an optimiser, and snapshots of it with the parameters.
#include "bindings/optimizer_state.h"

#include <utility>
#include <vector>

#include "bindings/batch.h"
#include "bindings/instances.h"
#include "core/names.h"

namespace chainrule::python {
namespace {

template <class T>
std::unique_ptr<Optimizer<T>> make_optimizer(const OptimizerState& state, const Layout& layout) {
  return std::make_unique<Optimizer<T>>(state.rule, state.hyperparameters, layout);
}

template <class T>
void check_hyperparameter(const std::string& name, double number) {
  check_number<T>(name, number);
  if ((name == "eps" || name == "clip_value") && !(static_cast<T>(number) > 0))
    throw py::value_error(name + " is " + std::to_string(number) +
                          ", expected a positive number that the network's dtype can hold");
}

void set_hyperparameter(Hyperparameters& hyper, const std::string& name, double number) {
  static constexpr std::pair<std::string_view, double Hyperparameters::*> kNumbers[] = {
      {"momentum", &Hyperparameters::momentum},
      {"weight_decay", &Hyperparameters::weight_decay},
      {"beta1", &Hyperparameters::beta1},
      {"beta2", &Hyperparameters::beta2},
      {"eps", &Hyperparameters::eps},
      {"alpha", &Hyperparameters::alpha},
      {"lr_decay", &Hyperparameters::lr_decay},
      {"initial_accumulator_value", &Hyperparameters::initial_accumulator_value},
      {"l1", &Hyperparameters::l1},
      {"l2", &Hyperparameters::l2},
      {"clip_value", &Hyperparameters::clip_value},
      {"clip_norm", &Hyperparameters::clip_norm},
  };
  static constexpr std::pair<std::string_view, bool Hyperparameters::*> kSwitches[] = {
      {"nesterov", &Hyperparameters::nesterov}, {"centered", &Hyperparameters::centered}};
  for (const auto& [known, member] : kNumbers)
    if (name == known) {
      hyper.*member = number;
      return;
    }
  for (const auto& [known, member] : kSwitches)
    if (name == known) {
      hyper.*member = number != 0;
      return;
    }
  throw py::value_error("unknown hyperparameter '" + name + "'");
}

std::unique_ptr<OptimizerState> make_state(const py::object& network, const std::string& rule,
                                           const py::dict& hyperparameters) {
  auto state = std::make_unique<OptimizerState>();
  state->network = network;
  state->handle = &network.cast<PyNetwork&>();
  state->rule = parse_name<Rule>(rule, "rule");
  for (const auto& [key, value] : hyperparameters) {
    const auto name = py::cast<std::string>(key);
    const double number = py::cast<double>(value);
    state->handle->visit([&]<class T>(TypedNetwork<T>&) { check_hyperparameter<T>(name, number); });
    set_hyperparameter(state->hyperparameters, name, number);
  }
  state->handle->visit([&]<class T>(TypedNetwork<T>& typed) {
    state->optimizer = make_optimizer<T>(*state, typed.network.layout);
  });
  return state;
}

// The state of an optimiser as Python keeps it: counts, and one flat vector a buffer.
template <class T>
py::dict get_state(PyNetwork& handle, Optimizer<T>& optimizer, Rule rule) {
  const Layout& layout = handle.layout();
  py::dict result;
  const auto buffers = optimizer.buffers();
  std::vector<py::object> vectors;
  for (std::size_t i = 0; i < buffers.size(); ++i)
    vectors.push_back(new_array(handle.typenum(), 1, layout.n_parameters, true));
  const double work = static_cast<double>(layout.size * buffers.size());
  std::uint64_t step = 0;
  typename Optimizer<T>::Powers powers{};
  read_network(handle, work, [&] {
    step = optimizer.step();
    powers = optimizer.powers();
    for (std::size_t i = 0; i < buffers.size(); ++i)
      flatten(layout, buffers[i].buffer->data(),
              static_cast<T*>(PyArray_DATA(as_array(vectors[i]))));
  });
  result["step"] = step;
  if (is_adam(rule)) {
    result["beta1_power"] = powers.beta1;
    result["beta2_power"] = powers.beta2;
  }
  for (std::size_t i = 0; i < buffers.size(); ++i)
    result[py::str(std::string(buffers[i].name))] = vectors[i];
  return result;
}

// Takes over what get_state gave for the same rule and sizes. Checks everything first.
void set_state(OptimizerState& state, std::uint64_t step, const py::dict& vectors,
               double beta1_power, double beta2_power) {
  PyNetwork& handle = *state.handle;
  const Layout& layout = handle.layout();
  handle.visit([&]<class T>(TypedNetwork<T>&) {
    Optimizer<T> fresh(state.rule, state.hyperparameters, layout);
    std::size_t known = 0;
    std::vector<T> flat(layout.n_parameters);
    for (const auto& [name, buffer] : fresh.buffers()) {
      const std::string key(name);
      if (!vectors.contains(key.c_str())) throw py::value_error("the state lacks '" + key + "'");
      const py::object given = real_array(py::object(vectors[key.c_str()]).ptr(), key.c_str());
      PyArrayObject* const array = as_array(given);
      if (PyArray_NDIM(array) != 1 ||
          static_cast<std::size_t>(PyArray_DIM(array, 0)) != layout.n_parameters)
        throw py::value_error(key + " has shape " + shape_text(array) + ", expected (" +
                              std::to_string(layout.n_parameters) + ",)");
      const Input input =
          view_rows(given.ptr(), layout.n_parameters, handle.typenum(), key.c_str());
      read_row<T>(input.matrix, 0, flat.data());
      unflatten(layout, flat.data(), buffer->data());
      ++known;
    }
    if (known != vectors.size())
      throw py::value_error("the state has entries that this optimizer does not know: " +
                            py::cast<std::string>(py::str(py::list(vectors))));
    fresh.set_progress(step, {beta1_power, beta2_power});
    write_network(handle, static_cast<double>(layout.size),
                  [&] { state.of<T>().copy_from(fresh); });
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

// Takes over what the network and the optimiser are now.
void retake(Snapshot& snapshot) {
  PyNetwork& handle = snapshot.network.cast<PyNetwork&>();
  OptimizerState& state = snapshot.state.cast<OptimizerState&>();
  handle.visit([&]<class T>(TypedNetwork<T>& typed) {
    auto& parameters = *std::get<std::unique_ptr<AlignedBuffer<T>>>(snapshot.parameters);
    auto& optimizer = *std::get<std::unique_ptr<Optimizer<T>>>(snapshot.optimizer);
    read_network(handle, static_cast<double>(parameters.size()), [&] {
      parameters.copy_from(typed.network.parameters);
      optimizer.copy_from(state.of<T>());
    });
  });
}

std::unique_ptr<Snapshot> make_snapshot(const py::object& network, const py::object& state_object) {
  auto snapshot = std::make_unique<Snapshot>();
  snapshot->network = network;
  snapshot->state = state_object;
  PyNetwork& handle = network.cast<PyNetwork&>();
  OptimizerState& state = state_object.cast<OptimizerState&>();
  handle.visit([&]<class T>(TypedNetwork<T>& typed) {
    state.for_network<T>(handle);
    snapshot->parameters = std::make_unique<AlignedBuffer<T>>(typed.network.layout.size);
    snapshot->optimizer = make_optimizer<T>(state, typed.network.layout);
  });
  retake(*snapshot);
  return snapshot;
}

// What it holds, as Network.get_parameters and OptimizerState.get give it.
py::tuple get_snapshot(Snapshot& snapshot) {
  PyNetwork& handle = snapshot.network.cast<PyNetwork&>();
  const Layout& layout = handle.layout();
  return handle.visit([&]<class T>(TypedNetwork<T>&) {
    const auto& parameters = *std::get<std::unique_ptr<AlignedBuffer<T>>>(snapshot.parameters);
    const py::object vector = new_array(handle.typenum(), 1, layout.n_parameters, true);
    flatten(layout, parameters.data(), static_cast<T*>(PyArray_DATA(as_array(vector))));
    return py::make_tuple(
        vector, get_state<T>(handle, *std::get<std::unique_ptr<Optimizer<T>>>(snapshot.optimizer),
                             snapshot.state.cast<OptimizerState&>().rule));
  });
}

void restore(Snapshot& snapshot) {
  PyNetwork& handle = snapshot.network.cast<PyNetwork&>();
  OptimizerState& state = snapshot.state.cast<OptimizerState&>();
  handle.visit([&]<class T>(TypedNetwork<T>& typed) {
    const auto& parameters = *std::get<std::unique_ptr<AlignedBuffer<T>>>(snapshot.parameters);
    write_network(handle, static_cast<double>(parameters.size()), [&] {
      typed.network.parameters.copy_from(parameters);
      state.of<T>().copy_from(*std::get<std::unique_ptr<Optimizer<T>>>(snapshot.optimizer));
    });
  });
}

}  // namespace

void bind_optimizer_state(py::module_& module) {
  py::class_<OptimizerState> state(module, "OptimizerState", py::is_final(),
                                   holds_network<OptimizerState>());
  def_init(state, &make_state, py::arg("network"), py::arg("rule"), py::arg("hyperparameters"));
  state
      .def_property_readonly("step",
                             [](OptimizerState& self) {
                               return self.handle->visit(
                                   [&]<class T>(TypedNetwork<T>&) { return self.of<T>().step(); });
                             })
      .def(
          "get",
          [](OptimizerState& self) {
            return self.handle->visit([&]<class T>(TypedNetwork<T>&) {
              return get_state<T>(*self.handle, self.of<T>(), self.rule);
            });
          },
          "Counts, and one flat vector a buffer, in get_parameters' order.")
      .def("set", &set_state, py::arg("step"), py::arg("vectors"), py::arg("beta1_power") = 1.0,
           py::arg("beta2_power") = 1.0, "Take over what get() gave; nothing changes on an error.");
  py::class_<Snapshot> snapshot(module, "Snapshot", py::is_final(), holds_network<Snapshot>());
  def_init(snapshot, &make_snapshot, py::arg("network"), py::arg("optimizer"));
  snapshot.def("get", &get_snapshot, "(the parameters as one vector, the optimiser's state).")
      .def("retake", &retake, "Take over what the network and the optimiser are now.")
      .def("restore", &restore, "Give both back what they were.");
}

}  // namespace chainrule::python
