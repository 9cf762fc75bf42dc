#include "core/optimizer.h"

#include <cmath>

namespace chainrule {

template <class T>
Optimizer<T>::Optimizer(Rule rule, const Hyperparameters& hyperparameters, const Layout& layout)
    : rule_(rule), hyper_(hyperparameters) {
  if (rule_ == Rule::adam) {
    mean_ = AlignedBuffer<T>(layout.size);
    square_ = AlignedBuffer<T>(layout.size);
  } else if (hyper_.momentum != 0) {
    velocity_ = AlignedBuffer<T>(layout.size);
  }
}

template <class T>
void Optimizer<T>::begin_step() {
  ++step_;
  if (rule_ != Rule::adam) return;
  beta1_power_ *= hyper_.beta1;
  beta2_power_ *= hyper_.beta2;
}

template <class T>
void Optimizer<T>::apply(T* parameters, const T* gradient, std::size_t begin, std::size_t end,
                         double learning_rate) {
  const Kernels<T>& k = kernels<T>();
  const Size n = static_cast<Size>(end - begin);
  const T rate = static_cast<T>(learning_rate);
  const T decay = static_cast<T>(hyper_.weight_decay);
  T* w = parameters + begin;
  const T* g = gradient + begin;
  if (rule_ == Rule::adam) {
    const AdamConstants constants = {
        .one_minus_beta1 = 1 - hyper_.beta1,
        .beta2 = hyper_.beta2,
        .one_minus_beta2 = 1 - hyper_.beta2,
        .eps = hyper_.eps,
        .weight_decay = hyper_.weight_decay,
        .step_size = learning_rate / (1 - beta1_power_),
        .sqrt_correction2 = std::sqrt(1 - beta2_power_),
    };
    k.adam(w, g, mean_.data() + begin, square_.data() + begin, n, constants);
  } else if (hyper_.momentum != 0) {
    k.momentum(w, g, velocity_.data() + begin, n, rate, static_cast<T>(hyper_.momentum),
               hyper_.nesterov, decay);
  } else {
    k.sgd(w, g, n, rate, decay);
  }
}

template <class T>
void Optimizer<T>::set_progress(std::uint64_t step, const Powers& powers) {
  step_ = step;
  beta1_power_ = powers.beta1;
  beta2_power_ = powers.beta2;
}

template <class T>
std::vector<typename Optimizer<T>::Named> Optimizer<T>::buffers() {
  if (rule_ == Rule::adam) return {{"exp_avg", &mean_}, {"exp_avg_sq", &square_}};
  if (hyper_.momentum != 0) return {{"momentum_buffer", &velocity_}};
  return {};
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
