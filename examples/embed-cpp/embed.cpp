// Loads a network, answers one sample, and says how long an answer takes: embed MODEL [NUMBER ...].
// Without numbers the sample is 0, 1/n, 2/n, …
#include <chainrule/model.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s model.safetensors [number ...]\n", argv[0]);
    return 2;
  }
  const auto model = chainrule::Model<float>::load(argv[1]);
  std::vector<float> x(model.n_inputs()), a(model.n_outputs());
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(i) / static_cast<float>(x.size());
  for (std::size_t i = 0; i < x.size() && i + 2 < static_cast<std::size_t>(argc); ++i)
    x[i] = std::strtof(argv[i + 2], nullptr);

  auto scratch = model.scratch();  // one a thread
  if (!model.predict(x, a, scratch)) return 1;
  for (const float value : a) std::printf("%.9g\n", static_cast<double>(value));

  using clock = std::chrono::steady_clock;
  constexpr int kCalls = 10'000;
  const auto begin = clock::now();
  for (int i = 0; i < kCalls; ++i)
    if (!model.predict(x, a, scratch)) return 1;
  const std::chrono::duration<double, std::micro> time = clock::now() - begin;
  const auto isa = chainrule::isa();
  std::fprintf(stderr, "%.2f µs a call on %.*s\n", time.count() / kCalls,
               static_cast<int>(isa.size()), isa.data());
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
