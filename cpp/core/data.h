// Samples as they lie in a user's arrays: any strides, any real element type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace chainrule {

#define CHAINRULE_ELEMENT_TYPES(X) \
  X(boolean, bool)                 \
  X(int8, std::int8_t)             \
  X(int16, std::int16_t)           \
  X(int32, std::int32_t)           \
  X(int64, std::int64_t)           \
  X(uint8, std::uint8_t)           \
  X(uint16, std::uint16_t)         \
  X(uint32, std::uint32_t)         \
  X(uint64, std::uint64_t)         \
  X(float32, float)                \
  X(float64, double)

enum class ElementType {
#define X(name, type) name,
  CHAINRULE_ELEMENT_TYPES(X)
#undef X
};

// Integers of 32 or 64 bits.
struct Indices {
  const std::byte* data = nullptr;
  bool wide = false;

  std::int64_t operator[](std::size_t i) const {
    const auto read = [&](auto value) -> std::int64_t {
      std::memcpy(&value, data + i * sizeof value, sizeof value);
      return value;
    };
    return wide ? read(std::int64_t{}) : read(std::int32_t{});
  }
};

// A matrix that is read and never owned: dense, where strides count bytes and may be negative or
// zero, or sparse (CSR).
struct Matrix {
  const std::byte* data = nullptr;
  ElementType type{};
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::ptrdiff_t row_stride = 0;
  std::ptrdiff_t column_stride = 0;

  // CSR: `data` holds the `stored` elements, row after row, those of row r in [starts[r],
  // starts[r + 1]), and `places` the column of each. The arrays are the user's, and another thread
  // may change them: what is read is bounded whenever it is used.
  Indices starts{};
  Indices places{};
  std::size_t stored = 0;

  bool is_sparse() const { return starts.data != nullptr; }
};

// Where the stored elements of a row of a sparse matrix are, within its arrays whatever they hold.
struct StoredRange {
  std::size_t begin = 0;
  std::size_t count = 0;
};
StoredRange stored_range(const Matrix& matrix, std::size_t row);

// The columns and the values, converted to T, of the stored elements of a range. A column beyond
// the matrix, which another thread has put there, becomes column 0 with the value 0.
template <class T>
void read_stored(const Matrix& matrix, const StoredRange& range, std::ptrdiff_t* columns,
                 T* values);

// The rows of elements of T that a kernel can read where they lie.
template <class T>
struct Rows {
  const T* data = nullptr;
  std::ptrdiff_t stride = 0;  // elements
};

// True where the matrix's rows are contiguous elements of T.
template <class T>
bool is_direct(const Matrix& matrix) {
  constexpr auto type = sizeof(T) == 4 ? ElementType::float32 : ElementType::float64;
  constexpr auto size = static_cast<std::ptrdiff_t>(sizeof(T));
  return !matrix.is_sparse() && matrix.type == type &&
         (matrix.column_stride == size || matrix.columns <= 1) && matrix.row_stride % size == 0;
}

template <class T>
Rows<T> direct_rows(const Matrix& matrix) {
  return {reinterpret_cast<const T*>(matrix.data),
          matrix.row_stride / static_cast<std::ptrdiff_t>(sizeof(T))};
}

// Row `row`, converted to T, into the contiguous `out` (columns).
template <class T>
void read_row(const Matrix& matrix, std::size_t row, T* out);

// Asks the caches for a row that will be read soon, where it lies in one piece.
void prefetch_row(const Matrix& matrix, std::size_t row);

// The integer in row `row`, column 0, of a matrix of an integer type; -1 where it is negative or
// larger than any label can be.
std::int64_t read_label(const Matrix& matrix, std::size_t row);

// The first row of [begin, end) that holds NaN or an infinity, or one whose value does not
// fit into T; `end` where there is none.
template <class T>
std::size_t first_nonfinite_row(const Matrix& matrix, std::size_t begin, std::size_t end);

// y: values, or labels that stand for one-hot rows. With label smoothing ε, each y_j becomes
// (1 - ε) y_j + ε / n_classes.
struct Targets {
  Matrix matrix;
  bool labels = false;
  double label_smoothing = 0;
};

// Samples, their targets and, perhaps, their weights.
struct Samples {
  Matrix x;
  Targets y;
  const double* weights = nullptr;     // (rows)
  const std::size_t* order = nullptr;  // the row that comes i-th; null: row i

  std::size_t row(std::size_t i) const { return order != nullptr ? order[i] : i; }
  double weight(std::size_t i) const { return weights != nullptr ? weights[row(i)] : 1.0; }
};

}  // namespace chainrule
