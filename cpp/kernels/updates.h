// One pass over the parameters per update: read g and the state, write the state and w.
// Formulas and names as in PyTorch's optimisers. All buffers are padded with zeros, and every
// update maps zeros to zeros.
#pragma once

#include "kernels/elementary.h"
#include "kernels/kernels.h"
#include "kernels/lists.h"
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

// The new w from w and g, element i of the buffers; reads and writes the state. One specialization
// per rule of the list.
template <class T, Rule rule>
struct Update;

// w = w - η g; with momentum v = μ v + g and w = w - η v, or w - η (g + μ v) after Nesterov
template <class T>
struct Update<T, Rule::sgd> {
  T* velocity;
  T minus_rate, mu;
  bool nesterov;

  CHAINRULE_INLINE Update(const UpdateState<T>& state, const UpdateConstants& c)
      : velocity(state.velocity),
        minus_rate(static_cast<T>(-c.learning_rate)),
        mu(static_cast<T>(c.momentum)),
        nesterov(c.nesterov) {}

  CHAINRULE_INLINE V<T> operator()(V<T> w, V<T> g, Size i) const {
    if (velocity == nullptr) return fma(splat<T>(minus_rate), g, w);
    const V<T> v = normal_or_zero<T>(fma(splat<T>(mu), load<T>(velocity + i), g));
    store<T>(velocity + i, v);
    return fma(splat<T>(minus_rate), nesterov ? fma(splat<T>(mu), v, g) : v, w);
  }
};

// m = m + (1 - β1)(g - m); v = β2 v + (1 - β2) g²; w = w - η / (1 - β1^t) m / (√v / √(1 - β2^t) +
// ε)
template <class T>
struct Update<T, Rule::adam> {
  T* mean;
  T* square;
  V<T> one_minus_beta1, beta2, one_minus_beta2, eps, minus_rate, correction, inverse;

  CHAINRULE_INLINE Update(const UpdateState<T>& state, const UpdateConstants& c)
      : mean(state.mean),
        square(state.square),
        one_minus_beta1(splat<T>(static_cast<T>(c.one_minus_beta1))),
        beta2(splat<T>(static_cast<T>(c.beta2))),
        one_minus_beta2(splat<T>(static_cast<T>(c.one_minus_beta2))),
        eps(splat<T>(static_cast<T>(c.eps))),
        minus_rate(splat<T>(static_cast<T>(-c.learning_rate))),
        correction(splat<T>(static_cast<T>(c.sqrt_correction2))),
        inverse(splat<T>(1) / correction) {}

  CHAINRULE_INLINE V<T> operator()(V<T> w, V<T> g, Size i) const {
    const V<T> m_old = load<T>(mean + i);
    const V<T> m = normal_or_zero<T>(fma(one_minus_beta1, g - m_old, m_old));
    const V<T> v = mean_square<T>(beta2, one_minus_beta2, g, load<T>(square + i));
    store<T>(mean + i, m);
    store<T>(square + i, v);
    return fma(minus_rate, m / (divide_root<T>(sqrt(v), correction, inverse) + eps), w);
  }
};

// w = w - η λ w, then as Adam
template <class T>
struct Update<T, Rule::adamw> : Update<T, Rule::adam> {
  T minus_shrink;

  CHAINRULE_INLINE Update(const UpdateState<T>& state, const UpdateConstants& c)
      : Update<T, Rule::adam>(state, c), minus_shrink(static_cast<T>(-c.shrink)) {}

  CHAINRULE_INLINE V<T> operator()(V<T> w, V<T> g, Size i) const {
    if (minus_shrink != T(0)) w = fma(splat<T>(minus_shrink), w, w);
    return Update<T, Rule::adam>::operator()(w, g, i);
  }
};

// s = α s + (1 - α) g²; d = g / (√s + ε), or, centered, m = m + (1 - α)(g - m) and
// d = g / (√(s - m²) + ε), where rounding may leave less than 0 of s - m²;
// w = w - η d, or, with momentum, v = μ v + d; w = w - η v
template <class T>
struct Update<T, Rule::rmsprop> {
  T* mean;  // null: not centered
  T* square;
  T* velocity;
  V<T> one_minus_beta1, alpha, one_minus_alpha, eps, mu, minus_rate;

  CHAINRULE_INLINE Update(const UpdateState<T>& state, const UpdateConstants& c)
      : mean(state.mean),
        square(state.square),
        velocity(state.velocity),
        one_minus_beta1(splat<T>(static_cast<T>(c.one_minus_beta1))),
        alpha(splat<T>(static_cast<T>(c.beta2))),
        one_minus_alpha(splat<T>(static_cast<T>(c.one_minus_beta2))),
        eps(splat<T>(static_cast<T>(c.eps))),
        mu(splat<T>(static_cast<T>(c.momentum))),
        minus_rate(splat<T>(static_cast<T>(-c.learning_rate))) {}

  CHAINRULE_INLINE V<T> operator()(V<T> w, V<T> g, Size i) const {
    V<T> variance = mean_square<T>(alpha, one_minus_alpha, g, load<T>(square + i));
    store<T>(square + i, variance);
    if (mean != nullptr) {
      const V<T> m_old = load<T>(mean + i);
      const V<T> m = normal_or_zero<T>(fma(one_minus_beta1, g - m_old, m_old));
      store<T>(mean + i, m);
      variance = max<T>(splat<T>(0), fma(-m, m, variance));
    }
    V<T> direction = g / (sqrt(variance) + eps);
    if (velocity != nullptr) {
      direction = normal_or_zero<T>(fma(mu, load<T>(velocity + i), direction));
      store<T>(velocity + i, direction);
    }
    return fma(minus_rate, direction, w);
  }
};

// s = s + g²; w = w - η g / (√s + ε)
template <class T>
struct Update<T, Rule::adagrad> {
  T* sum;
  T minus_rate, eps;

  CHAINRULE_INLINE Update(const UpdateState<T>& state, const UpdateConstants& c)
      : sum(state.square),
        minus_rate(static_cast<T>(-c.learning_rate)),
        eps(static_cast<T>(c.eps)) {}

  CHAINRULE_INLINE V<T> operator()(V<T> w, V<T> g, Size i) const {
    const V<T> s = normal_or_zero<T>(fma(g, g, load<T>(sum + i)));
    store<T>(sum + i, s);
    return fma(splat<T>(minus_rate), g / (sqrt(s) + splat<T>(eps)), w);
  }
};

template <class T, class U>
void update_all(T* w, const T* g, Size n, const GradientTerms& terms, U new_w) {
  with_gradient<T>(terms, [&](auto gradient) {
    for (Size i = 0; i < n; i += kWidth<T>) {
      const V<T> wi = load<T>(w + i);
      store<T>(w + i, new_w(wi, gradient(load<T>(g + i), wi), i));
    }
  });
}

template <class T>
void update(Rule rule, T* w, const T* g, const UpdateState<T>& state, Size n,
            const GradientTerms& terms, const UpdateConstants& constants) {
  switch (rule) {
#define X(name, ...) \
  case Rule::name:   \
    return update_all<T>(w, g, n, terms, Update<T, Rule::name>(state, constants));
    CHAINRULE_RULES(X)
#undef X
  }
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
