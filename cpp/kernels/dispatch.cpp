// Which ISA runs: the first of an ordered list that the CPU has, unless CHAINRULE_ISA
// lowers the choice. Compiled without ISA flags.
#include <array>
#include <cstdlib>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "kernels/tables.h"

namespace chainrule {
namespace {

struct Candidate {
  const IsaTable* table;
  bool available;
};

#if defined(__x86_64__)

struct Extensions {
  bool avx2 = false, avx512 = false;
};

// What the processor has, and the system keeps for each thread. The compilers' own function for
// this is in a library that clang-cl does not link.
Extensions extensions() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0 || (c & bit_FMA) == 0)
    return {};
  unsigned kept = 0;
  __asm__("xgetbv" : "=a"(kept), "=d"(d) : "c"(0));
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return {};
  const auto has = [&](unsigned features, unsigned registers) {
    return (b & features) == features && (kept & registers) == registers;
  };
  Extensions found;
  found.avx2 = has(bit_AVX2, 0x06);  // xmm and ymm
  found.avx512 = found.avx2 && has(bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL, 0xe6);
  return found;
}

#endif

// Best first; scalar ends the list and is always available.
auto candidates() {
#if defined(__x86_64__)
  const auto [avx2, avx512] = extensions();
  return std::array<Candidate, 3>{
      {{&avx512_table, avx512}, {&avx2_table, avx2}, {&scalar_table, true}}};
#elif defined(__aarch64__)
  return std::array<Candidate, 2>{{{&neon_table, true}, {&scalar_table, true}}};
#else
  return std::array<Candidate, 1>{{{&scalar_table, true}}};
#endif
}

struct Choice {
  const IsaTable* table = &scalar_table;
  const IsaTable* narrow_table = table;
  std::string error;
};

// What runs a few rows of narrow networks where nobody names an ISA.
const IsaTable* narrow(const IsaTable* best) {
#if defined(__x86_64__)
  if (best == &avx512_table) return &avx2_table;
#endif
  return best;
}

Choice choose() {
  const auto all = candidates();
  const char* wanted = std::getenv("CHAINRULE_ISA");
  std::string names;
  for (const Candidate& candidate : all) {
    if (!candidate.available) continue;
    if (wanted == nullptr || *wanted == '\0') return {candidate.table, narrow(candidate.table), {}};
    if (std::string_view(wanted) == candidate.table->name)
      return {candidate.table, candidate.table, {}};
    names += (names.empty() ? "" : ", ") + std::string(candidate.table->name);
  }
  return {&scalar_table, &scalar_table,
          "CHAINRULE_ISA=" + std::string(wanted) + " is not available here: use one of " + names +
              ", or unset the variable to use the best of them"};
}

const Choice& choice() {
  static const Choice chosen = choose();
  return chosen;
}

}  // namespace

template <>
const Kernels<float>& kernels<float>() {
  return choice().table->float32;
}
template <>
const Kernels<double>& kernels<double>() {
  return choice().table->float64;
}
template <>
const Kernels<float>& narrow_kernels<float>() {
  return choice().narrow_table->float32;
}
template <>
const Kernels<double>& narrow_kernels<double>() {
  return choice().narrow_table->float64;
}

std::string_view isa_name() { return choice().table->name; }

const char* isa_error() { return choice().error.empty() ? nullptr : choice().error.c_str(); }

std::size_t available_isas(std::string_view* names, std::size_t capacity) {
  std::size_t count = 0;
  for (const Candidate& candidate : candidates())
    if (candidate.available && count < capacity) names[count++] = candidate.table->name;
  return count;
}

}  // namespace chainrule
