// The vector operations that the kernels need, and no more.
//
// An ISA file defines CHAINRULE_ISA (the namespace) and CHAINRULE_VECTOR_BYTES
// (0: one element at a time) before it includes this header. V<T> is then a
// GCC/Clang vector, or T itself at width 1, so that + - * / < ?: and integer
// operations on Bits<T> are the language's own. Only fused multiply-add, square
// root and the masked tails need a function; everything has internal linkage,
// so that no copy compiled for one CPU can stand in for another's.
#pragma once

#include <cstddef>
#include <cstdint>

#if CHAINRULE_VECTOR_BYTES >= 32
#include <immintrin.h>
#elif CHAINRULE_VECTOR_BYTES == 16
#include <arm_neon.h>
#endif

#define CHAINRULE_INLINE inline __attribute__((always_inline))

// For a loop over several vectors: puts their chains of operations side by side, so that they
// overlap. Clang does so unasked, and GCC for other processors than x86.
#if CHAINRULE_VECTOR_BYTES >= 32 && !defined(__clang__)
#define CHAINRULE_SCHEDULED __attribute__((optimize("schedule-insns", "sched-pressure")))
#else
#define CHAINRULE_SCHEDULED
#endif

namespace chainrule::CHAINRULE_ISA {
namespace {

template <class T>
struct ElementOf;
template <>
struct ElementOf<float> {
  using Int = std::int32_t;
  using Unsigned = std::uint32_t;
};
template <>
struct ElementOf<double> {
  using Int = std::int64_t;
  using Unsigned = std::uint64_t;
};

#if CHAINRULE_VECTOR_BYTES == 0
template <class T>
struct VectorOf {
  using Value = T;
  using Bits = typename ElementOf<T>::Int;
  using Pattern = typename ElementOf<T>::Unsigned;
};
template <class T>
inline constexpr int kWidth = 1;
#else
template <class T>
struct VectorOf {
  typedef T Value __attribute__((vector_size(CHAINRULE_VECTOR_BYTES)));
  typedef typename ElementOf<T>::Int Bits __attribute__((vector_size(CHAINRULE_VECTOR_BYTES)));
  typedef typename ElementOf<T>::Unsigned Pattern
      __attribute__((vector_size(CHAINRULE_VECTOR_BYTES)));
};
template <class T>
inline constexpr int kWidth = CHAINRULE_VECTOR_BYTES / static_cast<int>(sizeof(T));
#endif

template <class T>
using V = typename VectorOf<T>::Value;
template <class T>
using Bits = typename VectorOf<T>::Bits;
// The bits as unsigned integers: AVX2 shifts 64 bits right only so, and the bits of a NaN may
// overflow without harm.
template <class T>
using Pattern = typename VectorOf<T>::Pattern;

template <class T>
CHAINRULE_INLINE Bits<T> bits(V<T> x) {
  return __builtin_bit_cast(Bits<T>, x);
}
template <class T>
CHAINRULE_INLINE V<T> value(Bits<T> x) {
  return __builtin_bit_cast(V<T>, x);
}
template <class T>
CHAINRULE_INLINE Pattern<T> pattern(V<T> x) {
  return __builtin_bit_cast(Pattern<T>, x);
}
template <class T>
CHAINRULE_INLINE V<T> from_pattern(Pattern<T> x) {
  return __builtin_bit_cast(V<T>, x);
}

CHAINRULE_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
CHAINRULE_INLINE double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }

#if CHAINRULE_VECTOR_BYTES == 0

CHAINRULE_INLINE float sqrt(float a) { return __builtin_sqrtf(a); }
CHAINRULE_INLINE double sqrt(double a) { return __builtin_sqrt(a); }
template <class T>
CHAINRULE_INLINE V<T> splat(T x) {
  return x;
}
template <class T>
CHAINRULE_INLINE V<T> load(const T* p) {
  return *p;
}
template <class T>
CHAINRULE_INLINE void store(T* p, V<T> v) {
  *p = v;
}
// The first n (0 <= n <= width) elements; zeros beyond, which are never touched in memory.
template <class T>
CHAINRULE_INLINE V<T> load_partial(const T* p, std::ptrdiff_t n) {
  return n > 0 ? *p : T(0);
}
template <class T>
CHAINRULE_INLINE void store_partial(T* p, V<T> v, std::ptrdiff_t n) {
  if (n > 0) *p = v;
}

#else

template <class T>
CHAINRULE_INLINE V<T> load(const T* p) {
  V<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
CHAINRULE_INLINE void store(T* p, V<T> v) {
  __builtin_memcpy(p, &v, sizeof v);
}

#if CHAINRULE_VECTOR_BYTES >= 32
// 8, 16 or 32 bytes from p, and anything beyond.
template <int Bytes>
CHAINRULE_INLINE __m256 load_bytes(const void* p) {
  if constexpr (Bytes == 8) {
    double two;  // a copy: p need only be aligned to a float
    __builtin_memcpy(&two, p, sizeof two);
    return _mm256_castps128_ps256(_mm_castpd_ps(_mm_set_sd(two)));
  } else if constexpr (Bytes == 16) {
    return _mm256_castps128_ps256(_mm_loadu_ps(static_cast<const float*>(p)));
  } else {
    return _mm256_loadu_ps(static_cast<const float*>(p));
  }
}
#endif

#if CHAINRULE_VECTOR_BYTES == 64

CHAINRULE_INLINE V<float> fma(V<float> a, V<float> b, V<float> c) {
  return (V<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
CHAINRULE_INLINE V<double> fma(V<double> a, V<double> b, V<double> c) {
  return (V<double>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
// The zero-masked form: GCC 12 warns that the plain one reads an undefined vector.
CHAINRULE_INLINE V<float> sqrt(V<float> a) {
  return (V<float>)_mm512_maskz_sqrt_ps(0xffff, (__m512)a);
}
CHAINRULE_INLINE V<double> sqrt(V<double> a) {
  return (V<double>)_mm512_maskz_sqrt_pd(0xff, (__m512d)a);
}
template <class T>
CHAINRULE_INLINE V<T> splat(T x) {
  if constexpr (sizeof(T) == 4)
    return (V<T>)_mm512_set1_ps(x);
  else
    return (V<T>)_mm512_set1_pd(x);
}
// The first N elements, more than one, and anything beyond, which is never touched in memory.
template <class T, int N>
CHAINRULE_INLINE V<T> load_first(const T* p) {
  if constexpr (N == kWidth<T>)
    return load<T>(p);
  else
    return (V<T>)_mm512_castps256_ps512(load_bytes<N * sizeof(T)>(p));
}
// The first n (0 <= n <= width) elements; zeros beyond, which are never touched in memory.
template <class T>
CHAINRULE_INLINE V<T> load_partial(const T* p, std::ptrdiff_t n) {
  const unsigned mask = (1u << n) - 1u;
  if constexpr (sizeof(T) == 4)
    return (V<T>)_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), p);
  else
    return (V<T>)_mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), p);
}
template <class T>
CHAINRULE_INLINE void store_partial(T* p, V<T> v, std::ptrdiff_t n) {
  const unsigned mask = (1u << n) - 1u;
  if constexpr (sizeof(T) == 4)
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>(mask), (__m512)v);
  else
    _mm512_mask_storeu_pd(p, static_cast<__mmask8>(mask), (__m512d)v);
}

#elif CHAINRULE_VECTOR_BYTES == 32

CHAINRULE_INLINE V<float> fma(V<float> a, V<float> b, V<float> c) {
  return (V<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
CHAINRULE_INLINE V<double> fma(V<double> a, V<double> b, V<double> c) {
  return (V<double>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
CHAINRULE_INLINE V<float> sqrt(V<float> a) { return (V<float>)_mm256_sqrt_ps((__m256)a); }
CHAINRULE_INLINE V<double> sqrt(V<double> a) { return (V<double>)_mm256_sqrt_pd((__m256d)a); }
template <class T>
CHAINRULE_INLINE V<T> splat(T x) {
  if constexpr (sizeof(T) == 4)
    return (V<T>)_mm256_set1_ps(x);
  else
    return (V<T>)_mm256_set1_pd(x);
}
// The first N elements, more than one, and anything beyond, which is never touched in memory.
template <class T, int N>
CHAINRULE_INLINE V<T> load_first(const T* p) {
  return (V<T>)load_bytes<N * sizeof(T)>(p);
}
// All bits set in the first n lanes.
template <class T>
CHAINRULE_INLINE __m256i first_lanes(std::ptrdiff_t n) {
  if constexpr (sizeof(T) == 4)
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  else
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}
// The first n (0 <= n <= width) elements; zeros beyond, which are never touched in memory.
template <class T>
CHAINRULE_INLINE V<T> load_partial(const T* p, std::ptrdiff_t n) {
  if constexpr (sizeof(T) == 4)
    return (V<T>)_mm256_maskload_ps(p, first_lanes<T>(n));
  else
    return (V<T>)_mm256_maskload_pd(p, first_lanes<T>(n));
}
template <class T>
CHAINRULE_INLINE void store_partial(T* p, V<T> v, std::ptrdiff_t n) {
  if constexpr (sizeof(T) == 4)
    _mm256_maskstore_ps(p, first_lanes<T>(n), (__m256)v);
  else
    _mm256_maskstore_pd(p, first_lanes<T>(n), (__m256d)v);
}

#elif CHAINRULE_VECTOR_BYTES == 16

CHAINRULE_INLINE V<float> fma(V<float> a, V<float> b, V<float> c) {
  return (V<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
CHAINRULE_INLINE V<double> fma(V<double> a, V<double> b, V<double> c) {
  return (V<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
CHAINRULE_INLINE V<float> sqrt(V<float> a) { return (V<float>)vsqrtq_f32((float32x4_t)a); }
CHAINRULE_INLINE V<double> sqrt(V<double> a) { return (V<double>)vsqrtq_f64((float64x2_t)a); }
template <class T>
CHAINRULE_INLINE V<T> splat(T x) {
  if constexpr (sizeof(T) == 4)
    return (V<T>)vdupq_n_f32(x);
  else
    return (V<T>)vdupq_n_f64(x);
}
// The first N elements, more than one, and anything beyond, which is never touched in memory.
template <class T, int N>
CHAINRULE_INLINE V<T> load_first(const T* p) {
  if constexpr (N == kWidth<T>)
    return load<T>(p);
  else
    return (V<T>)vcombine_f32(vld1_f32(p), vdup_n_f32(0));
}
// The first n (0 <= n <= width) elements; zeros beyond, which are never touched in memory. NEON has
// no masks: an element at a time.
template <class T>
CHAINRULE_INLINE V<T> load_partial(const T* p, std::ptrdiff_t n) {
  if (n == kWidth<T>) return load<T>(p);
  V<T> v{};
  for (std::ptrdiff_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
template <class T>
CHAINRULE_INLINE void store_partial(T* p, V<T> v, std::ptrdiff_t n) {
  if (n == kWidth<T>) return store<T>(p, v);
  for (std::ptrdiff_t i = 0; i < n; ++i) p[i] = v[i];
}

#else
#error "CHAINRULE_VECTOR_BYTES must be 0, 16, 32 or 64"
#endif
#endif

// All bits but the sign.
template <class T>
inline constexpr auto kMagnitude =
    static_cast<typename ElementOf<T>::Int>(~(std::uint64_t(1) << 63) >> (64 - 8 * sizeof(T)));

// |x|, and the sign of s on the magnitude of x.
template <class T>
CHAINRULE_INLINE V<T> abs(V<T> x) {
  return value<T>(bits<T>(x) & kMagnitude<T>);
}
template <class T>
CHAINRULE_INLINE V<T> copysign(V<T> x, V<T> s) {
#if CHAINRULE_VECTOR_BYTES == 64
  // Where the mask is set x, else s, in one instruction.
  const Bits<T> mask = Bits<T>{} + kMagnitude<T>;
  return (V<T>)_mm512_ternarylogic_epi32((__m512i)mask, (__m512i)x, (__m512i)s, 0xca);
#else
  return value<T>((bits<T>(x) & kMagnitude<T>) | (bits<T>(s) & ~kMagnitude<T>));
#endif
}

// a > b ? a : b and a < b ? a : b: b where either is NaN, or both are zeros. What the instructions
// of x86 do; left to itself, the compiler compares and selects where a is a constant.
template <class T>
CHAINRULE_INLINE V<T> max(V<T> a, V<T> b) {
#if CHAINRULE_VECTOR_BYTES == 64
  if constexpr (sizeof(T) == 4)
    return (V<T>)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b);
  else
    return (V<T>)_mm512_maskz_max_pd(0xff, (__m512d)a, (__m512d)b);
#elif CHAINRULE_VECTOR_BYTES == 32
  if constexpr (sizeof(T) == 4)
    return (V<T>)_mm256_max_ps((__m256)a, (__m256)b);
  else
    return (V<T>)_mm256_max_pd((__m256d)a, (__m256d)b);
#else
  return a > b ? a : b;
#endif
}
template <class T>
CHAINRULE_INLINE V<T> min(V<T> a, V<T> b) {
#if CHAINRULE_VECTOR_BYTES == 64
  if constexpr (sizeof(T) == 4)
    return (V<T>)_mm512_maskz_min_ps(0xffff, (__m512)a, (__m512)b);
  else
    return (V<T>)_mm512_maskz_min_pd(0xff, (__m512d)a, (__m512d)b);
#elif CHAINRULE_VECTOR_BYTES == 32
  if constexpr (sizeof(T) == 4)
    return (V<T>)_mm256_min_ps((__m256)a, (__m256)b);
  else
    return (V<T>)_mm256_min_pd((__m256d)a, (__m256d)b);
#else
  return a < b ? a : b;
#endif
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
