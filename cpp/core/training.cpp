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
  T* gradient = nullptr;    // the sums that wait for others; the first one becomes the result
  Optimizer<T>* optimizer = nullptr;
  double learning_rate = 0;

  bool steps_directly() const { return optimizer != nullptr && optimizer->is_plain_descent(); }

  // For chunk i of n. A batch of one chunk that steps has no gradient: its kernels touch no sum.
  ChunkSum<T> sum(const Layout& layout, std::size_t i, std::size_t n) const {
    const Place place = place_of(i, n);
    const Size size = to_size(layout.size);
    T* const g =
        gradient != nullptr ? gradient + (place.waiting - place.merged) * size : parameters;
    return {.w = parameters,
            .g = g,
            .distance = size,
            .merged = place.merged,
            .steps = i + 1 == n && steps_directly(),
            .learning_rate = static_cast<T>(learning_rate)};
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
  TreeSum total(chunk_count(count));
  for (std::size_t done = 0; done < count; done += kChunkRows) {
    double sum = 0;
    for (std::size_t i = done; i < std::min(done + kChunkRows, count); ++i)
      sum += samples.weight(begin + i);
    total.add(sum);
  }
  return total.total();
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

// Multiply-adds of a chunk of the samples, forward.
double chunk_work(const Layout& layout, const Samples& samples, std::size_t count) {
  const double share =
      static_cast<double>(std::min(count, kChunkRows)) / static_cast<double>(samples.x.rows);
  return work_of(layout, samples.x) * share;
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

// A chunk of the samples from `first` on: forward, the costs and, where `errors` is set, backward.
template <class T>
void run_chunk(Backpropagation<T>& pass, const Layout& layout, const Samples& samples,
               std::size_t first, const Chunk<T>& chunk, bool errors, int threads) {
  for_each_tile<T>(layout, chunk.count, threads, [&](auto from, auto to, int sharers) {
    parallel_ranges(sharers, to - from, 1, [&](auto low, auto high) {
      pass.load(samples, first, chunk, from + low, from + high);
    });
    pass.forward(chunk, from, to, sharers);
    parallel_ranges(sharers, to - from, 1, [&](auto low, auto high) {
      pass.output_error(chunk, from + low, from + high, errors);
    });
    if (errors) pass.backward(chunk, from, to, sharers);
  });
}

// The rows of ∇W¹ that the last chunk has touched: where a batch is one chunk, the others are 0.
template <class T>
void clear_rows(const Layout& layout, const StoredSamples<T>& stored, T* gradient) {
  const Layer& layer = layout.layers.front();
  const Size* const columns = stored.by_column().columns;
  for (std::size_t i = 0; i < stored.column_count(); ++i)
    std::fill_n(gradient + layer.weights + static_cast<std::size_t>(columns[i]) * layer.ld,
                layer.ld, T(0));
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
  const int n_threads = threads_for(3 * chunk_work(network.layout, samples, count), threads);
  const std::size_t chunks = chunk_count(count);
  TreeSum costs(chunks);
  for (std::size_t i = 0; i < chunks; ++i) {
    const std::size_t done = i * kChunkRows;
    const std::size_t rows = std::min(kChunkRows, count - done);
    const bool last = i + 1 == chunks;
    if (i > 0 && poll(position, [] {})) {
      result.stopped = true;
      return result;
    }
    const Chunk<T> chunk = pass.chunk(samples, begin + done, rows, 0);
    set_scales(ws, samples, begin + done, rows, result.weight);
    run_chunk(pass, network.layout, samples, begin + done, chunk, errors, n_threads);
    if (errors) pass.gradients(chunk, sink->sum(network.layout, i, chunks), n_threads, chunks > 1);
    if (errors && last && sink->optimizer != nullptr && !sink->steps_directly()) {
      sink->optimizer->update(sink->parameters, sink->gradient, sink->learning_rate, n_threads);
      if (chunk.sparse) clear_rows(network.layout, ws.stored, sink->gradient);
    }
    if (last && sink != nullptr && sink->steps_directly()) sink->optimizer->begin_step();
    const double cost = sum_costs(ws, samples, begin + done, rows);
    costs.add(cost);
    if (!std::isfinite(cost) && result.bad_layer == 0)
      result.bad_layer = pass.first_nonfinite_layer(chunk);
  }
  result.cost = result.weight > 0 ? costs.total() / result.weight : costs.total();
  return result;
}

// What a gradient of several chunks is summed in: the result itself while no more than one sum
// waits at a time.
template <class T>
class GradientSums {
 public:
  GradientSums(const Layout& layout, std::size_t chunks, T* result)
      : result_(result), size_(layout.size) {
    if (const std::size_t count = sums_waiting(chunks); count > 1)
      sums_ = AlignedBuffer<T>(count * size_);
  }
  T* data() { return sums_.size() > 0 ? sums_.data() : result_; }
  void finish() {
    if (sums_.size() > 0) std::copy_n(sums_.data(), size_, result_);
  }

 private:
  T* result_;
  std::size_t size_;
  AlignedBuffer<T> sums_;
};

}  // namespace

template <class T>
double mean_cost(const Network<T>& network, Workspace<T>& workspace, const Samples& samples,
                 std::size_t begin, std::size_t count, int threads) {
  return run_batch<T>(network, workspace, samples, begin, count, nullptr, threads, {}, {}).cost;
}

template <class T>
void sample_costs(const Network<T>& network, Workspace<T>& workspace, const Samples& samples,
                  T* costs) {
  const std::size_t count = samples.x.rows;
  Backpropagation<T> pass(network, workspace, count);
  const int threads = threads_for(chunk_work(network.layout, samples, count), 0);
  for (std::size_t done = 0; done < count; done += kChunkRows) {
    const std::size_t rows = std::min(kChunkRows, count - done);
    const Chunk<T> chunk = pass.chunk(samples, done, rows, 0);
    run_chunk(pass, network.layout, samples, done, chunk, false, threads);
    std::copy_n(workspace.cost, rows, costs + done);
  }
}

template <class T>
double mean_gradient(const Network<T>& network, Workspace<T>& workspace, const Samples& samples,
                     std::size_t begin, std::size_t count, T* gradient, int threads) {
  GradientSums<T> sums(network.layout, chunk_count(count), gradient);
  Sink<T> sink;
  sink.gradient = sums.data();
  // Never written where nothing steps, but an address to count from.
  sink.parameters = const_cast<T*>(network.parameters.data());
  const double cost =
      run_batch<T>(network, workspace, samples, begin, count, &sink, threads, {}, {}).cost;
  sums.finish();
  return cost;
}

template <class T>
void record(const Network<T>& network, Workspace<T>& ws, const Matrix& x) {
  Backpropagation<T> pass(network, ws, x.rows);
  Chunk<T> all{.count = x.rows, .sparse = x.is_sparse()};
  if (all.sparse) {
    ws.stored.plan(x, x.rows, [](std::size_t i) { return i; });
    ws.stored.read(x, 0, x.rows);
  } else {
    ws.make_x(network.layout);
    all.x = {ws.x, static_cast<Size>(network.layout.input_stride)};
    for (std::size_t r = 0; r < x.rows; ++r)
      read_row<T>(x, r, ws.x + r * network.layout.input_stride);
  }
  for_each_tile<T>(network.layout, x.rows, threads_for(work_of(network.layout, x), 0),
                   [&](auto from, auto to, int sharers) { pass.forward(all, from, to, sharers); });
}

template <class T>
void pull_back(const Network<T>& network, Workspace<T>& ws, const Matrix& dC_da, T* gradient) {
  Backpropagation<T> pass(network, ws, dC_da.rows);
  const Layout& layout = network.layout;
  const std::size_t stride = layout.layers.back().stride;
  const int threads = threads_for(training_work(layout, std::min(dC_da.rows, kChunkRows)), 0);
  const std::size_t chunks = chunk_count(dC_da.rows);
  GradientSums<T> sums(layout, chunks, gradient);
  Sink<T> sink;
  sink.gradient = sums.data();
  sink.parameters = const_cast<T*>(network.parameters.data());
  for (std::size_t i = 0; i < chunks; ++i) {
    const std::size_t done = i * kChunkRows;
    const std::size_t rows = std::min(kChunkRows, dC_da.rows - done);
    const Size x_stride = static_cast<Size>(layout.input_stride);
    Chunk<T> chunk{.first = done, .count = rows, .sparse = ws.x == nullptr};
    if (!chunk.sparse) chunk.x = {ws.x + done * layout.input_stride, x_stride};
    for_each_tile<T>(layout, rows, threads, [&](auto from, auto to, int sharers) {
      for (std::size_t r = done + from; r < done + to; ++r)
        read_row<T>(dC_da, r, ws.layers.back().delta + r * stride);
      pass.output_error_from_derivative(chunk, from, to);
      pass.backward(chunk, from, to, sharers);
    });
    pass.gradients(chunk, sink.sum(layout, i, chunks), threads, chunks > 1);
  }
  sums.finish();
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
    sink.gradient = workspace.gradients(
        network.layout, sums_waiting(chunk_count(std::min(batch_size, samples.x.rows))));
  if (samples.x.is_sparse() && sink.gradient != nullptr) {
    const Layer& first = network.layout.layers.front();
    std::fill_n(sink.gradient + first.weights, first.n_in * first.ld, T(0));
  }
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
  if (batch_size == 1 && optimizer.is_plain_descent() && dropout.rates.empty() &&
      !samples.x.is_sparse()) {
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
  template void sample_costs<T>(const Network<T>&, Workspace<T>&, const Samples&, T*);            \
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
