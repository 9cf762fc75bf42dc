#include "core/stored.h"

#include <algorithm>
#include <numeric>

namespace chainrule {

template <class T>
void StoredSamples<T>::grow(std::size_t stored) {
  if (stored <= columns_.size() && stored <= values_.size()) return;
  // By half more, as the next chunk may have a few more elements.
  const std::size_t room = stored + stored / 2;
  columns_.resize(room);
  values_.resize(room);
}

template <class T>
void StoredSamples<T>::sort_by_column(std::size_t n, bool every_column, std::size_t first,
                                      std::size_t count) {
  place_.resize(n);
  touched_.clear();
  const auto begin = static_cast<std::size_t>(starts_[first]);
  const auto end = static_cast<std::size_t>(starts_[first + count]);
  // Before the first place is marked: what is short of memory then leaves none behind.
  touched_.reserve(every_column ? n : std::min(n, end - begin));
  column_starts_.reserve((every_column ? n : std::min(n, end - begin)) + 2);
  samples_.resize(end - begin);
  column_values_.resize(end - begin);
  if (every_column) {
    touched_.resize(n);
    std::iota(touched_.begin(), touched_.end(), Size{0});
    std::iota(place_.begin(), place_.end(), std::uint32_t{1});
  }
  column_starts_.assign(touched_.size() + 2, 0);
  // A stored 0 touches nothing, and adds nothing. Element counts go two places up: the starts are
  // then sums, and filling the columns moves them to where they belong.
  for (std::size_t e = begin; e < end; ++e) {
    if (values_[e] == T(0)) continue;
    std::uint32_t& place = place_[static_cast<std::size_t>(columns_[e])];
    if (place == 0) {
      touched_.push_back(columns_[e]);
      column_starts_.push_back(0);
      place = static_cast<std::uint32_t>(touched_.size());
    }
    ++column_starts_[place + 1];
  }
  std::partial_sum(column_starts_.begin(), column_starts_.end(), column_starts_.begin());
  for (std::size_t row = 0; row < count; ++row) {
    for (auto e = static_cast<std::size_t>(starts_[first + row]);
         e < static_cast<std::size_t>(starts_[first + row + 1]); ++e) {
      if (values_[e] == T(0)) continue;
      const auto at =
          static_cast<std::size_t>(column_starts_[place_[static_cast<std::size_t>(columns_[e])]]++);
      samples_[at] = static_cast<Size>(row);
      column_values_[at] = values_[e];
    }
  }
  for (const Size column : touched_) place_[static_cast<std::size_t>(column)] = 0;
}

template class StoredSamples<float>;
template class StoredSamples<double>;

}  // namespace chainrule
