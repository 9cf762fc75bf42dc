// g(z) and g'(z), one specialization of Formula per activation of the list; g' receives both z and
// a = g(z). kCostly: latency-bound rather than memory-bound.
#pragma once

#include "kernels/elementary.h"
#include "kernels/lists.h"
#include "kernels/reduce.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// A formula is passed as an object to the loops of rows.h, which call its value() and derivative().
template <class T, Activation g>
struct Formula;

template <class T>
struct Formula<T, Activation::identity> {
  static constexpr bool kCostly = false;
  CHAINRULE_INLINE static V<T> value(V<T> z) { return z; }
  CHAINRULE_INLINE static V<T> derivative(V<T>, V<T>) { return splat<T>(1); }
};

// σ(z) = 1 / (1 + e^-z), σ' = a (1 - a)
template <class T>
struct Formula<T, Activation::sigmoid> {
  static constexpr bool kCostly = true;
  CHAINRULE_INLINE static V<T> value(V<T> z) { return sigmoid<T>(z); }
  CHAINRULE_INLINE static V<T> derivative(V<T>, V<T> a) { return a * (splat<T>(1) - a); }
};

// tanh' = 1 - a² = (1 - a)(1 + a)
template <class T>
struct Formula<T, Activation::tanh> {
  static constexpr bool kCostly = true;
  CHAINRULE_INLINE static V<T> value(V<T> z) { return tanh<T>(z); }
  CHAINRULE_INLINE static V<T> derivative(V<T>, V<T> a) {
    return (splat<T>(1) - a) * (splat<T>(1) + a);
  }
};

// max(z, 0); the derivative at 0 is 0. NaN stays NaN.
template <class T>
struct Formula<T, Activation::relu> {
  static constexpr bool kCostly = false;
  CHAINRULE_INLINE static V<T> value(V<T> z) { return max<T>(splat<T>(0), z); }
  CHAINRULE_INLINE static V<T> derivative(V<T>, V<T> a) {
    return a > splat<T>(0) ? splat<T>(1) : splat<T>(0);
  }
};

// z for z > 0, 0.01 z otherwise
template <class T>
struct Formula<T, Activation::leaky_relu> {
  static constexpr bool kCostly = false;
  CHAINRULE_INLINE static V<T> value(V<T> z) { return z < splat<T>(0) ? splat<T>(T(0.01)) * z : z; }
  CHAINRULE_INLINE static V<T> derivative(V<T>, V<T> a) {
    return a > splat<T>(0) ? splat<T>(1) : splat<T>(T(0.01));
  }
};

// z for z >= 0, e^z - 1 otherwise; e^z = a + 1
template <class T>
struct Formula<T, Activation::elu> {
  static constexpr bool kCostly = true;
  CHAINRULE_INLINE static V<T> value(V<T> z) { return z < splat<T>(0) ? expm1<T>(z) : z; }
  CHAINRULE_INLINE static V<T> derivative(V<T>, V<T> a) {
    return a < splat<T>(0) ? a + splat<T>(1) : splat<T>(1);
  }
};

// λ z for z >= 0, λ α (e^z - 1) otherwise; the constants of Klambauer et al., 2017
template <class T>
struct Formula<T, Activation::selu> {
  static constexpr bool kCostly = true;
  static constexpr T kLambda = T(1.0507009873554804934193349852946);
  static constexpr T kLambdaAlpha = T(1.7580993408473768599402175208123);
  CHAINRULE_INLINE static V<T> value(V<T> z) {
    return z < splat<T>(0) ? splat<T>(kLambdaAlpha) * expm1<T>(z) : splat<T>(kLambda) * z;
  }
  CHAINRULE_INLINE static V<T> derivative(V<T>, V<T> a) {
    return a < splat<T>(0) ? a + splat<T>(kLambdaAlpha) : splat<T>(kLambda);
  }
};

// ln(1 + e^z); the derivative σ(z) = 1 - e^-a
template <class T>
struct Formula<T, Activation::softplus> {
  static constexpr bool kCostly = true;
  CHAINRULE_INLINE static V<T> value(V<T> z) { return softplus<T>(z); }
  CHAINRULE_INLINE static V<T> derivative(V<T>, V<T> a) { return -expm1<T>(-a); }
};

// z σ(z)
template <class T>
struct Formula<T, Activation::silu> {
  static constexpr bool kCostly = true;
  CHAINRULE_INLINE static V<T> value(V<T> z) { return silu<T>(z); }
  CHAINRULE_INLINE static V<T> derivative(V<T> z, V<T>) { return silu_derivative<T>(z); }
};

// z Φ(z), Φ the distribution function of the standard normal
template <class T>
struct Formula<T, Activation::gelu> {
  static constexpr bool kCostly = true;
  CHAINRULE_INLINE static V<T> value(V<T> z) { return gelu<T>(z); }
  CHAINRULE_INLINE static V<T> derivative(V<T> z, V<T>) { return gelu_derivative<T>(z); }
};

// z min(max(z + 3, 0), 6) / 6; beyond -3 and 3, and at both, the derivative is 0 and 1. max(z, -3)
// in place of z keeps -inf finite, and gives -0 where z <= -3.
template <class T>
struct Formula<T, Activation::hardswish> {
  static constexpr bool kCostly = true;
  CHAINRULE_INLINE static V<T> value(V<T> z) {
    const V<T> t = max<T>(splat<T>(-3), z);
    return t * (min<T>(splat<T>(6), t + splat<T>(3)) / splat<T>(6));
  }
  CHAINRULE_INLINE static V<T> derivative(V<T> z, V<T>) {
    const V<T> between = fma(splat<T>(2), z, splat<T>(3)) / splat<T>(6);
    const V<T> below = z <= splat<T>(-3) ? splat<T>(0) : between;
    return z >= splat<T>(3) ? splat<T>(1) : below;
  }
};

// a_j = e^(z_j - m) / Σ_i e^(z_i - m), m = max z. The outputs are coupled, so there is neither an
// elementwise value nor an elementwise derivative: the loops have overloads for this formula.
template <class T>
struct Formula<T, Activation::softmax> {};

// One row, in the first n lanes.
template <class T>
CHAINRULE_INLINE Block<T> softmax(Block<T> z, Size n) {
  Block<T> top = filled<T>(-__builtin_inff());
  for (int i = 0; i < kParts<T>; ++i)
    top.part[i] = max<T>(keep_first<T>(z.part[i], n - i * kWidth<T>, top.part[i]), top.part[i]);
  const V<T> m = splat<T>(maximum<T>(top));
  Block<T> total;
  for (int i = 0; i < kParts<T>; ++i) {
    z.part[i] = exp<T>(z.part[i] - m);
    total.part[i] = splat<T>(0) + keep_first<T>(z.part[i], n - i * kWidth<T>, splat<T>(0));
  }
  const V<T> divisor = splat<T>(sum<T>(total));
  for (int i = 0; i < kParts<T>; ++i) z.part[i] = z.part[i] / divisor;
  return z;
}

// One row; a may be z.
template <class T>
void softmax(T* a, const T* z, Size n) {
  if (n <= kLanes<T>) return store_first<T>(a, softmax<T>(load_block<T>(z), n), n, n);
  Block<T> top = filled<T>(-__builtin_inff());
  for_each_vector<T>(n, [&](int i, Size j, Size count) {
    top.part[i] = max<T>(keep_first<T>(load<T>(z + j), count, top.part[i]), top.part[i]);
  });
  const V<T> m = splat<T>(maximum<T>(top));
  Block<T> total = filled<T>(0);
  for_each_vector<T>(n, [&](int i, Size j, Size count) {
    const V<T> e = exp<T>(load<T>(z + j) - m);
    total.part[i] = total.part[i] + keep_first<T>(e, count, splat<T>(0));
    store_partial<T>(a + j, e, count);
  });
  const V<T> divisor = splat<T>(sum<T>(total));
  for_each_vector<T>(n, [&](int, Size j, Size count) {
    store_partial<T>(a + j, load_partial<T>(a + j, count) / divisor, count);
  });
}

// δ_j = a_j (d_j - Σ_i d_i a_i), one row
template <class T>
void softmax_backward(T* d, const T* a, Size n) {
  Block<T> total = filled<T>(0);
  for_each_vector<T>(n, [&](int i, Size j, Size count) {
    const V<T> dj = load_partial<T>(d + j, count);
    const V<T> next = fma(dj, load_partial<T>(a + j, count), total.part[i]);
    // Beyond the row, 0 * 0 would turn a -0 into +0.
    total.part[i] = keep_first<T>(next, count, total.part[i]);
  });
  const V<T> mean = splat<T>(sum<T>(total));
  for_each_vector<T>(n, [&](int, Size j, Size count) {
    const V<T> dj = load_partial<T>(d + j, count);
    store_partial<T>(d + j, load_partial<T>(a + j, count) * (dj - mean), count);
  });
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
