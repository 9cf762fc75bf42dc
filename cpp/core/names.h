// Members of the lists by the names that users write.
#pragma once

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>

#include "kernels/lists.h"

namespace chainrule {

template <class Enum>
constexpr std::string_view name_of(Enum member) {
  return kNames<Enum>[static_cast<std::size_t>(member)];
}

// The member called `name` of the list of `what`; std::invalid_argument, with all names, where
// there is none.
template <class Enum>
Enum parse_name(std::string_view name, std::string_view what) {
  const auto& names = kNames<Enum>;
  const auto* const found = std::find(std::begin(names), std::end(names), name);
  if (found != std::end(names)) return static_cast<Enum>(found - std::begin(names));
  std::string all;
  for (const std::string_view known : names) all.append(all.empty() ? "" : ", ").append(known);
  throw std::invalid_argument("unknown " + std::string(what) + " '" + std::string(name) +
                              "', expected one of " + all);
}

}  // namespace chainrule
