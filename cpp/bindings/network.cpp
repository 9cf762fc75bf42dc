// Network and Predictor: construction, properties and views.
#include <pybind11/stl.h>

#include <vector>

#include "bindings/handle.h"
#include "bindings/instances.h"
#include "core/architecture.h"
#include "core/initialize.h"
#include "core/names.h"

namespace chainrule::python {
namespace {

std::size_t width_of(py::handle item, std::size_t place) {
  const std::string where = "sizes[" + std::to_string(place) + "]";
  if (PyBool_Check(item.ptr()) || !PyIndex_Check(item.ptr()))
    throw py::type_error(where + " is " + py::cast<std::string>(py::repr(item)) +
                         ", expected a whole number of neurons");
  const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(item.ptr()));
  if (!number) throw py::error_already_set();
  const Py_ssize_t size = PyLong_AsSsize_t(number.ptr());
  if (size == -1 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    throw std::overflow_error(where + " does not fit into memory");
  }
  return parse_size(place, size);
}

Architecture architecture_of(const py::sequence& sizes, const std::vector<std::string>& activations,
                             const std::string& loss, bool bias) {
  Architecture result;
  for (const py::handle item : sizes) result.sizes.push_back(width_of(item, result.sizes.size()));
  for (const std::string& name : activations)
    result.activations.push_back(parse_name<Activation>(name, "activation"));
  result.loss = parse_name<Loss>(loss, "loss");
  result.has_bias = bias;
  check(result);
  return result;
}

template <class T>
std::unique_ptr<TypedNetwork<T>> make_typed(const Architecture& architecture) {
  const Layout layout = make_layout<T>(architecture);
  try {
    return std::unique_ptr<TypedNetwork<T>>(new TypedNetwork<T>{Network<T>(architecture), nullptr});
  } catch (const std::bad_alloc&) {
    PyErr_Format(PyExc_MemoryError,
                 "a network of %zu parameters needs %zu MiB, which could not be allocated",
                 layout.n_parameters, layout.size * sizeof(T) >> 20);
    throw py::error_already_set();
  }
}

void set_counters(PyNetwork& handle, std::uint64_t seed, std::uint64_t epoch) {
  handle.visit([&](auto& typed) {
    typed.network.seed = seed;
    typed.network.epoch = epoch;
  });
}

std::unique_ptr<PyNetwork> make_network(const py::sequence& sizes,
                                        const std::vector<std::string>& activations,
                                        const std::string& loss, const std::string& dtype,
                                        bool bias, std::uint64_t seed, std::uint64_t epoch) {
  const Architecture architecture = architecture_of(sizes, activations, loss, bias);
  auto handle = std::make_unique<PyNetwork>();
  if (is_float64(dtype))
    handle->typed = make_typed<double>(architecture);
  else
    handle->typed = make_typed<float>(architecture);
  set_counters(*handle, seed, epoch);
  return handle;
}

// Brings code, weights and this thread's workspace into memory and caches, so that the first call
// is as fast as the others.
template <class T>
void answer_once(const Network<T>& network) {
  const std::size_t n_inputs = network.layout.n_inputs(), n_outputs = network.layout.n_outputs();
  const std::vector<T> x(n_inputs);
  std::vector<T> out(n_outputs);
  predict(network, {x.data(), static_cast<std::ptrdiff_t>(n_inputs)}, out.data(),
          static_cast<std::ptrdiff_t>(n_outputs), 1, 1);
}

std::unique_ptr<PyPredictor> make_predictor(PyNetwork& source) {
  auto handle = std::make_unique<PyPredictor>();
  source.visit([&](auto& typed) {
    using Typed = std::remove_reference_t<decltype(typed)>;
    read_network(source, static_cast<double>(source.layout().size), [&] {
      handle->typed = std::unique_ptr<Typed>(new Typed{typed.network, nullptr});
    });
  });
  handle->visit([&](auto& typed) {
    read_network(*handle, handle->layout().work(1), [&] { answer_once(typed.network); });
  });
  return handle;
}

py::tuple sizes_of(Handle& handle) {
  const Layout& layout = handle.layout();
  py::tuple sizes(layout.layers.size() + 1);
  sizes[0] = layout.n_inputs();
  for (std::size_t l = 0; l < layout.layers.size(); ++l) sizes[l + 1] = layout.layers[l].n_out;
  return sizes;
}

py::tuple activations_of(Handle& handle) {
  const Layout& layout = handle.layout();
  py::tuple names(layout.layers.size());
  for (std::size_t l = 0; l < layout.layers.size(); ++l)
    names[l] = py::str(std::string(name_of(layout.layers[l].activation)));
  return names;
}

py::object dtype_of(Handle& handle) {
  return py::reinterpret_steal<py::object>(
      reinterpret_cast<PyObject*>(PyArray_DescrFromType(handle.typenum())));
}

std::pair<py::tuple, py::tuple> views_of(const py::object& self) {
  return self.cast<PyNetwork&>().visit([&](auto& typed) {
    return parameter_views(typed.network.layout, typed.network.parameters.data(), self);
  });
}

// Padding too: an update that left the finite numbers may have reached it.
template <class T>
void clear(AlignedBuffer<T>& parameters) {
  std::fill_n(parameters.data(), parameters.size(), T(0));
}

void initialize_all(PyNetwork& handle, const std::vector<std::string>& schemes,
                    std::uint64_t seed) {
  const Layout& layout = handle.layout();
  if (schemes.size() != layout.layers.size())
    throw py::value_error("expected one initializer a layer");
  std::vector<Initializer> parsed;
  for (const std::string& scheme : schemes)
    parsed.push_back(parse_name<Initializer>(scheme, "initializer"));
  Gate::Trainer alone(handle.gate);
  begin_writing(alone);
  handle.visit([&](auto& typed) {
    clear(typed.network.parameters);
    auto* const parameters = typed.network.parameters.data();
    for (std::size_t l = 0; l < parsed.size(); ++l) {
      const Layer& layer = layout.layers[l];
      initialize(parameters, layer, parsed[l], seed, l + 1);
    }
  });
}

// W¹ row-major, b¹, W², ...
py::object get_parameters(Handle& handle) {
  const Layout& layout = handle.layout();
  py::object vector = new_array(handle.typenum(), 1, layout.n_parameters, true);
  handle.visit([&]<class T>(TypedNetwork<T>& typed) {
    T* const flat = static_cast<T*>(PyArray_DATA(as_array(vector)));
    read_network(handle, static_cast<double>(layout.size),
                 [&] { flatten(layout, typed.network.parameters.data(), flat); });
  });
  return vector;
}

void set_parameters(PyNetwork& handle, const py::object& vector) {
  const Layout& layout = handle.layout();
  const Input input = view_rows(vector.ptr(), layout.n_parameters, handle.typenum(), "v");
  if (!input.is_vector)
    throw py::value_error("v has shape " + shape_text(as_array(input.array)) + ", expected (" +
                          std::to_string(layout.n_parameters) + ",)");
  const Pin pin(input.array);
  Gate::Trainer alone(handle.gate);
  begin_writing(alone);
  handle.visit([&](auto& typed) {
    using T = std::remove_reference_t<decltype(*typed.network.parameters.data())>;
    std::vector<T> flat(layout.n_parameters);
    read_row<T>(input.matrix, 0, flat.data());
    clear(typed.network.parameters);
    unflatten(layout, flat.data(), typed.network.parameters.data());
  });
}

PyTypeObject* g_network_type = nullptr;

// function(*args, **kwargs) as the one fit of a network. The claim is taken and given back around
// the call by C++: exceptions that arrive from elsewhere, such as Ctrl-C's, arrive between two
// bytecodes, of which there are none outside of the call.
PyObject* fit_alone(PyObject*, PyObject* const* args, Py_ssize_t n_args, PyObject* names) {
  try {
    if (n_args < 2 || !PyObject_TypeCheck(args[0], g_network_type))
      throw py::type_error("fit_alone needs a network and a function");
    auto* const handle = static_cast<PyNetwork*>(value_of(args[0]));
    if (handle == nullptr) refuse_uninitialized();
    const Gate::Fit claim(handle->gate);
    return or_stay([&] { return PyObject_Vectorcall(args[1], args + 2, n_args - 2, names); });
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyMethodDef g_functions[] = {
    {"fit_alone", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&fit_alone)),
     METH_FASTCALL | METH_KEYWORDS,
     "Return function(*args, **kwargs), the one fit of a network while it runs."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

void bind_network(py::module_& module) {
  py::class_<PyNetwork> network(module, "Network", predict_methods<PyNetwork>());
  def_init(network, &make_network, py::arg("sizes"), py::arg("activations"), py::arg("loss"),
           py::arg("dtype"), py::arg("bias"), py::arg("seed") = 0, py::arg("epoch") = 0);
  network
      .def_property_readonly(
          "sizes", [](PyNetwork& self) { return sizes_of(self); },
          "Width of the input, then of every layer: (n_0, n_1, ..., n_L).")
      .def_property_readonly(
          "activations", [](PyNetwork& self) { return activations_of(self); },
          "The name of each layer's activation.")
      .def_property_readonly(
          "loss", [](PyNetwork& self) { return std::string(name_of(self.layout().loss)); },
          "The name of the cost of one sample.")
      .def_property_readonly(
          "dtype", [](PyNetwork& self) { return dtype_of(self); },
          "The type of the parameters and of all arithmetic: float32 or float64.")
      .def_property_readonly(
          "has_bias", [](PyNetwork& self) { return self.layout().has_bias; },
          "Whether the layers have biases.")
      .def_property_readonly(
          "n_parameters", [](PyNetwork& self) { return self.layout().n_parameters; },
          "Number of weights and biases.")
      .def_property_readonly(
          "nbytes",
          [](PyNetwork& self) {
            return self.layout().size * (self.typenum() == NPY_FLOAT ? 4 : 8);
          },
          "Bytes of the parameter buffer, padding included.")
      .def_property_readonly(
          "seed",
          [](PyNetwork& self) {
            return self.visit([](auto& typed) { return typed.network.seed; });
          },
          "The seed of the initial weights, the order of samples, and dropout.")
      .def_property_readonly(
          "epoch",
          [](PyNetwork& self) {
            return self.visit([](auto& typed) { return typed.network.epoch; });
          },
          "Epochs that fit has completed; the next one's order of samples depends on it.")
      .def_property_readonly(
          "version", [](PyNetwork& self) { return self.gate.version(); },
          "Rises with every change of the parameters through a method; writes through a view are "
          "not seen.")
      .def_property_readonly(
          "weights", [](const py::object& self) { return views_of(self).first; },
          "Writable views of the weights, no copies: weights[i] is W^{i+1}, shape "
          "(n_{i+1}, n_i), row = to, column = from.")
      .def_property_readonly(
          "biases", [](const py::object& self) { return views_of(self).second; },
          "Writable views of the biases, no copies: biases[i] is b^{i+1}, shape "
          "(n_{i+1},); () for a network without.")
      .def(
          "get_parameters", [](PyNetwork& self) { return get_parameters(self); },
          "Copy all parameters into one vector: W¹ row-major, b¹, W², b² and so on.")
      .def("set_parameters", &set_parameters, py::arg("v"),
           R"(Set all parameters from a vector in the order of get_parameters.

Other real types are rounded to the network's. Numbers that are not finite are taken.

Raises
------
TypeError, ValueError
    v is not a vector of n_parameters real numbers; nothing has changed then.
)");
  module.def("set_counters", &set_counters, py::arg("network"), py::arg("seed"), py::arg("epoch"),
             "Set a network's seed and its count of epochs.");
  module.def(
      "nonfinite_layer",
      [](PyNetwork& self) {
        const auto work = static_cast<double>(self.layout().size);
        return self.visit([&](auto& typed) {
          return read_network(self, work, [&] { return nonfinite_layer(typed.network); });
        });
      },
      py::arg("network"),
      "The first layer, from 1, with a parameter that is not finite; 0 where there is none.");
  module.def("initialize", &initialize_all, py::arg("network"), py::arg("schemes"), py::arg("seed"),
             "Draw new weights, one scheme a layer, from Philox4x32-10; biases become 0.");
  g_network_type = reinterpret_cast<PyTypeObject*>(network.ptr());
  if (PyModule_AddFunctions(module.ptr(), g_functions) < 0) throw py::error_already_set();
  bind_derivatives(network, module);
  bind_optimizer_state(module);
  bind_descent(module);
}

void bind_predictor(py::module_& module) {
  py::class_<PyPredictor> predictor(module, "Predictor", predict_methods<PyPredictor>());
  def_init(predictor, &make_predictor, py::arg("network"));
  predictor.def_property_readonly("sizes", [](PyPredictor& self) { return sizes_of(self); })
      .def_property_readonly("activations", [](PyPredictor& self) { return activations_of(self); })
      .def_property_readonly("dtype", [](PyPredictor& self) { return dtype_of(self); })
      .def_property_readonly("has_bias", [](PyPredictor& self) { return self.layout().has_bias; })
      .def("get_parameters", [](PyPredictor& self) { return get_parameters(self); });
}

}  // namespace chainrule::python
