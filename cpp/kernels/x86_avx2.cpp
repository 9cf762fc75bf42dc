// AVX2 with FMA: 8 floats or 4 doubles at a time. Compiled with -mavx2 -mfma.
#define CHAINRULE_ISA avx2
#define CHAINRULE_VECTOR_BYTES 32
#include "kernels/generic.h"
#include "kernels/tables.h"

namespace chainrule {

const IsaTable avx2_table = {"avx2", avx2::make_table<float>(), avx2::make_table<double>()};

}  // namespace chainrule
