// The activation functions g^l: the one list that the kernels, the core and Python read.
// Their formulas and derivatives are in kernels/activations.h.
#pragma once

#include <string_view>

namespace chainrule {

#define CHAINRULE_ACTIVATIONS(X) \
  X(identity)                    \
  X(sigmoid)                     \
  X(tanh)                        \
  X(relu)                        \
  X(leaky_relu)                  \
  X(elu)                         \
  X(selu)                        \
  X(softplus)                    \
  X(silu)                        \
  X(gelu)                        \
  X(softmax)

enum class Activation {
#define X(name) name,
  CHAINRULE_ACTIVATIONS(X)
#undef X
};

inline constexpr std::string_view kActivationNames[] = {
#define X(name) #name,
    CHAINRULE_ACTIVATIONS(X)
#undef X
};

// The derivative of most activations follows from a = g(z) alone; these two need z itself.
constexpr bool derivative_needs_z(Activation g) {
  return g == Activation::silu || g == Activation::gelu;
}

}  // namespace chainrule
