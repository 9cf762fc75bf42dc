// The part of JSON that model files use: objects without duplicate names, arrays, strings, true,
// false, and integers from 0 to 2^64 - 1. Everything else is refused.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace chainrule::json {

struct Value;
using Array = std::vector<Value>;
using Object = std::vector<std::pair<std::string, Value>>;  // in the order of the text

struct Value : std::variant<bool, std::uint64_t, std::string, Array, Object> {
  using variant::variant;

  // The parts, or LoadError that says what `what` should have been.
  bool boolean(std::string_view what) const;
  std::uint64_t integer(std::string_view what) const;
  const std::string& text(std::string_view what) const;
  const Array& array(std::string_view what) const;
  const Object& object(std::string_view what) const;
};

// The value of a name, or LoadError; `what` names the object in it.
const Value& member(const Object& object, std::string_view name, std::string_view what);

// The whole text is one value; spaces around it are allowed. LoadError if it is not.
Value parse(std::string_view text, std::string_view what);

// The text in quotes, as Python's json.dumps writes it. Refuses (LoadError) what is not ASCII.
std::string quoted(std::string_view text);

}  // namespace chainrule::json
