// The numbers that an activation can give.
#pragma once

#include <limits>

#include "core/activation.h"

namespace chainrule {

// The numbers in [low, high]; an infinite bound is none.
struct OutputRange {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
};

// The closed range of g, as wide as its outputs of either type are: irrational bounds are rounded
// down. They are -λα = -1.7580993… of selu, and the minima -0.2784645… of silu and -0.1699712… of
// gelu.
constexpr OutputRange output_range(Activation g) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  switch (g) {
    case Activation::sigmoid:
    case Activation::softmax:
      return {0, 1};
    case Activation::tanh:
      return {-1, 1};
    case Activation::relu:
    case Activation::softplus:
      return {0, infinity};
    case Activation::elu:
      return {-1, infinity};
    case Activation::selu:
      return {-1.7581, infinity};
    case Activation::silu:
      return {-0.2785, infinity};
    case Activation::gelu:
      return {-0.17, infinity};
    case Activation::identity:
    case Activation::leaky_relu:
      break;
  }
  return {};
}

}  // namespace chainrule
