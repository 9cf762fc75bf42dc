// Initial weights: drawn in float64 from Philox, row-major over W^l, then rounded.
#pragma once

#include <cstdint>

#include "core/layout.h"
#include "kernels/lists.h"

namespace chainrule {

// By name, distribution, and the limit of the uniform or the standard deviation of the normal
// distribution. A row is the whole definition of an initializer.
#define CHAINRULE_INITIALIZERS(X)                               \
  X(glorot_uniform, uniform, std::sqrt(6 / (fan_in + fan_out))) \
  X(glorot_normal, normal, std::sqrt(2 / (fan_in + fan_out)))   \
  X(he_uniform, uniform, std::sqrt(6 / fan_in))                 \
  X(he_normal, normal, std::sqrt(2 / fan_in))                   \
  X(lecun_normal, normal, std::sqrt(1 / fan_in))                \
  X(zeros, constant, 0.0)
CHAINRULE_LIST(Initializer, CHAINRULE_INITIALIZERS);

// W^l of `layer` (counted from 1), in the parameter buffer at `parameters`.
template <class T>
void initialize(T* parameters, const Layer& layer, Initializer scheme, std::uint64_t seed,
                std::uint64_t l);

}  // namespace chainrule
