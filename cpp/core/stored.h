// The stored elements of sparse samples as the kernels read them: row by row for the forward
// product, column by column for ∇W. A copy, so that what is checked cannot change.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/data.h"
#include "kernels/kernels.h"

namespace chainrule {

template <class T>
class StoredSamples {
 public:
  // Makes room for `count` rows, of which row(i) is the i-th.
  template <class RowOf>
  void plan(const Matrix& matrix, std::size_t count, RowOf row) {
    ranges_.resize(count);
    starts_.resize(count + 1);
    Size stored = 0;
    for (std::size_t i = 0; i < count; ++i) {
      ranges_[i] = stored_range(matrix, row(i));
      // Rows have no element in common, unless another thread changes where they start.
      ranges_[i].count =
          std::min(ranges_[i].count, matrix.stored - static_cast<std::size_t>(stored));
      starts_[i] = stored;
      stored += static_cast<Size>(ranges_[i].count);
    }
    starts_[count] = stored;
    grow(static_cast<std::size_t>(stored));
  }

  // Reads the elements of the planned rows [begin, end). Threads may share them.
  void read(const Matrix& matrix, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      const auto at = static_cast<std::size_t>(starts_[i]);
      read_stored(matrix, ranges_[i], columns_.data() + at, values_.data() + at);
    }
  }

  StoredRows<T> rows(std::size_t begin = 0) const {
    return {starts_.data() + begin, columns_.data(), values_.data()};
  }

  // Sorts the elements of the rows [first, first + count) by column: the columns that have a number
  // other than 0, or all n of them. Samples count from `first`.
  void sort_by_column(std::size_t n, bool every_column, std::size_t first, std::size_t count);
  std::size_t column_count() const { return touched_.size(); }
  StoredColumns<T> by_column() const {
    return {touched_.data(), column_starts_.data(), samples_.data(), column_values_.data()};
  }

 private:
  void grow(std::size_t stored);

  std::vector<StoredRange> ranges_;
  std::vector<Size> starts_;
  std::vector<Size> columns_;
  std::vector<T> values_;

  std::vector<Size> touched_;
  std::vector<Size> column_starts_;
  std::vector<Size> samples_;
  std::vector<T> column_values_;
  std::vector<std::uint32_t> place_;  // of each column among the touched ones, from 1; 0: none
};

}  // namespace chainrule
