// One element at a time: the executable specification of every kernel, and the fallback.
#define CHAINRULE_ISA scalar
#define CHAINRULE_VECTOR_BYTES 0
#include "kernels/generic.h"
#include "kernels/tables.h"

namespace chainrule {

const IsaTable scalar_table = {"scalar", scalar::make_table<float>(), scalar::make_table<double>()};

}  // namespace chainrule
