// What there is of each kind, one row X(name, …) per member. A row gives the enumerator, the name
// that users write, the case of every switch and the place in every table. The formulas are
// specializations on the enumerators (activations.h, losses.h, updates.h), so that neither a row
// without its formula nor a formula without its row compiles.
#pragma once

#include <cstddef>
#include <limits>
#include <optional>
#include <string_view>

namespace chainrule {

template <class Enum>
struct Names;
template <class Enum>
inline constexpr const auto& kNames = Names<Enum>::in_order;

#define CHAINRULE_ENUMERATOR(name, ...) name,
#define CHAINRULE_NAME(name, ...) #name,
// The enum of a list, and its names in order.
#define CHAINRULE_LIST(Enum, ROWS)                                         \
  enum class Enum { ROWS(CHAINRULE_ENUMERATOR) };                          \
  template <>                                                              \
  struct Names<Enum> {                                                     \
    static constexpr std::string_view in_order[] = {ROWS(CHAINRULE_NAME)}; \
  }

// ---- Activations g: by name, whether g' is computed from a = g(z) or needs z itself, and the
// closed range of g ----
//
// The range is as wide as outputs of either type are: irrational bounds are rounded down. They are
// -λα = -1.7580993… of selu, and the minima -0.2784645… of silu and -0.1699712… of gelu.

inline constexpr double kUnbounded = std::numeric_limits<double>::infinity();

#define CHAINRULE_ACTIVATIONS(X)                 \
  X(identity, from_a, -kUnbounded, kUnbounded)   \
  X(sigmoid, from_a, 0, 1)                       \
  X(tanh, from_a, -1, 1)                         \
  X(relu, from_a, 0, kUnbounded)                 \
  X(leaky_relu, from_a, -kUnbounded, kUnbounded) \
  X(elu, from_a, -1, kUnbounded)                 \
  X(selu, from_a, -1.7581, kUnbounded)           \
  X(softplus, from_a, 0, kUnbounded)             \
  X(silu, from_z, -0.2785, kUnbounded)           \
  X(gelu, from_z, -0.17, kUnbounded)             \
  X(hardswish, from_z, -0.375, kUnbounded)       \
  X(softmax, from_a, 0, 1)
CHAINRULE_LIST(Activation, CHAINRULE_ACTIVATIONS);

constexpr bool derivative_needs_z(Activation g) {
  enum Source { from_a, from_z };
  constexpr Source sources[] = {
#define X(name, source, low, high) source,
      CHAINRULE_ACTIVATIONS(X)
#undef X
  };
  return sources[static_cast<std::size_t>(g)] == from_z;
}

// The numbers in [low, high]; an infinite bound is none.
struct OutputRange {
  double low, high;
};
constexpr OutputRange output_range(Activation g) {
  constexpr OutputRange ranges[] = {
#define X(name, source, low, high) {low, high},
      CHAINRULE_ACTIVATIONS(X)
#undef X
  };
  return ranges[static_cast<std::size_t>(g)];
}

// ---- Losses C: by name, and the output activation with which a fused loss makes a pair ----
//
// A fused pair gives δ^L = ∂C/∂z^L directly, without the quotient that ∂C/∂a would need.

#define CHAINRULE_LOSSES(X)             \
  X(half_mse, std::nullopt)             \
  X(sse, std::nullopt)                  \
  X(mse, std::nullopt)                  \
  X(mae, std::nullopt)                  \
  X(huber, std::nullopt)                \
  X(cross_entropy, Activation::softmax) \
  X(binary_cross_entropy, Activation::sigmoid)
CHAINRULE_LIST(Loss, CHAINRULE_LOSSES);

// The output activation that a fused loss requires; none for the losses that take any.
constexpr std::optional<Activation> fused_output(Loss loss) {
  constexpr std::optional<Activation> outputs[] = {
#define X(name, output) output,
      CHAINRULE_LOSSES(X)
#undef X
  };
  return outputs[static_cast<std::size_t>(loss)];
}
constexpr bool is_fused(Loss loss) { return fused_output(loss).has_value(); }

// How many classes the targets of a fused loss tell apart with n outputs: all n together, or two
// by each of them.
constexpr std::size_t n_classes(Loss loss, std::size_t n) {
  return fused_output(loss) == Activation::softmax ? n : 2;
}

// ---- Update rules: by name, and PyTorch's names of the running mean of g and of g² ----

#define CHAINRULE_RULES(X)             \
  X(sgd, "", "")                       \
  X(adam, "exp_avg", "exp_avg_sq")     \
  X(adamw, "exp_avg", "exp_avg_sq")    \
  X(rmsprop, "grad_avg", "square_avg") \
  X(adagrad, "", "sum")
CHAINRULE_LIST(Rule, CHAINRULE_RULES);

// ---- The functions of elementary.h that can be called alone, and so be tested alone ----

#define CHAINRULE_ELEMENTARY(X) \
  X(exp)                        \
  X(expm1)                      \
  X(log)                        \
  X(log1p)                      \
  X(tanh)                       \
  X(sigmoid)                    \
  X(softplus)                   \
  X(erf)                        \
  X(normal_cdf)                 \
  X(gelu)                       \
  X(gelu_derivative)            \
  X(silu)                       \
  X(silu_derivative)
CHAINRULE_LIST(ElementaryFunction, CHAINRULE_ELEMENTARY);

}  // namespace chainrule
