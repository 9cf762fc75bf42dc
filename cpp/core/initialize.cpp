#include "core/initialize.h"

#include <cmath>

#include "core/random.h"
#include "kernels/kernels.h"

namespace chainrule {
namespace {

// Marsaglia's polar method. Only + - * / and square root, and our own logarithm, whose
// bits do not depend on the machine.
class NormalStream {
 public:
  explicit NormalStream(RandomStream stream) : stream_(stream) {}

  double next() {
    if (has_spare_) {
      has_spare_ = false;
      return spare_;
    }
    double u = 0;
    double v = 0;
    double s = 0;
    do {
      u = 2 * stream_.next_uniform() - 1;
      v = 2 * stream_.next_uniform() - 1;
      s = u * u + v * v;
    } while (s >= 1 || s == 0);
    double log_s = 0;
    kernels<double>().elementary(ElementaryFunction::log, &log_s, &s, 1);
    const double scale = std::sqrt(-2 * log_s / s);
    spare_ = v * scale;
    has_spare_ = true;
    return u * scale;
  }

 private:
  RandomStream stream_;
  double spare_ = 0;
  bool has_spare_ = false;
};

template <class T, class Draw>
void fill(T* w, const Layer& layer, Draw draw) {
  for (std::size_t j = 0; j < layer.n_out; ++j)
    for (std::size_t k = 0; k < layer.n_in; ++k) w[k * layer.ld + j] = static_cast<T>(draw());
}

}  // namespace

template <class T>
void initialize(T* parameters, const Layer& layer, Initializer scheme, std::uint64_t seed,
                std::uint64_t l) {
  T* w = parameters + layer.weights;
  const double fan_in = static_cast<double>(layer.n_in);
  const double fan_out = static_cast<double>(layer.n_out);
  const RandomStream stream(seed, Purpose::initialize, l);
  const auto uniform = [&](double limit) {
    fill(w, layer, [&, s = stream]() mutable { return limit * (2 * s.next_uniform() - 1); });
  };
  const auto normal = [&](double deviation) {
    fill(w, layer, [&, s = NormalStream(stream)]() mutable { return deviation * s.next(); });
  };
  const auto constant = [&](double value) { fill(w, layer, [&] { return value; }); };
  switch (scheme) {
#define X(name, distribution, number) \
  case Initializer::name:             \
    return distribution(number);
    CHAINRULE_INITIALIZERS(X)
#undef X
  }
}

template void initialize<float>(float*, const Layer&, Initializer, std::uint64_t, std::uint64_t);
template void initialize<double>(double*, const Layer&, Initializer, std::uint64_t, std::uint64_t);

}  // namespace chainrule
