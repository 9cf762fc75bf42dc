#include "core/targets.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <vector>

#include "core/names.h"

namespace chainrule {
namespace {

template <class T>
constexpr T kMax = std::numeric_limits<T>::max();

// A range without the infinities, so that a comparison refuses them, and NaN.
template <class T>
struct Bounds {
  T low, high;

  explicit Bounds(OutputRange range)
      : low(std::isinf(range.low) ? -kMax<T> : static_cast<T>(range.low)),
        high(std::isinf(range.high) ? kMax<T> : static_cast<T>(range.high)) {}

  bool hold(T value) const { return value >= low && value <= high; }

  bool hold(const T* values, std::size_t n) const {
    unsigned outside = 0;
    for (std::size_t i = 0; i < n; ++i)
      outside |=
          static_cast<unsigned>(!(values[i] >= low)) | static_cast<unsigned>(!(values[i] <= high));
    return outside == 0;
  }
};

// Reads rows one after the other as T: where they lie, or converted.
template <class T>
class RowReader {
 public:
  explicit RowReader(const Matrix& matrix)
      : matrix_(matrix), direct_(is_direct<T>(matrix)), row_(direct_ ? 0 : matrix.columns) {}

  const T* operator()(std::size_t row) {
    if (direct_) {
      const Rows<T> rows = direct_rows<T>(matrix_);
      return rows.data + static_cast<std::ptrdiff_t>(row) * rows.stride;
    }
    read_row(matrix_, row, row_.data());
    return row_.data();
  }

 private:
  const Matrix& matrix_;
  bool direct_;
  std::vector<T> row_;
};

// Several chains, which the compiler makes vectors of.
template <class T>
double sum_of(const T* values, std::size_t n) {
  constexpr std::size_t kChains = 8;
  T chains[kChains] = {};
  std::size_t i = 0;
  for (; i + kChains <= n; i += kChains)
    for (std::size_t k = 0; k < kChains; ++k) chains[k] += values[i + k];
  double sum = 0;
  for (; i < n; ++i) sum += static_cast<double>(values[i]);
  for (const T chain : chains) sum += static_cast<double>(chain);
  return sum;
}

// Enters a row that is not within the bounds.
template <class T>
void enter_outside(const T* y, std::size_t n, std::size_t row, Bounds<T> bounds,
                   TargetFaults& faults) {
  for (std::size_t j = 0; j < n; ++j) {
    if (bounds.hold(y[j])) continue;
    if (!std::isfinite(y[j])) {
      faults.nonfinite_row = std::min(faults.nonfinite_row, row);
    } else if (faults.outside_row == kNoRow) {
      faults.outside_row = row;
      faults.outside_column = j;
      faults.outside_value = static_cast<double>(y[j]);
    }
  }
}

bool sums_to_one(Loss loss) { return loss == Loss::cross_entropy; }

// Whether every number of a type lies in a range, whatever it is.
bool holds_all(OutputRange range, ElementType type) {
  if (type == ElementType::boolean) return true;  // 0 and 1, which every activation can give
  const bool real = type == ElementType::float32 || type == ElementType::float64;
  return !real && std::isinf(range.low) && std::isinf(range.high);
}

// The least and greatest number of the rows from `begin` on, as far as they are looked at.
struct Spread {
  double least = std::numeric_limits<double>::infinity();
  double greatest = -std::numeric_limits<double>::infinity();
  bool integers = true;
  bool signs = true;  // all are -1 or 1

  bool only_rounded() const { return least >= -1e-3 && greatest <= 1 + 1e-3; }

  template <class T>
  static Spread of(const Matrix& matrix, std::size_t begin) {
    constexpr std::size_t kRows = 4096;
    Spread spread;
    RowReader<T> rows(matrix);
    for (std::size_t i = begin; i < std::min(begin + kRows, matrix.rows); ++i) {
      const T* const row = rows(i);
      for (std::size_t j = 0; j < matrix.columns; ++j) spread.add(static_cast<double>(row[j]));
    }
    return spread;
  }

  void add(double value) {
    least = std::min(least, value);
    greatest = std::max(greatest, value);
    integers &= value == std::floor(value);
    signs &= std::abs(value) == 1;
  }
};

constexpr const char* kClip = "if that is rounding, cut it off with numpy.clip(y, 0, 1)";

std::string mend_of_binary(const Spread& spread) {
  if (spread.only_rounded()) return kClip;
  if (spread.signs) return "make -1 and 1 into 0 and 1 with (y + 1) / 2";
  if (spread.integers && spread.least >= 1 && spread.greatest <= 2)
    return "make 1 and 2 into 0 and 1 with y - 1";
  if (spread.integers && spread.least >= 0 && spread.greatest <= 255)
    return "scale 0 ... 255 with y / 255; for classes counted from 0 take cross_entropy and labels";
  return "apply a sigmoid to logits first; for values of another range take the loss 'mse' and the "
         "output activation 'identity'";
}

std::string mend_of_classes(const Spread& spread) {
  if (spread.only_rounded()) return kClip;
  if (spread.signs) return "make -1 and 1 into 0 and 1 with (y + 1) / 2";
  if (spread.least >= 0)
    return "divide amounts by their sum, as in y / y.sum(axis=1, keepdims=True); pass labels, "
           "counted from 0, as integers of shape (n,)";
  return "apply softmax to logits first; for values of another range take the loss 'mse' and the "
         "output activation 'identity'";
}

}  // namespace

template <class T>
void find_target_faults(const Targets& y, const Layout& layout, std::size_t begin, std::size_t end,
                        TargetFaults& faults) {
  const Matrix& matrix = y.matrix;
  const OutputRange range = output_range(layout.layers.back().activation);
  const bool sums = sums_to_one(layout.loss);
  if (y.labels || (!sums && holds_all(range, matrix.type))) return;
  const std::size_t n = matrix.columns;
  const Bounds<T> within(range), finite((OutputRange()));
  RowReader<T> rows(matrix);
  for (std::size_t i = begin; i < end; ++i) {
    const T* const row = rows(i);
    // One number outside is named: of the rows after it, that they are finite.
    const Bounds<T>& bounds = faults.outside_row == kNoRow ? within : finite;
    if (!bounds.hold(row, n)) {
      enter_outside(row, n, i, bounds, faults);
    } else if (sums) {
      const double sum = sum_of(row, n);
      if (std::abs(sum - 1) <= kSumTolerance) continue;
      if (faults.sum_rows++ == 0) {
        faults.sum_row = i;
        faults.sum = sum;
      }
    }
  }
}

template <class T>
std::string number_text(double value) {
  char text[32];
  for (int digits = 6; digits <= 17; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    if (static_cast<T>(std::strtod(text, nullptr)) == static_cast<T>(value)) break;
  }
  return text;
}

template <class T>
std::string refusal_of_targets(const Targets& y, const Layout& layout, const TargetFaults& faults,
                               std::size_t first_row) {
  const auto name = name_of(layout.loss);
  const Spread spread = Spread::of<T>(y.matrix, faults.outside_row);
  const std::string column =
      y.matrix.columns > 1 ? ", column " + std::to_string(faults.outside_column) : "";
  return "row " + std::to_string(first_row + faults.outside_row) + column + " of y is " +
         number_text<T>(faults.outside_value) + ", expected probabilities in [0, 1] with " +
         std::string(name) + ": " +
         (sums_to_one(layout.loss) ? mend_of_classes(spread) : mend_of_binary(spread));
}

template void find_target_faults<float>(const Targets&, const Layout&, std::size_t, std::size_t,
                                        TargetFaults&);
template void find_target_faults<double>(const Targets&, const Layout&, std::size_t, std::size_t,
                                         TargetFaults&);
template std::string number_text<float>(double);
template std::string number_text<double>(double);
template std::string refusal_of_targets<float>(const Targets&, const Layout&, const TargetFaults&,
                                               std::size_t);
template std::string refusal_of_targets<double>(const Targets&, const Layout&, const TargetFaults&,
                                                std::size_t);

}  // namespace chainrule
