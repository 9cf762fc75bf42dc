// What a Python Network or Predictor object holds: a network of one of the two element types.
#pragma once

#include <memory>
#include <utility>
#include <variant>

#include "bindings/checked_caster.h"
#include "bindings/gil.h"
#include "bindings/numpy_view.h"
#include "core/gate.h"
#include "core/network.h"
#include "core/optimizer.h"
#include "core/training.h"

namespace chainrule::python {

inline constexpr const char* kNoMemory =
    "there is not enough memory for this call: use fewer rows at a time, or a smaller network";

// Below this many multiply-adds (about 10 µs) a call keeps the GIL.
inline constexpr double kReleaseWork = 1 << 17;

template <class T>
struct TypedNetwork {
  Network<T> network;
  std::unique_ptr<Workspace<T>> spare;  // reused from call to call

  // The spare workspace, or a new one of at least `rows` rows.
  std::unique_ptr<Workspace<T>> take_workspace(std::size_t rows) {
    if (spare != nullptr && spare->rows >= rows) return std::move(spare);
    return std::make_unique<Workspace<T>>(network.layout, rows);
  }
};

struct Handle {
  std::variant<std::unique_ptr<TypedNetwork<float>>, std::unique_ptr<TypedNetwork<double>>> typed;
  Gate gate;

  template <class F>
  decltype(auto) visit(F&& f) {
    return std::visit([&](auto& pointer) -> decltype(auto) { return f(*pointer); }, typed);
  }
  const Layout& layout() {
    return visit([](auto& t) -> const Layout& { return t.network.layout; });
  }
  int typenum() const { return typed.index() == 0 ? NPY_FLOAT : NPY_DOUBLE; }
};

// Distinct types for Python; a Predictor is never written to.
struct PyNetwork : Handle {};
struct PyPredictor : Handle {};

// f() while nothing writes the parameters: with the GIL where `work` is small and no other thread
// trains, without it otherwise.
inline bool reads_without_gil(Handle& handle, double work) {
  return handle.gate.training() || work >= kReleaseWork;
}
template <class F>
auto read_network(Handle& handle, double work, F f) {
  if (!reads_without_gil(handle, work)) return f();
  const GilRelease release;
  const Gate::Reader reader(handle.gate);
  return f();
}

// Begins to write with the GIL held; gives it away while readers leave.
inline void begin_writing(Gate::Trainer& trainer) {
  if (trainer.try_begin()) return;
  const GilRelease release;
  trainer.begin();
}

// Adds predict and __call__ as raw methods: given to py::class_ as its custom_type_setup.
template <class H>
py::custom_type_setup predict_methods();

void bind_network(py::module_& module);
void bind_derivatives(py::class_<PyNetwork>& network, py::module_& module);
void bind_optimizer_state(py::module_& module);
void bind_descent(py::module_& module);
void bind_predictor(py::module_& module);
void bind_functions(py::module_& module);
void bind_combiner(py::module_& module);
void bind_events(py::module_& module);
void bind_sparse(py::module_& module);

}  // namespace chainrule::python
