// Which ISA runs: the first of an ordered list that the CPU has, unless CHAINRULE_ISA
// lowers the choice. Compiled without ISA flags.
#include <array>
#include <cstdlib>
#include <string>

#include "kernels/tables.h"

namespace chainrule {
namespace {

struct Candidate {
  const IsaTable* table;
  bool available;
};

// Best first; scalar ends the list and is always available.
auto candidates() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl");
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

// What runs narrow networks where nobody names an ISA.
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
