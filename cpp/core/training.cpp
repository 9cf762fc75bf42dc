#include "core/training.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/stochastic.h"

namespace chainrule {
namespace {

// What becomes of a batch's gradient.
template <class T>
struct Sink {
  T* parameters = nullptr;  // stepped; null where only a gradient is wanted
  T* gradient = nullptr;    // the sum over chunks, and the result where nothing is stepped
  Optimizer<T>* optimizer = nullptr;
  double learning_rate = 0;

  bool steps_directly() const { return optimizer != nullptr && optimizer->is_plain_descent(); }

  Accumulate mode(bool first, bool last) const {
    if (last && steps_directly()) return first ? Accumulate::step : Accumulate::add_step;
    return first ? Accumulate::store : Accumulate::add;
  }
};

// 1/n, or each sample's share of the batch's weights; a batch without weight has no gradient.
template <class T>
void set_scales(Workspace<T>& ws, const Samples& samples, std::size_t begin, std::size_t count,
                double total) {
  if (samples.weights == nullptr) {
    std::fill_n(ws.scale, count, static_cast<T>(1.0 / total));
    return;
  }
  for (std::size_t i = 0; i < count; ++i)
    ws.scale[i] = static_cast<T>(total > 0 ? samples.weight(begin + i) / total : 0.0);
}

double total_weight(const Samples& samples, std::size_t begin, std::size_t count) {
  if (samples.weights == nullptr) return static_cast<double>(count);
  double total = 0;
  for (std::size_t i = begin; i < begin + count; ++i) total += samples.weight(i);
  return total;
}

// Σ of the chunk's costs in order, each times its weight.
template <class T>
double sum_costs(const Workspace<T>& ws, const Samples& samples, std::size_t begin,
                 std::size_t count) {
  if (samples.weights == nullptr) return std::accumulate(ws.cost, ws.cost + count, 0.0);
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i)
    sum += samples.weight(begin + i) * static_cast<double>(ws.cost[i]);
  return sum;
}

// body(from, to, sharers) for tiles of `rows` rows that go through all layers. Threads take tiles
// of their own, or all of them the same one after the other, of whose work they are the sharers.
template <class T, class Body>
void for_each_tile(const Layout& layout, std::size_t rows, int threads, Body body) {
  const bool together = threads > 1 && shares_columns<T>(layout);
  std::size_t tiles = rows <= layout.tile_rows ? 1 : (rows - 1) / layout.tile_rows + 1;
  if (!together && threads > 1) {
    const auto n = static_cast<std::size_t>(threads);
    tiles = (tiles + n - 1) / n * n;
  }
  parallel_for(together ? 1 : threads, tiles, [&](std::size_t i) {
    if (const auto [from, to] = share(rows, 1, i, tiles); from < to)
      body(from, to, together ? threads : 1);
  });
}

// One batch, chunk by chunk. sink == nullptr: the cost alone.
template <class T>
BatchResult run_batch(const Network<T>& network, Workspace<T>& ws, const Samples& samples,
                      std::size_t begin, std::size_t count, const Sink<T>* sink, int threads,
                      const Poll& poll, const Position& position, const Dropout& dropout = {}) {
  Backpropagation<T> pass(network, ws, count, dropout);
  BatchResult result;
  result.weight = total_weight(samples, begin, count);
  const bool errors = sink != nullptr;
  const double work = training_work(network.layout, std::min(count, kChunkRows));
  const int n_threads = threads_for(work, threads);
  for (std::size_t done = 0; done < count; done += kChunkRows) {
    const std::size_t rows = std::min(kChunkRows, count - done);
    const bool first = done == 0;
    const bool last = done + rows == count;
    if (!first && poll(position, [] {})) {
      result.stopped = true;
      return result;
    }
    const Chunk<T> chunk = pass.chunk(samples, begin + done, rows, 0);
    set_scales(ws, samples, begin + done, rows, result.weight);
    for_each_tile<T>(network.layout, rows, n_threads, [&](auto from, auto to, int sharers) {
      parallel_ranges(sharers, to - from, 1, [&](auto low, auto high) {
        pass.load(samples, begin + done, chunk, from + low, from + high);
      });
      pass.forward(chunk, from, to, sharers);
      parallel_ranges(sharers, to - from, 1, [&](auto low, auto high) {
        pass.output_error(chunk, from + low, from + high, errors);
      });
      if (errors) pass.backward(chunk, from, to, sharers);
    });
    if (errors)
      pass.gradients(chunk, sink->mode(first, last), sink->parameters, sink->gradient,
                     static_cast<T>(sink->learning_rate), n_threads);
    if (errors && last && sink->optimizer != nullptr && !sink->steps_directly())
      sink->optimizer->update(sink->parameters, sink->gradient, sink->learning_rate, n_threads);
    if (last && sink != nullptr && sink->steps_directly()) sink->optimizer->begin_step();
    const double cost = sum_costs(ws, samples, begin + done, rows);
    result.cost += cost;
    if (!std::isfinite(cost) && result.bad_layer == 0)
      result.bad_layer = pass.first_nonfinite_layer(chunk);
  }
  if (result.weight > 0) result.cost /= result.weight;
  return result;
}

}  // namespace

template <class T>
double mean_cost(const Network<T>& network, Workspace<T>& workspace, const Samples& samples,
                 std::size_t begin, std::size_t count, int threads) {
  return run_batch<T>(network, workspace, samples, begin, count, nullptr, threads, {}, {}).cost;
}

template <class T>
double mean_gradient(const Network<T>& network, Workspace<T>& workspace, const Samples& samples,
                     std::size_t begin, std::size_t count, T* gradient, int threads) {
  Sink<T> sink;
  sink.gradient = gradient;
  // Never written in the modes that do not step, but an address to count from.
  sink.parameters = const_cast<T*>(network.parameters.data());
  return run_batch<T>(network, workspace, samples, begin, count, &sink, threads, {}, {}).cost;
}

template <class T>
void record(const Network<T>& network, Workspace<T>& ws, const Matrix& x) {
  Backpropagation<T> pass(network, ws, x.rows);
  for (std::size_t r = 0; r < x.rows; ++r)
    read_row<T>(x, r, ws.x + r * network.layout.input_stride);
  const Chunk<T> all = {0, x.rows, {ws.x, static_cast<Size>(network.layout.input_stride)}, {}};
  for_each_tile<T>(network.layout, x.rows, threads_for(network.layout.work(x.rows), 0),
                   [&](auto from, auto to, int sharers) { pass.forward(all, from, to, sharers); });
}

template <class T>
void pull_back(const Network<T>& network, Workspace<T>& ws, const Matrix& dC_da, T* gradient) {
  Backpropagation<T> pass(network, ws, dC_da.rows);
  const Layout& layout = network.layout;
  const std::size_t stride = layout.layers.back().stride;
  const int threads = threads_for(training_work(layout, std::min(dC_da.rows, kChunkRows)), 0);
  for (std::size_t done = 0; done < dC_da.rows; done += kChunkRows) {
    const std::size_t rows = std::min(kChunkRows, dC_da.rows - done);
    const Size x_stride = static_cast<Size>(layout.input_stride);
    const Chunk<T> chunk = {done, rows, {ws.x + done * layout.input_stride, x_stride}, {}};
    for_each_tile<T>(layout, rows, threads, [&](auto from, auto to, int sharers) {
      for (std::size_t i = from; i < to; ++i)
        read_row<T>(dC_da, done + i, ws.layers.back().delta + (done + i) * stride);
      pass.output_error_from_derivative(chunk, from, to);
      pass.backward(chunk, from, to, sharers);
    });
    pass.gradients(chunk, done == 0 ? Accumulate::store : Accumulate::add,
                   const_cast<T*>(network.parameters.data()), gradient, T(0), threads);
  }
}

template <class T>
EpochResult train_epoch(Network<T>& network, Workspace<T>& workspace, Optimizer<T>& optimizer,
                        const Samples& samples, std::size_t batch_size,
                        const double* learning_rates, std::size_t n_rates, int threads,
                        const Poll& poll, Position start, const Dropout& dropout) {
  EpochResult result{.position = start};
  Position& position = result.position;
  Sink<T> sink;
  sink.parameters = network.parameters.data();
  sink.optimizer = &optimizer;
  if (!optimizer.is_plain_descent() || batch_size > kChunkRows)
    sink.gradient = workspace.gradient(network.layout);
  const auto run = [&](auto step, auto settle) {
    for (std::size_t begin = start.steps * batch_size; begin < samples.x.rows;
         begin += batch_size) {
      if (poll(position, settle)) {
        result.stopped = true;
        break;
      }
      const double learning_rate = learning_rates[n_rates == 1 ? 0 : position.steps - start.steps];
      const BatchResult batch = step(begin, learning_rate);
      result.stopped = batch.stopped;
      if (batch.stopped) break;
      ++position.steps;
      position.samples = std::min(begin + batch_size, samples.x.rows);
      position.cost += batch.cost * batch.weight;
      position.weight += batch.weight;
      if (batch.bad_layer != 0) {
        result.bad_layer = batch.bad_layer;
        break;
      }
    }
    settle();
  };
  if (batch_size == 1 && optimizer.is_plain_descent() && dropout.rates.empty()) {
    StochasticDescent<T> descent(network, workspace, samples, threads);
    run(
        [&](std::size_t i, double learning_rate) {
          optimizer.begin_step();
          return descent.step(i, learning_rate);
        },
        [&] { descent.settle(); });
  } else {
    run(
        [&](std::size_t begin, double learning_rate) {
          const std::size_t count = std::min(batch_size, samples.x.rows - begin);
          sink.learning_rate = learning_rate;
          return run_batch(network, workspace, samples, begin, count, &sink, threads, poll,
                           position, dropout);
        },
        [] {});
  }
  return result;
}

template <class T>
void apply_gradient(Network<T>& network, Optimizer<T>& optimizer, const T* gradient,
                    double learning_rate) {
  optimizer.update(network.parameters.data(), gradient, learning_rate, 1);
}

#define INSTANTIATE(T)                                                                            \
  template double mean_cost<T>(const Network<T>&, Workspace<T>&, const Samples&, std::size_t,     \
                               std::size_t, int);                                                 \
  template double mean_gradient<T>(const Network<T>&, Workspace<T>&, const Samples&, std::size_t, \
                                   std::size_t, T*, int);                                         \
  template void record<T>(const Network<T>&, Workspace<T>&, const Matrix&);                       \
  template void pull_back<T>(const Network<T>&, Workspace<T>&, const Matrix&, T*);                \
  template EpochResult train_epoch<T>(Network<T>&, Workspace<T>&, Optimizer<T>&, const Samples&,  \
                                      std::size_t, const double*, std::size_t, int, const Poll&,  \
                                      Position, const Dropout&);                                  \
  template void apply_gradient<T>(Network<T>&, Optimizer<T>&, const T*, double);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace chainrule
