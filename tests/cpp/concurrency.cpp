// Threads around one network, for ThreadSanitizer: teams, callers in parallel, and reading while
// another thread trains, all with the same bits. Exits 1 where a result differs.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/gate.h"
#include "core/initialize.h"
#include "core/parallel.h"
#include "core/threads.h"
#include "core/training.h"

namespace {

using chainrule::Activation;
using chainrule::Network;
using chainrule::Size;

constexpr std::size_t kRows = 600;
const std::vector<std::size_t> kSizes = {20, 40, 60, 10};
const chainrule::Architecture kArchitecture = {
    kSizes,
    {Activation::tanh, Activation::relu, Activation::softmax},
    chainrule::Loss::cross_entropy};
constexpr int kCallers = 16;

std::atomic<bool> g_failed{false};

void check(bool holds, const char* what) {
  if (holds) return;
  std::printf("failed: %s\n", what);
  g_failed = true;
}

template <class T>
struct Problem {
  Network<T> network;
  std::vector<T> x = std::vector<T>(kRows * kSizes.front());
  std::vector<T> y = std::vector<T>(kRows * kSizes.back());

  Problem() : network(kArchitecture) {
    std::uint64_t l = 0;
    for (const chainrule::Layer& layer : network.layout.layers)
      chainrule::initialize(network.parameters.data(), layer, chainrule::Initializer::he_normal, 0,
                            ++l);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(i * 7919 % 1000) / T(500) - 1;
    for (std::size_t i = 0; i < y.size(); i += kSizes.back()) y[i + i % 7] = T(1);
  }

  chainrule::Samples samples() const {
    const auto matrix = [](const std::vector<T>& values, std::size_t columns) {
      return chainrule::Matrix{
          reinterpret_cast<const std::byte*>(values.data()),
          sizeof(T) == 4 ? chainrule::ElementType::float32 : chainrule::ElementType::float64,
          kRows,
          columns,
          static_cast<std::ptrdiff_t>(columns * sizeof(T)),
          sizeof(T)};
    };
    return {matrix(x, kSizes.front()), {matrix(y, kSizes.back()), false}, nullptr, nullptr};
  }

  std::vector<T> predict(int threads) const {
    std::vector<T> out(y.size());
    chainrule::predict<T>(network, {x.data(), static_cast<Size>(kSizes.front())}, out.data(),
                          static_cast<Size>(kSizes.back()), kRows, threads);
    return out;
  }

  double train(chainrule::Rule rule, std::size_t batch_size, int threads, chainrule::Poll poll,
               const chainrule::Hyperparameters& hyper = {}) {
    chainrule::Optimizer<T> optimizer(rule, hyper, network.layout);
    chainrule::Workspace<T> workspace(network.layout, chainrule::workspace_rows(batch_size));
    const double rate = 0.01;
    return chainrule::train_epoch(network, workspace, optimizer, samples(), batch_size, &rate, 1,
                                  threads, poll)
        .position.mean();
  }

  std::vector<T> parameters() const {
    return {network.parameters.data(), network.parameters.data() + network.parameters.size()};
  }
};

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

void in_threads(int n, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < n; ++i) threads.emplace_back(body, i);
  for (std::thread& thread : threads) thread.join();
}

// Every part once, no thread in two parts at a time, whoever shares the threads.
void loops() {
  const auto loop = [](int threads, std::size_t parts) {
    std::vector<std::atomic<int>> done(parts), inside(static_cast<std::size_t>(threads));
    chainrule::parallel_for(threads, parts, [&](std::size_t i, int thread) {
      const bool known = thread >= 0 && thread < threads;
      check(known, "the number of a thread");
      if (!known) return;
      check(++inside[static_cast<std::size_t>(thread)] == 1, "one part at a time");
      std::atomic<int> inner{0};
      chainrule::parallel_for(threads, 3, [&](std::size_t) { ++inner; });
      check(inner == 3, "a loop in a loop");
      ++done[i];
      --inside[static_cast<std::size_t>(thread)];
    });
    for (const std::atomic<int>& times : done) check(times == 1, "each part once");
  };
  const auto loop_often = [&](int) {
    for (int round = 0; round < 300; ++round)
      for (const int threads : {2, 5, 3})
        for (const std::size_t parts : {0ul, 1ul, 2ul, 7ul, 40ul}) loop(threads, parts);
  };
  std::atomic<int> inside{0};
  chainrule::parallel_for(2, 2, [&](std::size_t) {
    ++inside;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (inside < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    check(inside == 2, "two parts at once");
  });
  loop_often(0);
  in_threads(4, loop_often);
}

template <class T>
void teams() {
  const Problem<T> problem;
  const std::vector<T> expected = problem.predict(1);
  for (const int threads : {2, 3, 4})
    check(same_bits(problem.predict(threads), expected), "predict in a team");
  const chainrule::Hyperparameters plain, clipped = {.l1 = 0.01, .clip_norm = 0.01};
  for (const auto rule : {chainrule::Rule::sgd, chainrule::Rule::adam})
    for (const chainrule::Hyperparameters& hyper : {plain, clipped})
      for (const std::size_t batch : {256ul, kRows}) {
        Problem<T> alone;
        alone.train(rule, batch, 1, {}, hyper);
        for (const int threads : {2, 3}) {
          Problem<T> team;
          team.train(rule, batch, threads, {}, hyper);
          check(same_bits(team.parameters(), alone.parameters()), "training in a team");
        }
      }
}

template <class T>
void callers() {
  const Problem<T> problem;
  const std::vector<T> expected = problem.predict(1);
  std::vector<std::vector<T>> seen(kCallers);
  in_threads(kCallers,
             [&](int i) { seen[static_cast<std::size_t>(i)] = problem.predict(1 + i % 3); });
  for (const std::vector<T>& result : seen) check(same_bits(result, expected), "predict at once");

  std::vector<Problem<T>> problems(4);
  in_threads(4, [&](int i) {
    problems[static_cast<std::size_t>(i)].train(chainrule::Rule::adam, 256, 2, {});
  });
  for (const Problem<T>& each : problems)
    check(same_bits(each.parameters(), problems[0].parameters()), "training at once");
}

// Readers see the parameters of whole steps, and training ends as it does alone.
template <class T>
void reading_during_training(std::size_t batch_size) {
  Problem<T> alone;
  std::vector<std::vector<T>> steps = {alone.predict(1)};
  chainrule::Poll keep{
      [](void* context, const chainrule::Position&) {
        auto& [all, problem] =
            *static_cast<std::pair<std::vector<std::vector<T>>*, Problem<T>*>*>(context);
        all->push_back(problem->predict(1));
        return false;
      },
      nullptr};
  std::pair context(&steps, &alone);
  keep.context = &context;
  alone.train(chainrule::Rule::sgd, batch_size, 1, keep);
  steps.push_back(alone.predict(1));

  Problem<T> shared;
  chainrule::Gate gate;
  std::mutex turn;  // stands for the GIL
  std::atomic<bool> trained{false};
  in_threads(3, [&](int i) {
    if (i > 0) {
      while (!trained) {
        const chainrule::Gate::Reader reader(gate);
        const std::vector<T> seen = shared.predict(1);
        const bool known = std::any_of(steps.begin(), steps.end(),
                                       [&](const auto& step) { return same_bits(step, seen); });
        check(known, "reading between steps");
      }
      return;
    }
    std::unique_lock lock(turn);
    chainrule::Gate::Trainer trainer(gate);
    lock.unlock();
    trainer.begin();
    shared.train(
        chainrule::Rule::sgd, batch_size, 1,
        {[](void* at, const chainrule::Position&) {
           static_cast<chainrule::Gate::Trainer*>(at)->let_readers_pass();
           return false;
         },
         &trainer,
         [](void* at) { return static_cast<chainrule::Gate::Trainer*>(at)->readers_wait(); }});
    trainer.end();
    trained = true;
  });
  check(same_bits(shared.parameters(), alone.parameters()), "training among readers");
}

template <class T>
void everything() {
  teams<T>();
  callers<T>();
  for (const std::size_t batch_size : {std::size_t{64}, std::size_t{1}})
    reading_during_training<T>(batch_size);
}

}  // namespace

int main() {
  loops();
  everything<float>();
#if !defined(__SANITIZE_THREAD__)  // slow, and the same code
  everything<double>();
#endif
  std::printf("%s, threads from %s: %s\n", std::string(chainrule::isa_name()).c_str(),
              chainrule::kThreadsOfOpenmp ? "OpenMP" : "the pool",
              g_failed ? "FAILED" : "the same bits from every thread");
  return g_failed ? 1 : 0;
}
