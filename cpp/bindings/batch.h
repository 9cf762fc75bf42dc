// Samples, targets and weights of one call.
#pragma once

#include "bindings/handle.h"

namespace chainrule::python {

// Samples whose arrays stay alive as long as this does.
struct Batch {
  Input x;
  TargetInput y;
  WeightInput weights;
  Samples samples;
  double work = 0;
  Pin pins[3];

  Batch(Handle& handle, const py::object& x_object, const py::object& y_object,
        const py::object& weight_object, bool convert = true)
      : x(view_rows(x_object.ptr(), handle.layout().n_inputs(), handle.typenum(), "x", convert)),
        y(view_targets(y_object.ptr(), handle.layout(), x.matrix.rows, x.is_vector,
                       handle.typenum(), convert)),
        weights(view_weights(weight_object.ptr(), x.matrix.rows)) {
    if (x.matrix.rows == 0)
      throw py::value_error("x has no rows: a cost is a mean over at least one sample");
    samples = {x.matrix, y.targets, weights.data, nullptr};
    pins[0] = Pin(x.array);
    pins[1] = Pin(y.array);
    pins[2] = Pin(weights.array);
    work =
        3.0 * static_cast<double>(x.matrix.rows) * static_cast<double>(handle.layout().multiplies);
  }
};

}  // namespace chainrule::python
