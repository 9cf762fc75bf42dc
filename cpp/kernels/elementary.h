// Elementary functions on V<T>: the same operations, hence the same bits, at every width. Only
// + - * / and fma; no libm, tables or branches. Errors in ulp hold for subnormal results too. NaN
// gives NaN, no infinity does; odd functions keep the sign of zero.
//
// bench/fit_polynomials.py prints the coefficients. Beside each function stand the largest errors
// in ulp: for float over every float, for double over 10^8 arguments
// (tests/cpp/elementary_errors.cpp).
#pragma once

#include "kernels/vec.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

// ---- The format ----

template <class T>
inline constexpr int kMantissaBits = sizeof(T) == 4 ? 23 : 52;
template <class T>
inline constexpr int kBias = sizeof(T) == 4 ? 127 : 1023;
template <class T>
inline constexpr T kInfinity = static_cast<T>(__builtin_inf());
template <class T>
inline constexpr T kNaN = static_cast<T>(__builtin_nan(""));

// The bits of 2^n, a normal number, and the number.
template <class T>
constexpr auto exponent_bits(int n) {
  return static_cast<typename ElementOf<T>::Unsigned>(kBias<T> + n) << kMantissaBits<T>;
}
template <class T>
constexpr T power_of_two(int n) {
  return __builtin_bit_cast(T, exponent_bits<T>(n));
}

// c[I] + c[I + Step] x + c[I + 2 Step] x^2 + ... by Horner's rule.
template <class T, int Step, int I, int N>
CHAINRULE_INLINE V<T> horner(V<T> x, const T (&c)[N]) {
  if constexpr (I + Step >= N)
    return splat<T>(c[I]);
  else
    return fma(horner<T, Step, I + Step>(x, c), x, splat<T>(c[I]));
}
// c[I] + c[I + 1] x + .... In a long one all but the first two terms are summed as even + x odd:
// two chains that run at the same time (measured a fifth faster) where rounding matters least.
template <class T, int I = 0, int N>
CHAINRULE_INLINE V<T> polynomial(V<T> x, const T (&c)[N]) {
  if constexpr (N - I < 8) {
    return horner<T, 1, I>(x, c);
  } else {
    const V<T> square = x * x;
    const V<T> rest = fma(horner<T, 2, I + 3>(square, c), x, horner<T, 2, I + 2>(square, c));
    return fma(fma(rest, x, splat<T>(c[I + 1])), x, splat<T>(c[I]));
  }
}

// ---- Constants ----

// *_end: logistic, where t e^-t is 0; normal, where t e^(-t^2 / 2) is 0; tanh, where it is 1.
// exp is infinite from exp_high and 0 to exp_low, expm1 is -1 to expm1_low.
template <class T>
struct Elementary;

template <>
struct Elementary<float> {
  static constexpr float log2_e = 0x1.715476p+0f;
  static constexpr float ln2_high = 0x1.62e43p-1f, ln2_low = -0x1.05c61p-29f;
  static constexpr float pdf_0 = 0x1.988454p-2f;  // 1 / sqrt(2 pi)
  static constexpr std::uint32_t sqrt_half_bits = 0x3f3504f3;
  static constexpr float exp_high = 89, exp_low = -104, expm1_low = -20;
  static constexpr float logistic_end = 112, normal_end = 15, tanh_end = 10;
  static constexpr float exp[] = {0.49999997f, 0.166665465f, 0.0416674428f, 8.36625788e-3f,
                                  1.38697925e-3f};
  static constexpr float log[] = {0.666669488f, 0.399576604f, 0.303643972f};
  static constexpr float mills[] = {0.755285144f,   -0.607896626f,   0.387136281f,   -0.186522171f,
                                    0.0604108907f,  -7.53396004e-3f, -3.540884e-3f,  1.58747134e-3f,
                                    2.24381147e-4f, -1.39354481e-4f, -2.04523385e-5f};
  static constexpr float erf[] = {0.128379166f,  -0.37612626f,   0.112835787f,  -0.0268533472f,
                                  5.1871622e-3f, -7.9978531e-4f, 7.80690316e-5f};
};

template <>
struct Elementary<double> {
  static constexpr double log2_e = 0x1.71547652b82fep+0;
  static constexpr double ln2_high = 0x1.62e42fefa39efp-1, ln2_low = 0x1.abc9e3b39803fp-56;
  static constexpr double pdf_0 = 0x1.9884533d43651p-2;
  static constexpr std::uint64_t sqrt_half_bits = 0x3fe6a09e667f3bcd;
  static constexpr double exp_high = 710, exp_low = -746, expm1_low = -40;
  static constexpr double logistic_end = 760, normal_end = 39, tanh_end = 20;
  static constexpr double exp[] = {
      0.50000000000000056,   0.16666666666666649,   0.041666666666576299,  8.333333333360466e-3,
      1.3888888931378057e-3, 1.9841269769298059e-4, 2.4801505626808115e-5, 2.7557370450586292e-6,
      2.7625881219026821e-7, 2.5063705066475156e-8};
  static constexpr double log[] = {0.6666666666667268,  0.39999999996175872, 0.28571429393062231,
                                   0.22222138662948729, 0.18186350145776589, 0.15250295645390294,
                                   0.15367433956834547};
  static constexpr double mills[] = {
      0.75528513041575152,   -0.60789664197189208,    0.38713740074221242,    -0.18652185795965934,
      0.060396574890927202,  -7.5401889666207042e-3,  -3.4796923656072575e-3, 1.6308184554894166e-3,
      1.333442810286915e-4,  -2.3109491659067014e-4,  -1.908000841650159e-6,  3.5144608279646109e-5,
      7.1545036267467011e-7, -5.9200615614710792e-6,  -6.2614514148121073e-7, 1.0218383346355748e-6,
      2.6526302430733377e-7, -1.5645001247646431e-7,  -7.799610913989316e-8,  1.5906429127709233e-8,
      1.4894889787536929e-8, -2.7596688947511955e-10, -1.2242678773074049e-9};
  static constexpr double erf[] = {
      0.12837916709551256,   -0.37612638903183343,   0.11283791670936949,   -0.026866170641958603,
      5.2239775967283806e-3, -8.5483254844743669e-4, 1.2055280475630522e-4, -1.4924465132367094e-5,
      1.644414298589982e-6,  -1.6183922863883358e-7, 1.3616359770046063e-8, -7.607097610271288e-10};
};

// ---- exp ----

// e^(x + correction) = 2^n (1 + p), n = round(x / ln 2). Adding 1.5 * 2^mantissa rounds to an
// integer; adding the bias and kOffset too makes the low bits of `shifted` the exponent field of
// 2^(n + kOffset). x + correction - n ln 2 = r + low with r exact and |r| <= ln 2 / 2. With
// y = r + low rounded, p = r + (low + y^2 q(y)).
template <class T>
struct ReducedExp {
  V<T> shifted, p;
};
template <class T, int kOffset>
CHAINRULE_INLINE ReducedExp<T> reduced_exp(V<T> x, V<T> correction = splat<T>(T(0))) {
  constexpr T shift = T(3) * power_of_two<T>(kMantissaBits<T> - 1) + T(kBias<T> + kOffset);
  const V<T> shifted = fma(x, splat<T>(Elementary<T>::log2_e), splat<T>(shift));
  const V<T> n = shifted - shift;
  const V<T> r = fma(n, splat<T>(-Elementary<T>::ln2_high), x);
  const V<T> low = fma(n, splat<T>(-Elementary<T>::ln2_low), correction);
  const V<T> y = r + low;
  return {shifted, r + fma(y * y, polynomial<T>(y, Elementary<T>::exp), low)};
}

// As 2^h (1 + p) 2^(n - h), h = floor(n / 2), so that only the last product can round or overflow.
// Error: 0.90 (float), 0.88 (double).
template <class T>
CHAINRULE_INLINE V<T> exp(V<T> x) {
  x = min<T>(splat<T>(Elementary<T>::exp_high), max<T>(splat<T>(Elementary<T>::exp_low), x));
  const ReducedExp<T> e = reduced_exp<T, kBias<T>>(x);
  const Pattern<T> exponent = pattern<T>(e.shifted);
  const Pattern<T> half = exponent >> 1;
  const V<T> scale = from_pattern<T>(half << kMantissaBits<T>);
  return fma(scale, e.p, scale) * from_pattern<T>((exponent - half) << kMantissaBits<T>);
}

// 2^n p + (2^n - 1), halved until the last step as 2^n may overflow. Error: 1.7, 1.7.
template <class T>
CHAINRULE_INLINE V<T> expm1(V<T> x) {
  const V<T> y =
      min<T>(splat<T>(Elementary<T>::exp_high), max<T>(splat<T>(Elementary<T>::expm1_low), x));
  const ReducedExp<T> e = reduced_exp<T, -1>(y);
  const V<T> half = from_pattern<T>(pattern<T>(e.shifted) << kMantissaBits<T>);
  const V<T> result = fma(half, e.p, half - T(0.5)) * T(2);
  return abs<T>(x) < power_of_two<T>(-kMantissaBits<T> - 2) ? x : result;
}

// e^x as scale (1 + p) 2^-kOffset. With kOffset = +-kScale, scale and its products are normal: a
// result becomes subnormal only in the last multiplication or division.
template <class T>
inline constexpr int kScale = sizeof(T) == 4 ? 64 : 512;
template <class T>
inline constexpr T kDown = power_of_two<T>(-kScale<T>);

template <class T>
struct ScaledExp {
  V<T> scale, p;
  CHAINRULE_INLINE V<T> times(V<T> factor) const { return fma(factor, p, factor) * scale; }
  CHAINRULE_INLINE V<T> times(V<T> factor, V<T> low) const {
    return (factor + fma(factor, p, fma(low, p, low))) * scale;
  }
};
template <class T, int kOffset>
CHAINRULE_INLINE ScaledExp<T> scaled_exp(V<T> x, V<T> correction = splat<T>(T(0))) {
  const ReducedExp<T> e = reduced_exp<T, kOffset>(x, correction);
  return {from_pattern<T>(pattern<T>(e.shifted) << kMantissaBits<T>), e.p};
}

// ---- log ----

// k ln 2 + log(1 + f) + correction, 2/3 <= 1 + f <= 3/2: with s = f / (2 + f) and z = s^2,
// log(1 + f) = f - (f^2 / 2 - s (f^2 / 2 + z p(z))).
template <class T>
CHAINRULE_INLINE V<T> log_reduced(V<T> k, V<T> f, V<T> correction) {
  const V<T> s = f / (T(2) + f);
  const V<T> z = s * s;
  const V<T> half_square = T(0.5) * f * f;
  const V<T> inner = fma(z, polynomial<T>(z, Elementary<T>::log), half_square);
  const V<T> low = fma(k, splat<T>(Elementary<T>::ln2_low), correction);
  return fma(k, splat<T>(Elementary<T>::ln2_high), f - (half_square - fma(s, inner, low)));
}

// x = 2^k m with sqrt(1/2) <= m < sqrt(2), for a normal x > 0; k is found as the number zero + k.
template <class T>
struct Split {
  static constexpr T zero = power_of_two<T>(kMantissaBits<T>) + T(kBias<T>);
  V<T> zero_plus_k, m;
  CHAINRULE_INLINE explicit Split(V<T> x) {
    constexpr auto lowest = Elementary<T>::sqrt_half_bits;
    constexpr auto fraction = exponent_bits<T>(1 - kBias<T>) - 1;
    const Pattern<T> moved = pattern<T>(x) + (exponent_bits<T>(0) - lowest);
    zero_plus_k = from_pattern<T>((moved >> kMantissaBits<T>) | exponent_bits<T>(kMantissaBits<T>));
    m = from_pattern<T>((moved & fraction) + lowest);
  }
};

// -inf at 0, NaN below. Error: 0.84, 0.93.
template <class T>
CHAINRULE_INLINE V<T> log(V<T> x) {
  constexpr int kLift = kMantissaBits<T> + 2;
  const auto subnormal = x < power_of_two<T>(1 - kBias<T>);
  const Split<T> split(subnormal ? x * power_of_two<T>(kLift) : x);
  const V<T> zero = subnormal ? splat<T>(Split<T>::zero + T(kLift)) : splat<T>(Split<T>::zero);
  const V<T> result = log_reduced<T>(split.zero_plus_k - zero, split.m - T(1), splat<T>(T(0)));
  const V<T> special = x == T(0) ? splat<T>(-kInfinity<T>) : splat<T>(kNaN<T>);
  return x > T(0) ? (x < kInfinity<T> ? result : x) : special;
}

// log of the rounded u = 1 + x = 2^k m, plus what rounding lost, (x - (u - 1)) / u, where 1 / m is
// 2.06 - m closely enough. Where k = 0 nothing is lost: f = x. -inf at -1, NaN below.
// Error: 0.92, 0.95.
template <class T>
CHAINRULE_INLINE V<T> log1p(V<T> x) {
  const V<T> u = T(1) + x;
  const Split<T> split(u);
  const V<T> k = split.zero_plus_k - Split<T>::zero;
  const V<T> scale =  // 2^(2 - k)
      from_pattern<T>(pattern<T>(split.m) - pattern<T>(u) + exponent_bits<T>(2));
  const V<T> lost = (x - (u - T(1))) * scale * (T(0.515) - T(0.25) * split.m);
  const auto exact = k == T(0);
  const V<T> result = log_reduced<T>(k, exact ? x : split.m - T(1), exact ? splat<T>(T(0)) : lost);
  const V<T> special = x == T(-1) ? splat<T>(-kInfinity<T>) : splat<T>(kNaN<T>);
  return x > T(-1) ? (x < kInfinity<T> ? copysign<T>(result, x) : x) : special;
}

// ---- Logistic functions ----

// (1 - e) / (1 + e), e = e^(-2 |x|). Error: 1.97, 2.02.
template <class T>
CHAINRULE_INLINE V<T> tanh(V<T> x) {
  const V<T> t = min<T>(splat<T>(Elementary<T>::tanh_end), abs<T>(x));
  const ScaledExp<T> e = scaled_exp<T, 0>(T(-2) * t);
  const V<T> numerator = fma(-e.scale, e.p, T(1) - e.scale);
  return copysign<T>(numerator / fma(e.scale, e.p, T(1) + e.scale), x);
}

// (1 + e^x) 2^-kScale.
template <class T>
CHAINRULE_INLINE V<T> one_plus_exp(V<T> x) {
  const ScaledExp<T> e = scaled_exp<T, -kScale<T>>(x);
  return e.scale + fma(e.scale, e.p, splat<T>(kDown<T>));
}
template <class T>
CHAINRULE_INLINE V<T> logistic_magnitude(V<T> x) {
  return min<T>(splat<T>(Elementary<T>::logistic_end), abs<T>(x));
}

// 1 / (1 + e^-x). Error: 2.00, 2.00.
template <class T>
CHAINRULE_INLINE V<T> sigmoid(V<T> x) {
  const V<T> y = max<T>(splat<T>(T(-40)), -x);
  return kDown<T> / one_plus_exp<T>(min<T>(splat<T>(Elementary<T>::logistic_end), y));
}

// log(1 + e^x) = max(x, 0) + log(1 + e), e = e^-|x|, where 1 + e = 2 (1 + (e - 1) / 2) for e > 1/2.
// Error: 1.7, 1.7.
template <class T>
CHAINRULE_INLINE V<T> softplus(V<T> x) {
  const V<T> e = scaled_exp<T, kScale<T>>(-logistic_magnitude<T>(x)).times(splat<T>(kDown<T>));
  const V<T> zero = splat<T>(T(0));
  const auto high = e > T(0.5);
  const V<T> k = high ? splat<T>(T(1)) : zero;
  return max<T>(x, zero) + log_reduced<T>(k, high ? T(0.5) * e - T(0.5) : e, zero);
}

// x sigmoid(x) = max(x, 0) - t / (1 + e^t), t = |x|. Error: 2.00, 1.99.
template <class T>
CHAINRULE_INLINE V<T> silu(V<T> x) {
  const V<T> t = logistic_magnitude<T>(x);
  return max<T>(splat<T>(T(-0.0)), x) - t / one_plus_exp<T>(t) * kDown<T>;
}

// silu'(-t) = w (1 - t (1 - w)), w = sigmoid(-t) = 1 / (1 + e^t); silu'(t) = 1 - silu'(-t).
// Error, in ulp of max(|result|, 1/8): 3.7, 3.6; of the result itself below -2: 3.4, 3.1.
template <class T>
CHAINRULE_INLINE V<T> silu_derivative(V<T> x) {
  const V<T> t = logistic_magnitude<T>(x);
  const V<T> w = T(1) / one_plus_exp<T>(t);
  const V<T> at_minus_t = w * fma(-t, T(1) - w * kDown<T>, splat<T>(T(1))) * kDown<T>;
  return x < T(0) ? at_minus_t : T(1) - at_minus_t;
}

// ---- The normal distribution ----

template <class T>
CHAINRULE_INLINE V<T> normal_magnitude(V<T> x) {
  return min<T>(splat<T>(Elementary<T>::normal_end), abs<T>(x));
}

// e^(-t^2 / 2); what rounding t^2 loses is put back.
template <class T>
CHAINRULE_INLINE ScaledExp<T> gaussian(V<T> t) {
  const V<T> square = t * t;
  return scaled_exp<T, kScale<T>>(T(-0.5) * square, T(-0.5) * fma(t, t, -square));
}

// Phi(-t) = m e^(-t^2 / 2), t >= 0, as m + m_low, where m = w p(y), w = 1 / (t + 4) and
// y = (t - 4) w = 1 - 8 w. m_low gathers what rounding loses in w (m changes like w^a, a near
// 1.89 - 1.09 y), in p and in w p; p_0 - p is exact as p_0 is even in its last place.
template <class T>
struct NormalTail {
  V<T> m, m_low;
  CHAINRULE_INLINE explicit NormalTail(V<T> t) {
    const V<T> d = t + T(4);
    const V<T> w = T(1) / d;
    const V<T> w_lost = fma(-w, t - (d - T(4)), fma(-w, d, splat<T>(T(1))));
    const V<T> y = fma(w, splat<T>(T(-8)), splat<T>(T(1)));
    const V<T> p_0 = splat<T>(Elementary<T>::mills[0]);
    const V<T> q = polynomial<T, 1>(y, Elementary<T>::mills);
    const V<T> p = fma(y, q, p_0);
    const V<T> p_low = fma(y, q, p_0 - p);
    const V<T> a = fma(y, splat<T>(T(-1.09)), splat<T>(T(1.89)));
    m = w * p;
    m_low = fma(m, w_lost * a, fma(w, p_low, fma(w, p, -m)));
  }
};

// Phi(x), relative also in the lower tail. Error: 1.86, 2.26.
template <class T>
CHAINRULE_INLINE V<T> normal_cdf(V<T> x) {
  const V<T> t = normal_magnitude<T>(x);
  const NormalTail<T> tail(t);
  const V<T> at_minus_t = gaussian<T>(t).times(tail.m, tail.m_low) * kDown<T>;
  return x > T(0) ? T(1) - at_minus_t : at_minus_t;
}

// x + x p(x^2) below 1, then 1 - 2 Phi(-sqrt(2) |x|). Error: 1.2, 1.4.
template <class T>
CHAINRULE_INLINE V<T> erf(V<T> x) {
  const V<T> near = fma(x, polynomial<T>(x * x, Elementary<T>::erf), x);
  const V<T> t = normal_magnitude<T>(x * T(0x1.6a09e667f3bcdp+0));
  const NormalTail<T> tail(t);
  const V<T> far = T(1) - gaussian<T>(t).times(tail.m, tail.m_low) * (T(2) * kDown<T>);
  return abs<T>(x) < T(1) ? near : copysign<T>(far, x);
}

// x Phi(x) = max(x, 0) - t Phi(-t), t = |x|. Error: 1.91, 2.03.
template <class T>
CHAINRULE_INLINE V<T> gelu(V<T> x) {
  const V<T> t = normal_magnitude<T>(x);
  const NormalTail<T> tail(t);
  const V<T> tm = t * tail.m;
  const V<T> tm_low = fma(t, tail.m_low, fma(t, tail.m, -tm));
  return max<T>(splat<T>(T(-0.0)), x) - gaussian<T>(t).times(tm, tm_low) * kDown<T>;
}

// gelu'(-t) = Phi(-t) - t phi(t), gelu'(t) = 1 - gelu'(-t).
// Error, in ulp of max(|result|, 1/8): 3.7, 3.9; of the result itself below -2: 2.6, 2.5.
template <class T>
CHAINRULE_INLINE V<T> gelu_derivative(V<T> x) {
  const V<T> t = normal_magnitude<T>(x);
  const NormalTail<T> tail(t);
  const V<T> factor = fma(t, splat<T>(-Elementary<T>::pdf_0), tail.m) + tail.m_low;
  const V<T> at_minus_t = gaussian<T>(t).times(factor) * kDown<T>;
  return x < T(0) ? at_minus_t : T(1) - at_minus_t;
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
