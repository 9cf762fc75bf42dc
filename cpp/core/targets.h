// Targets that a loss cannot mean: what a cost of them would not say, and how to mend them.
#pragma once

#include <cstddef>
#include <string>

#include "core/data.h"
#include "core/layout.h"

namespace chainrule {

inline constexpr std::size_t kNoRow = static_cast<std::size_t>(-1);

// A row of probabilities may be off 1 by this much.
inline constexpr double kSumTolerance = 1e-3;

// The first row of each kind; kNoRow where there is none.
struct TargetFaults {
  // NaN, an infinity, or a number that does not fit into T.
  std::size_t nonfinite_row = kNoRow;
  // A number that the output activation cannot give.
  std::size_t outside_row = kNoRow;
  std::size_t outside_column = 0;
  double outside_value = 0;
  // With cross_entropy, entries in [0, 1] whose sum is not 1.
  std::size_t sum_row = kNoRow;
  double sum = 0;
  std::size_t sum_rows = 0;  // how many there are
};

// Adds what rows [begin, end) of y hold, as the network's T, to `faults`. Labels have no faults
// here.
template <class T>
void find_target_faults(const Targets& y, const Layout& layout, std::size_t begin, std::size_t end,
                        TargetFaults& faults);

// The shortest text that gives `value` back as a T.
template <class T>
std::string number_text(double value);

// Why a fused loss refuses the target outside [0, 1] that `faults` names, and what to pass instead.
// The rows are counted from `first_row`.
template <class T>
std::string refusal_of_targets(const Targets& y, const Layout& layout, const TargetFaults& faults,
                               std::size_t first_row = 0);

}  // namespace chainrule
