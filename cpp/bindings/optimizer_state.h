// The state of an optimiser, as Python holds it.
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <variant>

#include "bindings/gil.h"
#include "bindings/handle.h"
#include "core/optimizer.h"

namespace chainrule::python {

// Throws unless `number` is finite in T as well: infinities would reach the padding.
template <class T>
void check_number(const std::string& name, double number) {
  if (!std::isfinite(static_cast<T>(number)))
    throw py::value_error(name + " is " + std::to_string(number) +
                          ", expected a number that is finite in " +
                          (sizeof(T) == 4 ? "float32" : "float64"));
}

template <class T>
void check_rate(double rate) {
  if (!(rate >= 0))
    throw py::value_error("the learning rate is " + std::to_string(rate) +
                          ", expected a finite number that is not negative");
  check_number<T>("the learning rate", rate);
}

// f() while nothing else reads or writes the parameters; without the GIL where `work` is large.
template <class F>
void write_network(Handle& handle, double work, F f) {
  Gate::Trainer trainer(handle.gate);
  if (work < kReleaseWork) {
    begin_writing(trainer);
    f();
  } else {
    const GilRelease release;
    trainer.begin();
    f();
    trainer.end();
  }
}

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
  template <class T>
  void check_rate(double rate) const {
    python::check_rate<T>(rate);
    if (is_adam(rule))
      check_number<T>("the learning rate over 1 - beta1, Adam's first step size,",
                      rate / (1 - hyperparameters.beta1));
    if (rule == Rule::adamw)
      check_number<T>("the learning rate times weight_decay", rate * hyperparameters.weight_decay);
  }
};

}  // namespace chainrule::python
