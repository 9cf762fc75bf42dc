// NEON, which every AArch64 processor has: 4 floats or 2 doubles at a time.
#define CHAINRULE_ISA neon
#define CHAINRULE_VECTOR_BYTES 16
#include "kernels/generic.h"
#include "kernels/tables.h"

namespace chainrule {

const IsaTable neon_table = {"neon", neon::make_table<float>(), neon::make_table<double>()};

}  // namespace chainrule
