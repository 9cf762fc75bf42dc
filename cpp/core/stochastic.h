// Plain descent one sample at a time. A step needs each weight three times: for the forward
// product, for Wᵀδ, and for the update. Here the update waits until the next sample goes forward,
// and both are one pass over W.
#pragma once

#include "core/training.h"

namespace chainrule {

template <class T>
class StochasticDescent {
 public:
  StochasticDescent(Network<T>& network, Workspace<T>& workspace, const Samples& samples,
                    int threads);

  // A step with sample i.
  BatchResult step(std::size_t i, double learning_rate);

  // Makes the update that waits: until then the parameters are those of one step before.
  void settle();

 private:
  void forward();
  void backward();
  T* row(T* view, std::size_t stride) const { return view + row_ * stride; }
  T* row_before(T* view, std::size_t stride) const { return view + (1 - row_) * stride; }

  const Kernels<T>& kernels_;
  Network<T>& network_;
  Workspace<T>& ws_;
  const Samples& samples_;
  const int threads_;
  Backpropagation<T> pass_;
  // The sample of this step and the one before, each in a row of the workspace.
  Chunk<T> chunks_[2];
  std::size_t row_ = 0;
  bool waits_ = false;
  T learning_rate_ = 0;  // of the update that waits
};

}  // namespace chainrule
