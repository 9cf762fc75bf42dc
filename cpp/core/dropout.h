// Inverted dropout (Srivastava et al., "Dropout: a simple way to prevent neural networks from
// overfitting", 2014). While a network trains, each unit of the hidden layer l is left out with
// probability p_l, and what the others say is divided by 1 - p_l:
//
//   ã^l = a^l ⊙ f^l,  f_j = 0 or 1 / (1 - p_l)     takes the place of a^l in the layer above
//   ∂C/∂a^l = (W^{l+1})ᵀ δ^{l+1} ⊙ f^l
#pragma once

#include <cstdint>
#include <span>

#include "kernels/kernels.h"

namespace chainrule {

// Which units are left out is a function of the seed, the epoch, a sample's place in it, the layer
// and the unit: of nothing that batches or threads could change.
struct Dropout {
  std::span<const double> rates;  // p of each hidden layer, in [0, 1); empty: 0
  std::uint64_t seed = 0;
  std::uint64_t epoch = 0;
  std::uint64_t first_sample = 0;  // how many of the epoch's samples came before these

  // p of layer l, from 0.
  double rate(std::size_t l) const { return l < rates.size() ? rates[l] : 0.0; }
  DropoutMask mask(std::size_t l, std::uint64_t sample) const;
};

}  // namespace chainrule
