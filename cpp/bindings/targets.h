// Targets that a loss cannot mean: refused, or warned of.
#pragma once

#include "bindings/batch.h"

namespace chainrule::python {

[[noreturn]] void refuse_nonfinite(std::size_t row, const char* name);

// Throws where the batch's loss refuses its targets and, if they must be `finite`, where they are
// not. Returns what the user is to be warned of: None, or what chainrule.inputs.targets.Concern is
// made of. Rows count from `first_row`.
py::object check_targets(Handle& handle, const Batch& batch, bool finite,
                         std::size_t first_row = 0);

// The same, and warns.
void warn_of_targets(Handle& handle, const Batch& batch, bool finite = false);

}  // namespace chainrule::python
