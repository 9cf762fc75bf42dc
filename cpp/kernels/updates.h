// One pass over the parameters for one update: read g and the state, write the state and w.
// Formulas and names as in PyTorch's optimisers. All buffers are padded with zeros, and every
// update maps zeros to zeros.
#pragma once

#include "kernels/elementary.h"
#include "kernels/kernels.h"
#include "kernels/reduce.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// g + λ w; exactly g without weight decay
template <class T>
CHAINRULE_INLINE V<T> decayed(V<T> g, V<T> w, T weight_decay) {
  return weight_decay == T(0) ? g : fma(splat<T>(weight_decay), w, g);
}

// x, or +0 where |x| is below the least normal number. What decays while its gradient is 0 would
// become subnormal and stay so, a few of the least units large: an operation on such a number takes
// some hundred cycles.
template <class T>
CHAINRULE_INLINE V<T> normal_or_zero(V<T> x) {
  return abs<T>(x) < power_of_two<T>(1 - kBias<T>) ? V<T>{} : x;
}

// w = w - η g
template <class T>
void sgd(T* w, const T* g, Size n, T learning_rate, T weight_decay) {
  for (Size i = 0; i < n; i += kWidth<T>) {
    const V<T> wi = load<T>(w + i);
    const V<T> gi = decayed<T>(load<T>(g + i), wi, weight_decay);
    store<T>(w + i, fma(splat<T>(-learning_rate), gi, wi));
  }
}

// v = μ v + g; w = w - η v, or w - η (g + μ v) after Nesterov
template <class T>
void momentum(T* w, const T* g, T* velocity, Size n, T learning_rate, T mu, bool nesterov,
              T weight_decay) {
  for (Size i = 0; i < n; i += kWidth<T>) {
    const V<T> wi = load<T>(w + i);
    const V<T> gi = decayed<T>(load<T>(g + i), wi, weight_decay);
    const V<T> v = normal_or_zero<T>(fma(splat<T>(mu), load<T>(velocity + i), gi));
    store<T>(velocity + i, v);
    const V<T> direction = nesterov ? fma(splat<T>(mu), v, gi) : v;
    store<T>(w + i, fma(splat<T>(-learning_rate), direction, wi));
  }
}

// x / d, correctly rounded, without a division: inverse is 1 / d rounded, the first correction
// makes the quotient one of the two numbers next to x / d, and the second one takes the nearest
// (Markstein, 1990). x is a root, 0 or infinite, so that no step meets a subnormal number.
template <class T>
CHAINRULE_INLINE V<T> divide_root(V<T> x, V<T> d, V<T> inverse) {
  const V<T> rough = x * inverse;
  const V<T> close = fma(fma(-rough, d, x), inverse, rough);
  const V<T> quotient = fma(fma(-close, d, x), inverse, close);
  return x < kInfinity<T> ? quotient : x;
}

// m = m + (1 - β1)(g - m); v = β2 v + (1 - β2) g²;
// w = w - η / (1 - β1^t) m / (√v / √(1 - β2^t) + ε)
template <class T>
void adam(T* w, const T* g, T* m, T* v, Size n, const AdamConstants& c) {
  const V<T> one_minus_beta1 = splat<T>(static_cast<T>(c.one_minus_beta1));
  const V<T> beta2 = splat<T>(static_cast<T>(c.beta2));
  const V<T> one_minus_beta2 = splat<T>(static_cast<T>(c.one_minus_beta2));
  const V<T> eps = splat<T>(static_cast<T>(c.eps));
  const V<T> step = splat<T>(static_cast<T>(-c.step_size));
  const V<T> correction = splat<T>(static_cast<T>(c.sqrt_correction2));
  const V<T> inverse = splat<T>(1) / correction;
  for (Size i = 0; i < n; i += kWidth<T>) {
    const V<T> wi = load<T>(w + i);
    const V<T> gi = decayed<T>(load<T>(g + i), wi, static_cast<T>(c.weight_decay));
    const V<T> m_old = load<T>(m + i);
    const V<T> mi = normal_or_zero<T>(fma(one_minus_beta1, gi - m_old, m_old));
    const V<T> vi = normal_or_zero<T>(fma(one_minus_beta2 * gi, gi, beta2 * load<T>(v + i)));
    store<T>(m + i, mi);
    store<T>(v + i, vi);
    store<T>(w + i, fma(step, mi / (divide_root<T>(sqrt(vi), correction, inverse) + eps), wi));
  }
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
