#include "core/architecture.h"

#include <stdexcept>
#include <string>

#include "core/names.h"

namespace chainrule {
namespace {

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument(why); }

std::string quoted(auto member) { return std::string("'").append(name_of(member)).append("'"); }

}  // namespace

void check(const Architecture& architecture) {
  const auto& [sizes, activations, loss, has_bias] = architecture;
  if (sizes.size() < 2)
    refuse("sizes has " + std::to_string(sizes.size()) +
           " entries, expected the input width and at least one layer's width");
  const std::size_t layers = sizes.size() - 1;
  if (activations.size() != layers)
    refuse(std::to_string(activations.size()) + " activations for " + std::to_string(layers) +
           " layers: give one name, or one per layer");
  for (std::size_t l = 0; l + 1 < layers; ++l)
    if (activations[l] == Activation::softmax)
      refuse("the activation of layer " + std::to_string(l + 1) + " of " + std::to_string(layers) +
             " is softmax, which is for the last layer only");
  if (const auto output = fused_output(loss); output && activations.back() != *output)
    refuse("loss " + quoted(loss) + " needs a " + quoted(*output) + " output, got " +
           quoted(activations.back()));
}

std::size_t parse_size(std::size_t place, std::ptrdiff_t size) {
  if (size < 1)
    refuse("sizes[" + std::to_string(place) + "] is " + std::to_string(size) +
           ", expected at least 1 neuron");
  return static_cast<std::size_t>(size);
}

bool is_float64(std::string_view dtype) {
  if (dtype != "float32" && dtype != "float64")
    refuse("dtype is '" + std::string(dtype) + "', expected 'float32' or 'float64'");
  return dtype == "float64";
}

}  // namespace chainrule
