// Where the threads of parallel.h come from: pool.cpp has its own, and openmp.cpp, which
// CHAINRULE_OPENMP takes in its place, OpenMP's.
#pragma once

#include <cstddef>

namespace chainrule {

// Does one part of some work; `thread` is 0 for the caller and another number for each other one.
using Part = void (*)(void* context, std::size_t part, int thread);

inline constexpr std::size_t kMostParts = 0xffffffff;

// Does each part of [0, parts) once, on at most `threads` threads. False, and nothing is done,
// where they cannot be had. One call at a time.
bool run_on_threads(int threads, std::size_t parts, Part part, void* context);

// Around a fork: before it, `idle` where no work is going on, and in the child, which has no
// threads but its own.
void before_fork(bool idle);
void in_child();

extern const bool kThreadsOfOpenmp;

}  // namespace chainrule
