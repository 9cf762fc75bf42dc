#include "core/data.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

namespace chainrule {
namespace {

// Calls f with a value of the matrix's element type.
template <class F>
auto with_element_type(ElementType type, F f) {
  switch (type) {
#define X(name, type_name) \
  case ElementType::name:  \
    return f(type_name());
    CHAINRULE_ELEMENT_TYPES(X)
#undef X
  }
  return f(float());
}

template <class Source>
Source element(const std::byte* at) {
  // Any byte but 0 is true, and a C++ bool may not be made of it.
  if constexpr (std::is_same_v<Source, bool>) {
    return *at != std::byte{0};
  } else {
    Source value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
}

template <class T>
bool is_finite(T value) {
  return value - value == T(0);
}

// f(column, value) for every stored element of a row, in order.
template <class F>
void for_each_stored(const Matrix& matrix, const StoredRange& range, F f) {
  const Indices places = matrix.places;
  const std::byte* const data = matrix.data;
  with_element_type(matrix.type, [&](auto source) {
    using Source = decltype(source);
    for (std::size_t i = range.begin; i < range.begin + range.count; ++i)
      f(static_cast<std::size_t>(places[i]), element<Source>(data + i * sizeof(Source)));
  });
}

// Whether n contiguous numbers are finite: no exponent has all its bits set.
template <class T>
bool all_finite(const T* x, std::size_t n) {
  using Word = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  const Word infinity = std::bit_cast<Word>(std::numeric_limits<T>::infinity());
  Word bad = 0;
  for (std::size_t i = 0; i < n; ++i)
    bad |= static_cast<Word>((std::bit_cast<Word>(x[i]) & infinity) == infinity);
  return bad == 0;
}

}  // namespace

StoredRange stored_range(const Matrix& matrix, std::size_t row) {
  // Of a negative number the cast makes one that is too large.
  const auto bound = [&](std::size_t i) {
    return std::min(static_cast<std::size_t>(matrix.starts[i]), matrix.stored);
  };
  const std::size_t begin = bound(row);
  const std::size_t end = bound(row + 1);
  return {begin, end > begin ? end - begin : 0};
}

template <class T>
void read_stored(const Matrix& matrix, const StoredRange& range, std::ptrdiff_t* columns,
                 T* values) {
  for_each_stored(matrix, range, [&](std::size_t column, auto value) {
    const bool within = column < matrix.columns;
    *columns++ = within ? static_cast<std::ptrdiff_t>(column) : 0;
    *values++ = within ? static_cast<T>(value) : T(0);
  });
}

template <class T>
void read_row(const Matrix& matrix, std::size_t row, T* out) {
  const std::byte* at = matrix.data + static_cast<std::ptrdiff_t>(row) * matrix.row_stride;
  if (is_direct<T>(matrix)) {
    std::memcpy(out, at, matrix.columns * sizeof(T));
    return;
  }
  with_element_type(matrix.type, [&](auto source) {
    using Source = decltype(source);
    for (std::size_t j = 0; j < matrix.columns; ++j, at += matrix.column_stride)
      out[j] = static_cast<T>(element<Source>(at));
  });
}

void prefetch_row(const Matrix& matrix, std::size_t row) {
  constexpr std::ptrdiff_t line = 64;
  const auto size = with_element_type(
      matrix.type, [](auto source) { return static_cast<std::ptrdiff_t>(sizeof source); });
  if (matrix.column_stride != size) return;
  const std::byte* const at = matrix.data + static_cast<std::ptrdiff_t>(row) * matrix.row_stride;
  const std::ptrdiff_t bytes = static_cast<std::ptrdiff_t>(matrix.columns) * size;
  for (std::ptrdiff_t i = 0; i < bytes; i += line) __builtin_prefetch(at + i);
}

std::int64_t read_label(const Matrix& matrix, std::size_t row) {
  const std::byte* at = matrix.data + static_cast<std::ptrdiff_t>(row) * matrix.row_stride;
  return with_element_type(matrix.type, [&](auto source) -> std::int64_t {
    using Source = decltype(source);
    if constexpr (std::is_floating_point_v<Source>) {
      return -1;
    } else if constexpr (std::is_same_v<Source, std::uint64_t>) {
      const std::uint64_t label = element<Source>(at);
      return label > std::uint64_t{std::numeric_limits<std::int64_t>::max()}
                 ? -1
                 : static_cast<std::int64_t>(label);
    } else {
      const auto label = static_cast<std::int64_t>(element<Source>(at));
      return label < 0 ? -1 : label;
    }
  });
}

template <class T>
std::size_t first_nonfinite_row(const Matrix& matrix, std::size_t begin, std::size_t end) {
  if (matrix.is_sparse()) {
    for (std::size_t i = begin; i < end; ++i) {
      bool finite = true;
      for_each_stored(matrix, stored_range(matrix, i),
                      [&](std::size_t, auto value) { finite &= is_finite(static_cast<T>(value)); });
      if (!finite) return i;
    }
    return end;
  }
  if (is_direct<T>(matrix)) {
    const Rows<T> rows = direct_rows<T>(matrix);
    for (std::size_t i = begin; i < end; ++i)
      if (!all_finite(rows.data + static_cast<std::ptrdiff_t>(i) * rows.stride, matrix.columns))
        return i;
    return end;
  }
  return with_element_type(matrix.type, [&](auto source) {
    using Source = decltype(source);
    if constexpr (std::is_floating_point_v<Source>) {
      for (std::size_t i = begin; i < end; ++i) {
        const std::byte* at = matrix.data + static_cast<std::ptrdiff_t>(i) * matrix.row_stride;
        bool finite = true;
        for (std::size_t j = 0; j < matrix.columns; ++j, at += matrix.column_stride)
          finite &= is_finite(static_cast<T>(element<Source>(at)));
        if (!finite) return i;
      }
    }
    return end;
  });
}

template void read_row<float>(const Matrix&, std::size_t, float*);
template void read_row<double>(const Matrix&, std::size_t, double*);
template void read_stored<float>(const Matrix&, const StoredRange&, std::ptrdiff_t*, float*);
template void read_stored<double>(const Matrix&, const StoredRange&, std::ptrdiff_t*, double*);
template std::size_t first_nonfinite_row<float>(const Matrix&, std::size_t, std::size_t);
template std::size_t first_nonfinite_row<double>(const Matrix&, std::size_t, std::size_t);

}  // namespace chainrule
