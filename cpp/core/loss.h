// The costs C of one sample: the one list that the kernels, the core and Python read.
// Their formulas and derivatives are in kernels/losses.h.
#pragma once

#include <cstddef>
#include <string_view>

#include "core/activation.h"

namespace chainrule {

#define CHAINRULE_LOSSES(X) \
  X(half_mse)               \
  X(sse)                    \
  X(mse)                    \
  X(mae)                    \
  X(huber)                  \
  X(cross_entropy)          \
  X(binary_cross_entropy)

enum class Loss {
#define X(name) name,
  CHAINRULE_LOSSES(X)
#undef X
};

inline constexpr std::string_view kLossNames[] = {
#define X(name) #name,
    CHAINRULE_LOSSES(X)
#undef X
};

// The fused pairs give δ^L = ∂C/∂z^L directly, without the quotient that ∂C/∂a would need.
constexpr bool is_fused(Loss loss) {
  return loss == Loss::cross_entropy || loss == Loss::binary_cross_entropy;
}

// The output activation that a fused loss demands.
constexpr Activation fused_output(Loss loss) {
  return loss == Loss::cross_entropy ? Activation::softmax : Activation::sigmoid;
}

// How many classes the targets of a fused loss tell apart with n outputs: all n together, or two by
// each of them.
constexpr std::size_t n_classes(Loss loss, std::size_t n) {
  return loss == Loss::cross_entropy ? n : 2;
}

}  // namespace chainrule
