// One pass over the parameters for one update: read g and the state, write the state and w.
// Formulas and names as in PyTorch's optimisers. All buffers are padded with zeros, and every
// update maps zeros to zeros.
#pragma once

#include "kernels/elementary.h"
#include "kernels/kernels.h"
#include "kernels/reduce.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// g as the samples gave it.
template <class T>
struct BareGradient {
  CHAINRULE_INLINE V<T> operator()(V<T> g, V<T>) const { return g; }
};

// (g + l2 w + l1 sign(w)) cut to [-clip, clip], times scale, + λ w. What has no constant is left
// out, and a number that is not finite is not cut, so that nothing hides it.
template <class T>
struct TreatedGradient {
  T l1, l2, clip, scale, decay;

  CHAINRULE_INLINE explicit TreatedGradient(const GradientTerms& terms)
      : l1(static_cast<T>(terms.l1)),
        l2(static_cast<T>(terms.l2)),
        clip(static_cast<T>(terms.clip_value)),
        scale(static_cast<T>(terms.scale)),
        decay(static_cast<T>(terms.weight_decay)) {}

  CHAINRULE_INLINE V<T> operator()(V<T> g, V<T> w) const {
    if (l2 != T(0)) g = fma(splat<T>(l2), w, g);
    if (l1 != T(0)) g = w == splat<T>(0) ? g : g + copysign<T>(splat<T>(l1), w);
    const V<T> cut = min<T>(max<T>(g, splat<T>(-clip)), splat<T>(clip));
    g = (abs<T>(g) < splat<T>(kInfinity<T>) ? cut : g) * splat<T>(scale);
    return decay == T(0) ? g : fma(splat<T>(decay), w, g);
  }
};

// update(gradient), the gradient being a function of g and w.
template <class T, class F>
CHAINRULE_INLINE void with_gradient(const GradientTerms& terms, F update) {
  if (terms.l1 == 0 && terms.l2 == 0 && terms.weight_decay == 0 && terms.scale == 1 &&
      terms.clip_value == __builtin_inf())
    update(BareGradient<T>());
  else
    update(TreatedGradient<T>(terms));
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
void sgd(T* w, const T* g, Size n, const GradientTerms& terms, T learning_rate) {
  with_gradient<T>(terms, [&](auto gradient) {
    for (Size i = 0; i < n; i += kWidth<T>) {
      const V<T> wi = load<T>(w + i);
      const V<T> gi = gradient(load<T>(g + i), wi);
      store<T>(w + i, fma(splat<T>(-learning_rate), gi, wi));
    }
  });
}

// v = μ v + g; w = w - η v, or w - η (g + μ v) after Nesterov
template <class T>
void momentum(T* w, const T* g, T* velocity, Size n, const GradientTerms& terms, T learning_rate,
              T mu, bool nesterov) {
  with_gradient<T>(terms, [&](auto gradient) {
    for (Size i = 0; i < n; i += kWidth<T>) {
      const V<T> wi = load<T>(w + i);
      const V<T> gi = gradient(load<T>(g + i), wi);
      const V<T> v = normal_or_zero<T>(fma(splat<T>(mu), load<T>(velocity + i), gi));
      store<T>(velocity + i, v);
      const V<T> direction = nesterov ? fma(splat<T>(mu), v, gi) : v;
      store<T>(w + i, fma(splat<T>(-learning_rate), direction, wi));
    }
  });
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

// β v + (1 - β) g²
template <class T>
CHAINRULE_INLINE V<T> mean_square(V<T> beta, V<T> one_minus_beta, V<T> g, V<T> v) {
  return normal_or_zero<T>(fma(one_minus_beta * g, g, beta * v));
}

// w = w - η λ w in AdamW; m = m + (1 - β1)(g - m); v = β2 v + (1 - β2) g²;
// w = w - η / (1 - β1^t) m / (√v / √(1 - β2^t) + ε)
template <class T>
void adam(T* w, const T* g, T* m, T* v, Size n, const GradientTerms& terms,
          const AdamConstants& c) {
  const V<T> one_minus_beta1 = splat<T>(static_cast<T>(c.one_minus_beta1));
  const V<T> beta2 = splat<T>(static_cast<T>(c.beta2));
  const V<T> one_minus_beta2 = splat<T>(static_cast<T>(c.one_minus_beta2));
  const V<T> eps = splat<T>(static_cast<T>(c.eps));
  const V<T> step = splat<T>(static_cast<T>(-c.step_size));
  const V<T> correction = splat<T>(static_cast<T>(c.sqrt_correction2));
  const V<T> inverse = splat<T>(1) / correction;
  const T shrink = static_cast<T>(-c.shrink);
  with_gradient<T>(terms, [&](auto gradient) {
    for (Size i = 0; i < n; i += kWidth<T>) {
      V<T> wi = load<T>(w + i);
      const V<T> gi = gradient(load<T>(g + i), wi);
      if (shrink != T(0)) wi = fma(splat<T>(shrink), wi, wi);
      const V<T> m_old = load<T>(m + i);
      const V<T> mi = normal_or_zero<T>(fma(one_minus_beta1, gi - m_old, m_old));
      const V<T> vi = mean_square<T>(beta2, one_minus_beta2, gi, load<T>(v + i));
      store<T>(m + i, mi);
      store<T>(v + i, vi);
      store<T>(w + i, fma(step, mi / (divide_root<T>(sqrt(vi), correction, inverse) + eps), wi));
    }
  });
}

// s = α s + (1 - α) g²; d = g / (√s + ε), or, centered, m = m + (1 - α)(g - m) and
// d = g / (√(s - m²) + ε), where rounding may leave less than 0 of s - m²;
// w = w - η d, or, with momentum, v = μ v + d; w = w - η v
template <class T>
void rmsprop(T* w, const T* g, T* square, T* mean, T* velocity, Size n, const GradientTerms& terms,
             const RmspropConstants& c) {
  const V<T> alpha = splat<T>(static_cast<T>(c.alpha));
  const V<T> one_minus_alpha = splat<T>(static_cast<T>(c.one_minus_alpha));
  const V<T> eps = splat<T>(static_cast<T>(c.eps));
  const V<T> mu = splat<T>(static_cast<T>(c.momentum));
  const V<T> step = splat<T>(static_cast<T>(-c.learning_rate));
  with_gradient<T>(terms, [&](auto gradient) {
    for (Size i = 0; i < n; i += kWidth<T>) {
      const V<T> wi = load<T>(w + i);
      const V<T> gi = gradient(load<T>(g + i), wi);
      V<T> variance = mean_square<T>(alpha, one_minus_alpha, gi, load<T>(square + i));
      store<T>(square + i, variance);
      if (mean != nullptr) {
        const V<T> m_old = load<T>(mean + i);
        const V<T> mi = normal_or_zero<T>(fma(one_minus_alpha, gi - m_old, m_old));
        store<T>(mean + i, mi);
        variance = max<T>(splat<T>(0), fma(-mi, mi, variance));
      }
      V<T> direction = gi / (sqrt(variance) + eps);
      if (velocity != nullptr) {
        direction = normal_or_zero<T>(fma(mu, load<T>(velocity + i), direction));
        store<T>(velocity + i, direction);
      }
      store<T>(w + i, fma(step, direction, wi));
    }
  });
}

// s = s + g²; w = w - η g / (√s + ε)
template <class T>
void adagrad(T* w, const T* g, T* sum, Size n, const GradientTerms& terms, T learning_rate, T eps) {
  with_gradient<T>(terms, [&](auto gradient) {
    for (Size i = 0; i < n; i += kWidth<T>) {
      const V<T> wi = load<T>(w + i);
      const V<T> gi = gradient(load<T>(g + i), wi);
      const V<T> s = normal_or_zero<T>(fma(gi, gi, load<T>(sum + i)));
      store<T>(sum + i, s);
      store<T>(w + i, fma(splat<T>(-learning_rate), gi / (sqrt(s) + splat<T>(eps)), wi));
    }
  });
}

// add(i, x) for the vectors of doubles in v, one or two.
#if CHAINRULE_VECTOR_BYTES == 0
template <class T, class F>
CHAINRULE_INLINE void widen(V<T> v, F add) {
  add(0, static_cast<double>(v));
}
#else
template <int Begin, int... I>
CHAINRULE_INLINE V<double> as_doubles(V<float> v, std::integer_sequence<int, I...>) {
  return __builtin_convertvector(__builtin_shufflevector(v, v, (Begin + I)...), V<double>);
}
template <class T, class F>
CHAINRULE_INLINE void widen(V<T> v, F add) {
  if constexpr (sizeof(T) == 8) {
    add(0, v);
  } else {
    constexpr int half = kWidth<double>;
    add(0, as_doubles<0>(v, std::make_integer_sequence<int, half>()));
    add(1, as_doubles<half>(v, std::make_integer_sequence<int, half>()));
  }
}
#endif

// Σ g², in float64: kLanes<T> running sums, then halves.
template <class T>
double square_sum(const T* g, const T* w, Size n, const GradientTerms& terms) {
  constexpr int kSumBlocks = kLanes<T> / kLanes<double>;
  constexpr int kVectors = kSumBlocks * kParts<double>;
  constexpr int kVectorsOfV = kVectors / kParts<T>;
  V<double> lanes[kVectors] = {};
  with_gradient<T>(terms, [&](auto gradient) {
    for (Size i = 0; i < n; i += kLanes<T>)
      for (int p = 0; p < kParts<T>; ++p) {
        const Size at = i + p * kWidth<T>;
        widen<T>(gradient(load<T>(g + at), load<T>(w + at)), [&](int part, V<double> x) {
          V<double>& lane = lanes[p * kVectorsOfV + part];
          lane = fma(x, x, lane);
        });
      }
  });
  Block<double> total;
  for (int p = 0; p < kParts<double>; ++p)
    total.part[p] = kSumBlocks == 2 ? lanes[p] + lanes[kParts<double> + p] : lanes[p];
  return sum<double>(total);
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
