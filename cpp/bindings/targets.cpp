#include "bindings/targets.h"

#include <algorithm>

#include "core/names.h"
#include "core/targets.h"

namespace chainrule::python {
namespace {

// In slices, so that Ctrl-C is answered.
template <class T>
TargetFaults faults_of(const Targets& y, const Layout& layout, bool finite, std::size_t first_row) {
  constexpr std::size_t kSlice = 4096;
  TargetFaults faults;
  const std::size_t rows = y.matrix.rows;
  for (std::size_t begin = 0; begin < rows; begin += kSlice) {
    const std::size_t end = std::min(begin + kSlice, rows);
    find_target_faults<T>(y, layout, begin, end, faults);
    if (finite && faults.nonfinite_row != kNoRow)
      refuse_nonfinite(first_row + faults.nonfinite_row, "y");
    if (end < rows && PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
  return faults;
}

// (row, column, value, 0, activation) of a value outside its range, (row, None, sum, rows,
// activation) of sums.
template <class T>
py::object concern_of(const TargetFaults& faults, const Layout& layout, std::size_t columns,
                      std::size_t first_row) {
  const Activation output = layout.layers.back().activation;
  const std::string name(name_of(output));
  if (faults.outside_row == kNoRow)
    return py::make_tuple(first_row + faults.sum_row, py::none(), number_text<float>(faults.sum),
                          faults.sum_rows, name);
  const py::object column = columns > 1 ? py::cast(faults.outside_column) : py::none();
  return py::make_tuple(first_row + faults.outside_row, column,
                        number_text<T>(faults.outside_value), 0, name);
}

}  // namespace

void refuse_nonfinite(std::size_t row, const char* name) {
  throw py::value_error("row " + std::to_string(row) + " of " + name +
                        " holds NaN, an infinity, or a number too large for the network's dtype; "
                        "clean the data before training, for instance with numpy.nan_to_num");
}

py::object check_targets(Handle& handle, const Batch& batch, bool finite, std::size_t first_row) {
  return handle.visit([&]<class T>(TypedNetwork<T>& typed) -> py::object {
    const Targets& y = batch.samples.y;
    const Layout& layout = typed.network.layout;
    const TargetFaults faults = faults_of<T>(y, layout, finite, first_row);
    if (faults.outside_row == kNoRow && faults.sum_row == kNoRow) return py::none();
    if (faults.outside_row != kNoRow && is_fused(layout.loss))
      throw py::value_error(refusal_of_targets<T>(y, layout, faults, first_row));
    return concern_of<T>(faults, layout, y.matrix.columns, first_row);
  });
}

void warn_of_targets(Handle& handle, const Batch& batch, bool finite) {
  const py::object concern = check_targets(handle, batch, finite);
  if (concern.is_none()) return;
  const py::object warn = py::module_::import("chainrule.inputs.targets").attr("warn_of");
  const auto done = py::reinterpret_steal<py::object>(
      or_stay([&] { return PyObject_CallOneArg(warn.ptr(), concern.ptr()); }));
  if (!done) throw py::error_already_set();
}

}  // namespace chainrule::python
