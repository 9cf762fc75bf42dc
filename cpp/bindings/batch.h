// Samples, targets and weights of one call.
#pragma once

#include "bindings/handle.h"
#include "core/names.h"

namespace chainrule::python {

// ε in [0, 1), which only losses between probabilities take; throws otherwise.
inline double check_label_smoothing(const py::object& value, Loss loss) {
  const double smoothing = PyFloat_AsDouble(value.ptr());
  if (PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    throw py::type_error("label_smoothing must be a number in [0, 1), got " +
                         std::string(py::repr(value)));
  }
  if (!(smoothing >= 0 && smoothing < 1))
    throw py::value_error("label_smoothing must lie in [0, 1), got " +
                          std::string(py::repr(value)));
  if (smoothing != 0 && !is_fused(loss))
    throw py::value_error(
        "label_smoothing needs cross_entropy or binary_cross_entropy, whose targets are "
        "probabilities; the loss is " +
        std::string(name_of(loss)));
  return smoothing;
}

// Samples whose arrays stay alive, and where they are, as long as this does. Each is pinned before
// the next one is looked at, which may run any code.
struct Batch {
  Input x;
  Pin x_pin;
  TargetInput y;
  Pin y_pin;
  WeightInput weights;
  Pin weights_pin;
  Samples samples;
  double work = 0;

  Batch(Handle& handle, const py::object& x_object, const py::object& y_object,
        const py::object& weight_object, bool convert = true, std::size_t first_row = 0)
      : x(view_samples(x_object.ptr(), handle.layout().n_inputs(), handle.typenum(), "x", convert)),
        x_pin(x.array),
        y(view_targets(y_object.ptr(), handle.layout(), x.matrix.rows, x.is_vector,
                       handle.typenum(), convert, first_row)),
        y_pin(y.array),
        weights(view_weights(weight_object.ptr(), x.matrix.rows)),
        weights_pin(weights.array) {
    if (x.matrix.rows == 0)
      throw py::value_error("x has no rows: a cost is a mean over at least one sample");
    samples = {x.matrix, y.targets, weights.data, nullptr};
    work = 3 * work_of(handle.layout(), x.matrix);
  }

  // Mixes the targets with what says nothing; see check_label_smoothing.
  void smooth(Handle& handle, const py::object& smoothing) {
    samples.y.label_smoothing = check_label_smoothing(smoothing, handle.layout().loss);
  }
};

}  // namespace chainrule::python
