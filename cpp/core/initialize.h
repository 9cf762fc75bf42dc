// Initial weights: drawn in float64 from Philox, row-major over W^l, then rounded.
#pragma once

#include <cstdint>

#include "core/layout.h"
#include "kernels/lists.h"

namespace chainrule {

#define CHAINRULE_INITIALIZERS(X) \
  X(glorot_uniform)               \
  X(glorot_normal)                \
  X(he_uniform)                   \
  X(he_normal)                    \
  X(lecun_normal)                 \
  X(zeros)
CHAINRULE_LIST(Initializer, CHAINRULE_INITIALIZERS);

// W^l of `layer` (counted from 1), in the parameter buffer at `parameters`.
template <class T>
void initialize(T* parameters, const Layer& layer, Initializer scheme, std::uint64_t seed,
                std::uint64_t l);

}  // namespace chainrule
