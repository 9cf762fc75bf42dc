// What each ISA file exports: one table, best ISA first in dispatch.cpp.
#pragma once

#include "kernels/kernels.h"

namespace chainrule {

struct IsaTable {
  const char* name;
  Kernels<float> float32;
  Kernels<double> float64;
};

extern const IsaTable scalar_table;
extern const IsaTable avx2_table;
extern const IsaTable avx512_table;
extern const IsaTable neon_table;

}  // namespace chainrule
