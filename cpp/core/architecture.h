// What a network is made of, and the one check of it.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "kernels/lists.h"

namespace chainrule {

struct Architecture {
  std::vector<std::size_t> sizes;       // n_0, n_1, ..., n_L
  std::vector<Activation> activations;  // g^1, ..., g^L
  Loss loss{};
  bool has_bias = true;
};

// Throws std::invalid_argument unless there is a layer, each layer has an activation, only the last
// one is softmax, and a fused loss has its output.
void check(const Architecture& architecture);

// sizes[place] from a number that a user gave; std::invalid_argument where it is less than 1.
std::size_t parse_size(std::size_t place, std::ptrdiff_t size);

// Whether a network has elements of float64, not float32; std::invalid_argument for other names.
bool is_float64(std::string_view dtype);

}  // namespace chainrule
