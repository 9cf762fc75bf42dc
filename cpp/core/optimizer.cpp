#include "core/optimizer.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace chainrule {
namespace {

// Inputs k whose row of W is summed before it meets other sums of squares. Part of the arithmetic.
constexpr std::size_t kNormRows = 64;

// PyTorch's names of the running mean of g and of g²; empty where the rule has none.
struct StateNames {
  std::string_view mean, square;
};
constexpr StateNames kStateNames[] = {
#define X(name, mean, square) {mean, square},
    CHAINRULE_RULES(X)
#undef X
};
const StateNames& state_names(Rule rule) { return kStateNames[static_cast<std::size_t>(rule)]; }

}  // namespace

template <class T>
Optimizer<T>::Optimizer(Rule rule, const Hyperparameters& hyperparameters, const Layout& layout)
    : rule_(rule), hyper_(hyperparameters) {
  if (hyper_.momentum != 0) velocity_ = AlignedBuffer<T>(layout.size);
  if (is_adam(rule_) || hyper_.centered) mean_ = AlignedBuffer<T>(layout.size);
  if (!state_names(rule_).square.empty()) square_ = AlignedBuffer<T>(layout.size);
  // As every later sum: a row without a gradient then leaves it as it is.
  const T initial = static_cast<T>(hyper_.initial_accumulator_value);
  std::fill_n(square_.data(), square_.size(),
              initial < std::numeric_limits<T>::min() ? T(0) : initial);
  if (!penalizes()) parts_.push_back({0, layout.size, false});
  for (std::size_t l = 0; l < layout.layers.size(); ++l) {
    const Layer& layer = layout.layers[l];
    const bool is_last = l + 1 == layout.layers.size();
    const std::size_t end = is_last ? layout.size : layout.layers[l + 1].weights;
    if (penalizes()) {
      parts_.push_back({layer.weights, layer.bias, false});
      parts_.push_back({layer.bias, end, true});
    }
    if (!clips_norm()) continue;
    const std::size_t step = kNormRows * layer.ld;
    for (std::size_t i = layer.weights; i < layer.bias; i += step)
      chunks_.push_back({i, std::min(i + step, layer.bias), false});
    if (layout.has_bias) chunks_.push_back({layer.bias, end, true});
  }
  chunk_squares_.resize(chunks_.size());
}

template <class T>
bool Optimizer<T>::is_plain_descent() const {
  return rule_ == Rule::sgd && hyper_.momentum == 0 && hyper_.weight_decay == 0 && !penalizes() &&
         hyper_.clip_value == kNoClipping && !clips_norm();
}

template <class T>
void Optimizer<T>::begin_step() {
  ++step_;
  if (!is_adam(rule_)) return;
  beta1_power_ *= hyper_.beta1;
  beta2_power_ *= hyper_.beta2;
}

template <class T>
void Optimizer<T>::update(T* parameters, const T* gradient, double learning_rate, int threads) {
  if (clips_norm())
    parallel_for(threads, chunks_.size(), [&](std::size_t i) {
      const Part& chunk = chunks_[i];
      chunk_squares_[i] =
          kernels<T>().square_sum(gradient + chunk.begin, parameters + chunk.begin,
                                  static_cast<Size>(chunk.end - chunk.begin), penalties(chunk));
    });
  begin_step();
  const double scale = norm_scale();
  const UpdateConstants numbers = constants(learning_rate);
  parallel_ranges(threads, parts_.back().end, kLanes<T>, [&](auto low, auto high) {
    for (const Part& part : parts_) {
      const std::size_t begin = std::max(low, part.begin);
      const std::size_t end = std::min(high, part.end);
      if (begin >= end) continue;
      GradientTerms terms = penalties(part);
      terms.scale = scale;
      if (rule_ != Rule::adamw) terms.weight_decay = hyper_.weight_decay;
      kernels<T>().update(rule_, parameters + begin, gradient + begin, state_from(begin),
                          static_cast<Size>(end - begin), terms, numbers);
    }
  });
}

// What becomes of g before the norm is taken.
template <class T>
GradientTerms Optimizer<T>::penalties(const Part& part) const {
  return {.l1 = part.is_bias ? 0 : hyper_.l1,
          .l2 = part.is_bias ? 0 : hyper_.l2,
          .clip_value = hyper_.clip_value};
}

// min(1, clip_norm / (‖g‖ + 1e-6)), as torch.nn.utils.clip_grad_norm_. Where ‖g‖ is infinite or NaN
// it is 0: what is not finite in g becomes NaN, and nothing else does, not even the padding.
template <class T>
double Optimizer<T>::norm_scale() const {
  if (!clips_norm()) return 1;
  double squares = 0;
  for (const double sum : chunk_squares_) squares += sum;
  const double scale = hyper_.clip_norm / (std::sqrt(squares) + 1e-6);
  return std::isnan(scale) ? 0 : std::min(scale, 1.0);
}

// Of the update that begin_step has counted.
template <class T>
UpdateConstants Optimizer<T>::constants(double learning_rate) const {
  UpdateConstants numbers = {.learning_rate = learning_rate,
                             .momentum = hyper_.momentum,
                             .nesterov = hyper_.nesterov,
                             .one_minus_beta1 = 1 - hyper_.alpha,
                             .beta2 = hyper_.alpha,
                             .one_minus_beta2 = 1 - hyper_.alpha,
                             .eps = hyper_.eps};
  if (is_adam(rule_)) {
    numbers.learning_rate = learning_rate / (1 - beta1_power_);
    numbers.one_minus_beta1 = 1 - hyper_.beta1;
    numbers.beta2 = hyper_.beta2;
    numbers.one_minus_beta2 = 1 - hyper_.beta2;
    numbers.sqrt_correction2 = std::sqrt(1 - beta2_power_);
    numbers.shrink = learning_rate * hyper_.weight_decay;
  } else if (rule_ == Rule::adagrad) {
    numbers.learning_rate = learning_rate / (1 + static_cast<double>(step_ - 1) * hyper_.lr_decay);
  }
  return numbers;
}

template <class T>
UpdateState<T> Optimizer<T>::state_from(std::size_t begin) {
  const auto at = [begin](AlignedBuffer<T>& buffer) {
    return buffer.size() > 0 ? buffer.data() + begin : nullptr;
  };
  return {at(mean_), at(square_), at(velocity_)};
}

template <class T>
void Optimizer<T>::set_progress(std::uint64_t step, const Powers& powers) {
  step_ = step;
  beta1_power_ = powers.beta1;
  beta2_power_ = powers.beta2;
}

template <class T>
std::vector<typename Optimizer<T>::Named> Optimizer<T>::buffers() {
  const auto& [mean, square] = state_names(rule_);
  std::vector<Named> named = {{mean, &mean_}, {square, &square_}, {"momentum_buffer", &velocity_}};
  std::erase_if(named, [](const Named& state) { return state.buffer->size() == 0; });
  return named;
}

template <class T>
void Optimizer<T>::copy_from(const Optimizer& other) {
  velocity_.copy_from(other.velocity_);
  mean_.copy_from(other.mean_);
  square_.copy_from(other.square_);
  set_progress(other.step_, other.powers());
}

template class Optimizer<float>;
template class Optimizer<double>;

}  // namespace chainrule
