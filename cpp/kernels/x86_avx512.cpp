// AVX-512 (F, DQ, BW, VL): 16 floats or 8 doubles at a time.
#define CHAINRULE_ISA avx512
#define CHAINRULE_VECTOR_BYTES 64
#include "kernels/generic.h"
#include "kernels/tables.h"

namespace chainrule {

const IsaTable avx512_table = {"avx512", avx512::make_table<float>(), avx512::make_table<double>()};

}  // namespace chainrule
