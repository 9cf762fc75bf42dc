// What the machine can do at best, measured: the bounds that benchmarks compare with.
#pragma once

#include <cstddef>

namespace chainrule {

// Floating-point operations a second (two for each fused multiply-add and lane) of one thread that
// does nothing else.
template <class T>
double fma_rate();

// Bytes a second at which one thread reads a buffer of so many bytes again and again.
double read_rate(std::size_t bytes);

}  // namespace chainrule
