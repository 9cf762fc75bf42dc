#include "model/json.h"

#include <algorithm>
#include <limits>

#include "chainrule/model.h"

namespace chainrule::json {
namespace {

constexpr int kDepth = 8;  // model files need three

class Parser {
 public:
  Parser(std::string_view text, std::string_view what) : text_(text), what_(what) {}

  Value document() {
    Value value = parse_value(0);
    skip_space();
    if (at_ != text_.size()) fail("more than one value");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& found) const {
    throw LoadError("its " + std::string(what_) + " has " + found + " at byte " +
                    std::to_string(at_));
  }

  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != text_.npos) ++at_;
  }

  // The next character that is no space; '\0' at the end.
  char peek() {
    skip_space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  void expect(char c) {
    if (peek() != c) fail(std::string("no '") + c + "'");
    ++at_;
  }

  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Value parse_value(int depth) {
    if (depth > kDepth) fail("values nested too deeply");
    switch (peek()) {
      case '{':
        return parse_object(depth);
      case '[':
        return parse_array(depth);
      case '"':
        return Value(parse_string());
      default:
        if (take("true")) return Value(true);
        if (take("false")) return Value(false);
        return Value(parse_integer());
    }
  }

  Value parse_object(int depth) {
    Object object;
    std::vector<std::string> names;
    expect('{');
    if (peek() != '}') {
      do {
        if (peek() != '"') fail("no name");
        std::string name = parse_string();
        expect(':');
        names.push_back(name);
        object.emplace_back(std::move(name), parse_value(depth + 1));
      } while (peek() == ',' && ++at_);
    }
    expect('}');
    std::sort(names.begin(), names.end());
    if (std::adjacent_find(names.begin(), names.end()) != names.end())
      fail("two entries of one name, in an object that ends");
    return Value(std::move(object));
  }

  Value parse_array(int depth) {
    Array array;
    expect('[');
    if (peek() != ']') {
      do {
        array.push_back(parse_value(depth + 1));
      } while (peek() == ',' && ++at_);
    }
    expect(']');
    return Value(std::move(array));
  }

  std::uint64_t parse_integer() {
    const std::size_t begin = at_;
    std::uint64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      const auto digit = static_cast<std::uint64_t>(text_[at_] - '0');
      constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
      if (value > (kMost - digit) / 10) fail("a number that is too large");
      value = value * 10 + digit;
    }
    if (at_ == begin) fail("something else than was expected");
    if (at_ - begin > 1 && text_[begin] == '0') fail("a number that begins with 0");
    if (at_ < text_.size() && std::string_view(".eE").find(text_[at_]) != text_.npos)
      fail("a number that is no integer");
    return value;
  }

  std::string parse_string() {
    std::string value;
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      const char c = text_[at_];
      if (static_cast<unsigned char>(c) < 0x20) fail("a control character in a string");
      if (c == '\\') {
        ++at_;
        value += escaped();
      } else {
        value += c;
      }
    }
    if (at_ == text_.size()) fail("a string without an end");
    ++at_;
    return value;
  }

  char escaped() const {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    switch (c) {
      case '"':
      case '\\':
      case '/':
        return c;
      case 'b':
        return '\b';
      case 'f':
        return '\f';
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      default:
        fail("an escape that no model file needs");
    }
  }

  std::string_view text_;
  std::string_view what_;
  std::size_t at_ = 0;
};

template <class T>
const T& get(const Value& value, std::string_view what, std::string_view kind) {
  if (const T* found = std::get_if<T>(&value)) return *found;
  throw LoadError("its " + std::string(what) + " is not " + std::string(kind));
}

}  // namespace

bool Value::boolean(std::string_view what) const { return get<bool>(*this, what, "true or false"); }
std::uint64_t Value::integer(std::string_view what) const {
  return get<std::uint64_t>(*this, what, "an integer >= 0");
}
const std::string& Value::text(std::string_view what) const {
  return get<std::string>(*this, what, "a string");
}
const Array& Value::array(std::string_view what) const {
  return get<Array>(*this, what, "an array");
}
const Object& Value::object(std::string_view what) const {
  return get<Object>(*this, what, "an object");
}

const Value& member(const Object& object, std::string_view name, std::string_view what) {
  for (const auto& [key, value] : object)
    if (key == name) return value;
  throw LoadError("its " + std::string(what) + " lacks " + std::string(name));
}

Value parse(std::string_view text, std::string_view what) { return Parser(text, what).document(); }

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x20 || code > 0x7e)
      throw LoadError("its metadata hold characters that are not ASCII");
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + '"';
}

}  // namespace chainrule::json
