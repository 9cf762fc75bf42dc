// Gradients, costs and descent over batches of samples.
#pragma once

#include <algorithm>

#include "core/backpropagation.h"
#include "core/optimizer.h"

namespace chainrule {

// How far an epoch has come: the steps done, their samples, and what their costs add up to.
struct Position {
  std::size_t steps = 0;
  std::size_t samples = 0;
  double cost = 0;    // Σ of the batches' costs before their updates, each times its weight
  double weight = 0;  // Σ of the batches' weights

  double mean() const { return weight > 0 ? cost / weight : 0; }
};

// Asked between chunks and steps: whether somebody wants to look, where `due` tells, and then
// `stop`, where true abandons the step under way.
struct Poll {
  bool (*stop)(void* context, const Position& position) = nullptr;
  void* context = nullptr;
  bool (*due)(void* context) = nullptr;

  // Calls settle() before anybody looks.
  template <class Settle>
  bool operator()(const Position& position, Settle settle) const {
    if (stop == nullptr || (due != nullptr && !due(context))) return false;
    settle();
    return stop(context, position);
  }
};

// The smallest workspace that serves batches of `batch_size` samples; a single one has the row
// of the sample before it beside it.
inline std::size_t workspace_rows(std::size_t batch_size) {
  return std::clamp<std::size_t>(batch_size, 2, kChunkRows);
}

// Multiply-adds of `rows` samples, forward and back.
inline double training_work(const Layout& layout, std::size_t rows) {
  return 3 * layout.work(rows);
}

// C of the samples [begin, begin + count): the mean, or the mean weighted by the samples' weights.
template <class T>
double mean_cost(const Network<T>& network, Workspace<T>& workspace, const Samples& samples,
                 std::size_t begin, std::size_t count, int threads);

// C of each sample (rows), all of weight 1.
template <class T>
void sample_costs(const Network<T>& network, Workspace<T>& workspace, const Samples& samples,
                  T* costs);

// The gradient of that mean cost into `gradient` (layout of the parameters); returns the cost.
template <class T>
double mean_gradient(const Network<T>& network, Workspace<T>& workspace, const Samples& samples,
                     std::size_t begin, std::size_t count, T* gradient, int threads);

// A forward pass over n rows that keeps everything (workspace of n rows), and its reverse: from
// ∂C/∂a^L, the gradients summed over the rows, and ∂C/∂x in workspace.dx.
template <class T>
void record(const Network<T>& network, Workspace<T>& workspace, const Matrix& x);
template <class T>
void pull_back(const Network<T>& network, Workspace<T>& workspace, const Matrix& dC_da,
               T* gradient);

struct BatchResult {
  double cost = 0;
  double weight = 0;
  int bad_layer = 0;
  bool stopped = false;
};

struct EpochResult {
  Position position;
  int bad_layer = 0;     // where non-finite numbers were first seen; 0: nowhere
  bool stopped = false;  // by the poll
};

// One update from each batch of `batch_size` samples in order; a smaller last batch is used.
// learning_rates: one for each step from `start` on, or a single one for all (`n_rates` = 1).
template <class T>
EpochResult train_epoch(Network<T>& network, Workspace<T>& workspace, Optimizer<T>& optimizer,
                        const Samples& samples, std::size_t batch_size,
                        const double* learning_rates, std::size_t n_rates, int threads,
                        const Poll& poll, Position start = {}, const Dropout& dropout = {});

// One update from a gradient that came from elsewhere.
template <class T>
void apply_gradient(Network<T>& network, Optimizer<T>& optimizer, const T* gradient,
                    double learning_rate);

}  // namespace chainrule
