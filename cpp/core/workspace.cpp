#include "core/workspace.h"

#include <limits>
#include <utility>

namespace chainrule {
namespace {

// Below so many outputs the strips of a are read too seldom to be worth their copy.
constexpr std::size_t kStripsFrom = 256;

// Lays views one after the other; the first round counts, the second hands out addresses.
template <class T>
class Carver {
 public:
  void start(T* base) {
    base_ = base;
    used_ = 0;
  }
  T* take(std::size_t rows, std::size_t stride) {
    if (stride != 0 && rows > (std::numeric_limits<std::size_t>::max() / 2 - used_) / stride)
      throw std::bad_alloc();
    T* const view = base_ == nullptr ? nullptr : base_ + used_;
    used_ += rows * stride;
    return view;
  }
  std::size_t used() const { return used_; }

 private:
  T* base_ = nullptr;
  std::size_t used_ = 0;
};

}  // namespace

template <class T>
Workspace<T>::Workspace(const Layout& layout, std::size_t capacity, unsigned extras)
    : rows(capacity), layers(layout.layers.size()) {
  const bool every_z = (extras & keep_every_z) != 0;
  const bool wants_dx = (extras & input_gradient) != 0;
  Carver<T> carver;
  const auto carve = [&] {
    y = carver.take(rows, layout.layers.back().stride);
    dx = wants_dx ? carver.take(rows, layout.input_stride) : nullptr;
    scale = carver.take(1, padded_stride<T>(rows));
    cost = carver.take(1, padded_stride<T>(rows));
    std::size_t input_stride = layout.input_stride;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const Layer& layer = layout.layers[l];
      LayerViews& views = layers[l];
      views.input_stride = input_stride;
      views.a = carver.take(rows, layer.stride);
      views.z = every_z || layer.keeps_z ? carver.take(rows, layer.stride) : views.a;
      views.delta = carver.take(rows, layer.stride);
      views.strips =
          layer.n_out >= kStripsFrom ? carver.take(rows, input_stride + kStrip) : nullptr;
      input_stride = layer.stride;
    }
  };
  carve();
  buffer_ = AlignedBuffer<T>(carver.used());
  carver.start(buffer_.data());
  carve();
}

template <class T>
void Workspace<T>::make_x(const Layout& layout) {
  if (x != nullptr) return;
  Carver<T> carver;
  carver.take(rows, layout.input_stride);
  x_ = AlignedBuffer<T>(carver.used());
  x = x_.data();
}

template <class T>
void Workspace<T>::make_dropped(const Layout& layout) {
  if (!dropped.empty()) return;
  Carver<T> carver;
  std::vector<DroppedViews> views(layers.size() - 1);
  const auto carve = [&] {
    for (std::size_t l = 0; l < views.size(); ++l)
      views[l] = {carver.take(rows, layout.layers[l].stride),
                  carver.take(rows, layout.layers[l].stride)};
  };
  carve();
  dropped_ = AlignedBuffer<T>(carver.used());
  carver.start(dropped_.data());
  carve();
  dropped = std::move(views);
}

template <class T>
T* Workspace<T>::gradients(const Layout& layout, std::size_t count) {
  if (gradients_.size() < count * layout.size) gradients_ = AlignedBuffer<T>(count * layout.size);
  return gradients_.data();
}

template struct Workspace<float>;
template struct Workspace<double>;

}  // namespace chainrule
