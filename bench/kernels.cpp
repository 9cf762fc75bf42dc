// Every kernel as a share of what bounds it, measured in the same run: fused multiply-adds against
// the FMA peak, bytes against the bandwidth at which a buffer of the same size is read. One thread.
//
//   kernels [PART OF A NAME]
#include "kernels/kernels.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/layout.h"
#include "core/roofline.h"

namespace {

using chainrule::Activation;
using chainrule::AlignedBuffer;
using chainrule::Loss;
using chainrule::Rule;
using chainrule::Size;
using chainrule::UpdateConstants;
using chainrule::UpdateState;

constexpr int kRounds = 11;
constexpr double kSecondsARound = 4e-3;

struct Case {
  std::string name;
  double flops;  // 0: not bound by arithmetic
  double bytes;  // read and written, each once
  std::function<void()> run;
  int repeats = 1;
  std::vector<double> seconds{};
};

double seconds_of(const Case& c, int repeats) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  for (int i = 0; i < repeats; ++i) c.run();
  return std::chrono::duration<double>(Clock::now() - start).count() / repeats;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Size stride_of(Size n) {
  return static_cast<Size>(chainrule::padded_stride<float>(static_cast<std::size_t>(n)));
}

std::string shape(Size rows, Size n_in, Size n_out) {
  return std::to_string(rows) + " x " + std::to_string(n_in) + " x " + std::to_string(n_out);
}

class Cases {
 public:
  explicit Cases(std::string part) : part_(std::move(part)) {}

  void products(Size rows, Size n_in, Size n_out) {
    const auto& k = chainrule::kernels<float>();
    const Size in = stride_of(n_in), out = stride_of(n_out);
    const double flops = 2.0 * static_cast<double>(rows * n_in * n_out);
    const double bytes = 4.0 * static_cast<double>(rows * n_in + n_in * n_out + rows * n_out);
    float* const a = numbers(rows * in);
    float* const w = numbers(n_in * out);
    float* const b = numbers(out);
    float* const z = numbers(rows * out);
    float* const d = numbers(rows * in);
    float* const strips = numbers(rows * (in + chainrule::kStrip));
    const std::string text = shape(rows, n_in, n_out);
    add("forward   " + text, flops, bytes,
        [=, &k] { k.affine(z, out, a, in, w, out, b, rows, n_in, n_out); });
    add("backward  " + text, flops, bytes,
        [=, &k] { k.affine_transposed(d, in, z, out, w, out, rows, n_in, n_out); });
    add("gradient  " + text, flops, bytes, [=, &k] {
      k.weight_gradient({.w = w, .g = w, .steps = true}, out, n_out < 256 ? nullptr : strips, a, in,
                        z, out, rows, 0, n_in, n_in, n_out);
    });
  }

  void activation(Activation g, const char* name) {
    const auto& k = chainrule::kernels<float>();
    constexpr Size n = 64 * 128;
    float* const z = numbers(n);
    float* const a = numbers(n);
    add(std::string("activate  ") + name, 0, 8.0 * n,
        [=, &k] { k.activate(g, a, 128, z, 128, 64, 128); });
    float* const d = numbers(n);
    add(std::string("derive    ") + name, 0, 20.0 * n, [=, &k] {
      std::copy_n(z, n, d);  // or it would shrink to subnormal numbers, call by call
      k.multiply_derivative(g, d, 128, z, 128, a, 128, 64, 128);
    });
  }

  void loss(Loss loss, const char* name, Size n) {
    const auto& k = chainrule::kernels<float>();
    constexpr Size rows = 64;
    const Size ld = stride_of(n);
    float* const z = numbers(rows * ld);
    float* const a = numbers(rows * ld);
    float* const d = numbers(rows * ld);
    float* const y = numbers(rows * n);
    float* const scale = numbers(rows);
    float* const cost = numbers(rows);
    const double bytes = 4.0 * static_cast<double>(rows * n);
    const std::string text = std::string(name) + " " + std::to_string(n);
    add("loss      " + text, 0, 4 * bytes,
        [=, &k] { k.loss(loss, cost, d, ld, z, ld, a, ld, y, n, scale, rows, n); });
    if (loss == Loss::cross_entropy)
      add("activate  softmax " + std::to_string(n), 0, 2 * bytes,
          [=, &k] { k.activate(Activation::softmax, a, ld, z, ld, rows, n); });
  }

  void updates(Size n) {
    const auto& k = chainrule::kernels<float>();
    float* const w = numbers(n);
    float* const g = numbers(n);
    float* const m = numbers(n);
    float* const v = buffers_.emplace_back(static_cast<std::size_t>(n)).data();
    const std::string text = std::to_string(n);
    const double bytes = 4.0 * static_cast<double>(n);
    const auto add_rule = [&](const char* name, double buffers, Rule rule,
                              const UpdateState<float>& state, const UpdateConstants& constants) {
      add(name + text, 0, buffers * bytes,
          [=, &k] { k.update(rule, w, g, state, n, {}, constants); });
    };
    add_rule("sgd       ", 3, Rule::sgd, {nullptr, nullptr, nullptr}, {});
    add_rule("momentum  ", 5, Rule::sgd, {nullptr, nullptr, m}, {.momentum = 0.5});
    add_rule("adam      ", 7, Rule::adam, {m, v, nullptr},
             {.one_minus_beta1 = 0.1, .beta2 = 0.999, .one_minus_beta2 = 0.001, .eps = 1e-8});
    add_rule("rmsprop   ", 5, Rule::rmsprop, {nullptr, v, nullptr},
             {.beta2 = 0.99, .one_minus_beta2 = 0.01, .eps = 1e-8});
    add_rule("adagrad   ", 5, Rule::adagrad, {nullptr, v, nullptr}, {.eps = 1e-10});
    add("norm      " + text, 0, bytes, [=, this, &k] { sink_ = k.square_sum(g, w, n, {}); });
  }

  void run() {
    for (Case& c : cases_) {
      while (seconds_of(c, c.repeats) * c.repeats < kSecondsARound) c.repeats *= 2;
    }
    std::vector<double> peaks;
    for (int round = 0; round < kRounds; ++round) {
      peaks.push_back(chainrule::fma_rate<float>());
      for (Case& c : cases_) c.seconds.push_back(seconds_of(c, c.repeats));
    }
    const double peak = median(peaks);
    std::printf("%s, float32, one thread: %.1f GFLOP/s with fma alone\n",
                chainrule::isa_name().data(), peak * 1e-9);
    std::printf("%-34s %12s %10s %8s %10s %8s\n", "kernel", "µs", "GFLOP/s", "of peak", "GB/s",
                "of reads");
    for (const Case& c : cases_) {
      const double seconds = median(c.seconds);
      const double reads = chainrule::read_rate(static_cast<std::size_t>(c.bytes));
      std::printf("%-34s %12.2f %10.1f %7.0f%% %10.1f %7.0f%%\n", c.name.c_str(), seconds * 1e6,
                  c.flops / seconds * 1e-9, 100 * c.flops / seconds / peak,
                  c.bytes / seconds * 1e-9, 100 * c.bytes / seconds / reads);
    }
  }

 private:
  double sink_ = 0;  // so that a sum is not left out
  // Small numbers that stay finite and normal however often a kernel runs.
  float* numbers(Size n) {
    float* const data = buffers_.emplace_back(static_cast<std::size_t>(n)).data();
    for (Size i = 0; i < n; ++i)
      data[i] = static_cast<float>((i * 2654435761 >> 8) % 2048) / 1024.0f - 1.0f;
    return data;
  }

  void add(const std::string& name, double flops, double bytes, std::function<void()> run) {
    if (name.find(part_) != std::string::npos)
      cases_.push_back({name, flops, bytes, std::move(run)});
  }

  std::string part_;
  std::vector<Case> cases_;
  std::deque<AlignedBuffer<float>> buffers_;
};

}  // namespace

int main(int argc, char** argv) {
  if (chainrule::isa_error() != nullptr) {
    std::fprintf(stderr, "%s\n", chainrule::isa_error());
    return 2;
  }
  Cases cases(argc > 1 ? argv[1] : "");
  for (const Size n : {32, 64, 128, 256, 512, 1024}) cases.products(n, n, n);
  for (const Size rows : {1, 2, 4, 10, 32, 64, 256}) cases.products(rows, 784, 100);
  for (const Size rows : {16, 64}) cases.products(rows, 48, 64);
  for (const Size rows : {1, 100, 256}) cases.products(rows, 300, 500);
  cases.products(100, 500, 200);
  for (const Size rows : {1, 7, 16, 32, 64, 256}) cases.products(rows, 1000, 3000);
  cases.products(7, 1000, 1000);
  cases.products(100, 500, 700);
  for (const Size rows : {1, 8, 64, 256}) cases.products(rows, 3000, 1000);
#define X(name, ...) cases.activation(Activation::name, #name);
  CHAINRULE_ACTIVATIONS(X)
#undef X
  for (const Size n : {1, 3, 10, 100}) {
#define X(name, ...) cases.loss(Loss::name, #name, n);
    CHAINRULE_LOSSES(X)
#undef X
  }
  for (const Size n : {16384, 262144, 4194304}) cases.updates(n);
  cases.run();
}
