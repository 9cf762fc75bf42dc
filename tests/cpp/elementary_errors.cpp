// The errors of kernels/elementary.h in ulp, as the ISA in use computes it: float at all 2^32 bit
// patterns, double at points of many kinds. Exits with 1 where a bound is exceeded or a special
// value is wrong. With --bits it prints a hash of the results instead, the same for every ISA.
//
//   elementary_errors [--function NAME] [--type float|double] [--points N] [--bits]
#include <algorithm>
#include <atomic>
#include <bit>
#include <cfloat>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

#include "kernels/kernels.h"

#if __has_include(<quadmath.h>)
#include <quadmath.h>
#endif

namespace {

using chainrule::ElementaryFunction;

// ---- The functions, more precisely ----

static_assert(LDBL_MANT_DIG >= 64, "the reference of double is long double");

namespace libm {
using std::erf, std::erfc, std::exp, std::expm1, std::log, std::log1p, std::sqrt, std::tanh;
#if __has_include(<quadmath.h>)
using Finest = __float128;
#define X(name) \
  Finest name(Finest x) { return name##q(x); }
X(erf) X(erfc) X(exp) X(expm1) X(log) X(log1p) X(sqrt) X(tanh)
#undef X
#else
using Finest = long double;
#endif
}  // namespace libm

// Functions of libm, each within a few ulp of R, in compositions that magnify no error. For float,
// R = double leaves some 10^-8 ulp of float. For double, R = long double may leave 0.01 where it
// has 64 bits: points near the largest error are measured again in quadruple precision. Infinite
// arguments are looked at apart.
template <class R>
struct Reference {
  static R exp(R x) { return libm::exp(x); }
  static R expm1(R x) { return libm::expm1(x); }
  static R log(R x) { return libm::log(x); }
  static R log1p(R x) { return libm::log1p(x); }
  static R tanh(R x) { return libm::tanh(x); }
  static R erf(R x) { return libm::erf(x); }
  static R sigmoid(R x) { return 1 / (1 + libm::exp(-x)); }
  static R softplus(R x) { return libm::log1p(libm::exp(x > 0 ? -x : x)) + (x > 0 ? x : 0); }
  static R silu(R x) { return x * sigmoid(x); }
  static R gelu(R x) { return x * normal_cdf(x); }

  // s(x) (1 + x s(-x)) with s = sigmoid.
  static R silu_derivative(R x) {
    const R e = libm::exp(x > 0 ? -x : x);
    const R high = 1 / (1 + e), low = e * high;
    return x > 0 ? high * (1 + x * low) : low * (1 + x * high);
  }

  // erfc(u) / 2, u = -x / sqrt(2), magnifies a relative error of u by 2 u^2, up to 1500. So
  // 1 / sqrt(2) is high + low, x high is exact, and what u loses in rounding is put back by the
  // logarithmic derivative of erfc, nearly -(u + sqrt(u^2 + 4 / pi)).
  static R normal_cdf(R x) {
    constexpr R high = 0x1.6ap-1;
    const R low = (R(0.5) - high * high) / (libm::sqrt(R(0.5)) + high);
    const R u = -x * high - x * low;
    const R lost = (-x * high - u) - x * low;
    return R(0.5) * libm::erfc(u) * (1 - lost * (u + libm::sqrt(u * u + R(1.2732395))));
  }

  // Phi(x) + x phi(x), where x^2 = h^2 + (x - h) (x + h) with an exact h^2; saturated beyond 100.
  static R gelu_derivative(R x) {
    x = x > 100 ? 100 : x < -100 ? -100 : x;
    const R h = static_cast<R>(static_cast<float>(x));
    constexpr R pdf_0 = R(0x1.9884533d43651p-2) - R(0x1.cbc0d30ebfd15p-56);  // 1 / sqrt(2 pi)
    const R rest = (x - h) * (x + h) / -2;
    const R pdf = pdf_0 * libm::exp(h * h / -2) * (rest == 0 ? 1 : libm::exp(rest));
    return normal_cdf(x) + x * pdf;
  }
};

// f(x); a function without a reference does not compile.
template <class R>
R reference(ElementaryFunction f, R x) {
  switch (f) {
#define X(name)                  \
  case ElementaryFunction::name: \
    return Reference<R>::name(x);
    CHAINRULE_ELEMENTARY(X)
#undef X
  }
  std::abort();
}

// ---- What is asked of each ----

// The bounds in ulp for float and double, where double is neither trivial nor saturated, and the
// values at -inf, -0, +0 and +inf. tanh, gelu and normal_cdf are composed of several roundings.
// What is NaN at -inf is NaN below `low`. For x >= -2, errors are in ulp of `least_size` at least,
// as derivatives cross zero there.
struct Rule {
  std::string_view name;
  double float_bound, double_bound, low, high;
  double at_special[4];
  double least_size = 0;
};
constexpr double kLn2 = 0x1.62e42fefa39efp-1;

constexpr Rule kRules[] = {
    {"exp", 1, 1, -746, 710, {0, 1, 1, INFINITY}},
    {"expm1", 2, 2, -40, 710, {-1, -0.0, 0, INFINITY}},
    {"log", 1, 1, 0, 4, {NAN, -INFINITY, -INFINITY, INFINITY}},
    {"log1p", 2, 2, -1, 4, {NAN, -0.0, 0, INFINITY}},
    {"tanh", 2, 2.02, -20, 20, {-1, -0.0, 0, 1}},
    {"sigmoid", 2, 2, -746, 40, {0, 0.5, 0.5, 1}},
    {"softplus", 2, 2, -746, 40, {0, kLn2, kLn2, INFINITY}},
    {"erf", 2, 2, -6, 6, {-1, -0.0, 0, 1}},
    {"normal_cdf", 2, 2.26, -39, 9, {0, 0.5, 0.5, 1}},
    {"gelu", 2, 2.03, -39, 9, {-0.0, -0.0, 0, INFINITY}},
    {"gelu_derivative", 4, 4, -39, 9, {-0.0, 0.5, 0.5, 1}, 0.125},
    {"silu", 2, 2, -752, 40, {-0.0, -0.0, 0, INFINITY}},
    {"silu_derivative", 4, 4, -752, 40, {-0.0, 0.5, 0.5, 1}, 0.125},
};
static_assert(std::ranges::equal(kRules, chainrule::kNames<ElementaryFunction>, {}, &Rule::name),
              "one rule a function, in the order of CHAINRULE_ELEMENTARY");

const Rule& rule_of(ElementaryFunction f) { return kRules[static_cast<std::size_t>(f)]; }

// ---- Arguments ----

constexpr std::size_t kBlock = 1 << 14;
using Random = std::mt19937_64;

void fill(const Rule&, std::uint64_t block, float* x) {
  for (std::size_t i = 0; i < kBlock; ++i)
    x[i] = std::bit_cast<float>(static_cast<std::uint32_t>(block * kBlock + i));
}

// Ends of domains and of the format, branches and saturations of elementary.h, zeros.
constexpr double kMarks[] = {0,       INFINITY, DBL_MIN, DBL_MAX,  0x1p-54, 0x1p-53, 0.5,
                             kLn2,    0.7518,   1,       1.278465, 2,       4,       8.3,
                             20,      36.7,     37.4297, 38.5,     39,      40,      708.4,
                             709.783, 710,      745.13,  746,      760};

// Where the reductions of exp(x), exp(2 x), exp(x^2 / 2), exp(x^2), log(x) and log1p(x) change.
double change_of_reduction(Random& random) {
  const int n = static_cast<int>(random() % 1100);
  const double x = (n + 0.5) * kLn2, root = std::sqrt(0.5);
  const double power = std::ldexp(root, n - 550), near_one = std::ldexp(root, n % 64) - 1;
  const double changes[] = {x, x / 2, std::sqrt(2 * x), std::sqrt(x), power, near_one};
  return changes[random() % std::size(changes)];
}

double argument(const Rule& rule, Random& random) {
  const std::uint64_t kind = random() % 12, bits = random(), sign = random() << 63;
  if (kind == 0) return std::bit_cast<double>(bits);
  if (kind == 1) return std::bit_cast<double>(sign | bits >> 11);  // subnormal, or little more
  if (kind == 2) return std::bit_cast<double>(sign | (960 + random() % 75) << 52 | bits >> 12);
  if (kind <= 4) {
    const double x = kind == 3 ? kMarks[random() % std::size(kMarks)] : change_of_reduction(random);
    const auto away = static_cast<std::int64_t>(bits) >> (24 + random() % 40);  // up to 2^39 places
    const auto near = static_cast<std::uint64_t>(std::bit_cast<std::int64_t>(x) + away);
    return std::bit_cast<double>(near ^ sign);
  }
  const double fraction = static_cast<double>(bits >> 11) * 0x1p-53;
  return kind == 5 ? 16 * fraction - 8 : rule.low + (rule.high - rule.low) * fraction;
}

void fill(const Rule& rule, std::uint64_t block, double* x) {
  Random random(block);
  std::generate(x, x + kBlock, [&] { return argument(rule, random); });
}

// ---- Errors ----

constexpr auto magnitude = [](auto x) { return x < 0 ? -x : x; };

// The distance of neighbours of type T at a finite x >= 0, from the power of two below x.
template <class T, class R>
R spacing(R x) {
  const auto rounded = static_cast<double>(x);
  const auto bits = std::bit_cast<std::uint64_t>(rounded) - (static_cast<R>(rounded) > x);
  const auto power = std::bit_cast<double>(bits & 0x7ff0'0000'0000'0000);
  using Limits = std::numeric_limits<T>;
  return static_cast<R>(std::max<double>(power, Limits::min()) * Limits::epsilon());
}

// f(x) as expected, x = 0 or infinite; zeros have signs.
template <class T>
bool special_value_holds(const Rule& rule, T x, T got) {
  const double expected = rule.at_special[std::isinf(x) ? 3 * (x > 0) : 1 + !std::signbit(x)];
  if (std::isnan(expected)) return std::isnan(got);
  return got == static_cast<T>(expected) && std::signbit(got) == std::signbit(expected);
}

// An infinite result counts as the power of two where the format ends. A missing infinity, or a
// NaN missing or out of place, is an infinite error.
template <class T, class R>
double error_of(const Rule& rule, T x, T got, R exact) {
  const bool outside = std::isnan(x) || (std::isnan(rule.at_special[0]) && x < T(rule.low));
  if (outside || std::isnan(got)) return outside && std::isnan(got) ? 0 : INFINITY;
  constexpr R end = R(2) * R(sizeof(T) == 4 ? 0x1p127 : 0x1p1023);
  R size = magnitude(exact);
  if (size >= end) return std::isinf(got) && (got > 0) == (exact > 0) ? 0 : INFINITY;
  const R value = !std::isinf(got) ? static_cast<R>(got) : got > 0 ? end : -end;
  if (x >= -2) size = std::max(size, static_cast<R>(rule.least_size));
  const auto error = static_cast<double>(magnitude(value - exact) / spacing<T>(size));
  return std::isnan(error) ? INFINITY : error;
}

template <class T>
struct Errors {
  using R = std::conditional_t<sizeof(T) == 4, double, long double>;
  using Limits = std::numeric_limits<T>;
  static constexpr double kDoubt = 0.02;  // more than the error of the reference
  double worst = -1;
  T where = 0;

  void add(ElementaryFunction f, const T* x, const T* got) {
    for (std::size_t i = 0; i < kBlock; ++i) add(f, x[i], got[i]);
  }
  void add(ElementaryFunction f, T x, T got) {
    const Rule& rule = rule_of(f);
    double error;
    if (x == 0 || std::isinf(x)) {
      error = special_value_holds(rule, x, got) ? 0 : INFINITY;
    } else {
      const R exact = reference<R>(f, x);
      // An ulp is more than epsilon / 2 of the value: enough to pass over most points.
      const R least_ulp = std::max(magnitude(exact), R(Limits::min())) * R(Limits::epsilon() / 2);
      if (magnitude(got - exact) < least_ulp * R(worst - kDoubt)) return;
      error = error_of(rule, x, got, exact);
      if (sizeof(T) == 8 && error > worst - kDoubt)
        error = error_of(rule, x, got, reference<libm::Finest>(f, x));
    }
    if (error > worst) worst = error, where = x;
  }
  void add(const Errors& other) {
    if (other.worst > worst) *this = other;
  }
};

// FNV-1a over 64 bits with a shift: the product alone carries no sign bit down.
template <class T>
struct Hash {
  std::uint64_t sum = 0;

  void add(ElementaryFunction, const T* x, const T* got) {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    std::uint64_t hash = 0xcbf29ce484222325 ^ std::bit_cast<Bits>(x[0]);
    for (std::size_t i = 0; i < kBlock; ++i) {
      const T result = std::isnan(got[i]) ? std::numeric_limits<T>::quiet_NaN() : got[i];
      hash = (hash ^ std::bit_cast<Bits>(result)) * 0x100000001b3;
      hash ^= hash >> 32;
    }
    sum += hash;
  }
  void add(const Hash& other) { sum += other.sum; }
};

// ---- Runs ----

struct Options {
  std::string_view function, type;
  std::uint64_t points = 100'000'000;
  bool bits = false;
};

template <class T, class Result>
Result over_all_points(ElementaryFunction f, const Options& options) {
  const std::uint64_t points = sizeof(T) == 4 ? std::uint64_t(1) << 32 : options.points;
  std::atomic<std::uint64_t> next = 0;
  std::vector<Result> results(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::jthread> threads;
  for (Result& result : results)
    threads.emplace_back([&] {
      std::vector<T> x(kBlock), got(kBlock);
      for (std::uint64_t block; (block = next++) * kBlock < points;) {
        fill(rule_of(f), block, x.data());
        chainrule::kernels<T>().elementary(f, got.data(), x.data(), kBlock);
        result.add(f, x.data(), got.data());
      }
    });
  threads.clear();  // waits for them
  Result total;
  for (const Result& result : results) total.add(result);
  return total;
}

template <class T>
bool run(ElementaryFunction f, const Options& options) {
  const Rule& rule = rule_of(f);
  std::printf("%-16s %-7s", rule.name.data(), sizeof(T) == 4 ? "float" : "double");
  if (options.bits) {
    const Hash hash = over_all_points<T, Hash<T>>(f, options);
    std::printf("%016llx\n", static_cast<unsigned long long>(hash.sum));
    return true;
  }
  const auto start = std::chrono::steady_clock::now();
  const Errors errors = over_all_points<T, Errors<T>>(f, options);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const bool good = errors.worst <= (sizeof(T) == 4 ? rule.float_bound : rule.double_bound);
  std::printf("%7.4f at %-24a %6.1f s%s\n", errors.worst, double(errors.where), seconds.count(),
              good ? "" : "  above its bound");
  std::fflush(stdout);
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view key = argv[i];
    if (key == "--bits") {
      options.bits = true;
    } else if (key == "--function" && i + 1 < argc) {
      options.function = argv[++i];
    } else if (key == "--type" && i + 1 < argc) {
      options.type = argv[++i];
    } else if (key == "--points" && i + 1 < argc) {
      options.points = std::strtoull(argv[++i], nullptr, 10);
    } else {
      return std::fprintf(stderr, "unknown or incomplete option %s\n", argv[i]), 2;
    }
  }
  if (const char* error = chainrule::isa_error()) return std::fprintf(stderr, "%s\n", error), 2;
  const auto asked = [](auto option, auto value) { return option.empty() || option == value; };
  bool good = true;
  int runs = 0;
  for (std::size_t i = 0; i < std::size(kRules); ++i) {
    const auto f = static_cast<ElementaryFunction>(i);
    if (!asked(options.function, kRules[i].name)) continue;
    if (asked(options.type, "float")) ++runs, good &= run<float>(f, options);
    if (asked(options.type, "double")) ++runs, good &= run<double>(f, options);
  }
  return good && runs > 0 ? 0 : 1;
}
