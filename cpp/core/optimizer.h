// The update rules and what they remember. Their formulas are in kernels/updates.h.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/layout.h"
#include "core/parallel.h"
#include "kernels/kernels.h"
#include "kernels/lists.h"

namespace chainrule {

// The rules that keep running means of g and g² with bias corrections, which need β^t.
constexpr bool is_adam(Rule rule) { return rule == Rule::adam || rule == Rule::adamw; }

inline constexpr double kNoClipping = std::numeric_limits<double>::infinity();

struct Hyperparameters {
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double alpha = 0.99;
  bool centered = false;
  double lr_decay = 0;
  double initial_accumulator_value = 0;
  double l1 = 0;  // penalties of the weights, not of the biases
  double l2 = 0;
  double clip_value = kNoClipping;
  double clip_norm = kNoClipping;
};

// The state of one optimiser for one network. Its buffers have the layout of the parameters.
template <class T>
class Optimizer {
 public:
  Optimizer(Rule rule, const Hyperparameters& hyperparameters, const Layout& layout);

  // True where w = w - η ∇W is the whole update: no gradient has to be stored.
  bool is_plain_descent() const;

  // Counts an update and moves β^t on: alone where the update itself is made elsewhere.
  void begin_step();

  // One update.
  void update(T* parameters, const T* gradient, double learning_rate, int threads);

  std::uint64_t step() const { return step_; }

  // β1^t and β2^t of the updates done.
  struct Powers {
    double beta1, beta2;
  };
  Powers powers() const { return {beta1_power_, beta2_power_}; }
  void set_progress(std::uint64_t step, const Powers& powers);

  // What the rule remembers of every parameter, by PyTorch's names.
  struct Named {
    std::string_view name;
    AlignedBuffer<T>* buffer;
  };
  std::vector<Named> buffers();

  // A copy of another state of the same rule and layout.
  void copy_from(const Optimizer& other);

 private:
  // A range of the buffers: weights or biases.
  struct Part {
    std::size_t begin, end;
    bool is_bias;
  };

  bool clips_norm() const { return hyper_.clip_norm != kNoClipping; }
  bool penalizes() const { return hyper_.l1 != 0 || hyper_.l2 != 0; }
  GradientTerms penalties(const Part& part) const;
  double norm_scale() const;
  UpdateConstants constants(double learning_rate) const;
  UpdateState<T> state_from(std::size_t begin);

  Rule rule_;
  Hyperparameters hyper_;
  AlignedBuffer<T> velocity_;  // v of momentum
  AlignedBuffer<T> mean_;      // running mean of g
  AlignedBuffer<T> square_;    // running mean, or sum, of g²
  std::uint64_t step_ = 0;
  double beta1_power_ = 1;  // β1^t by repeated multiplication: the same bits everywhere
  double beta2_power_ = 1;
  std::vector<Part> parts_;            // all parameters, cut where the penalties change
  std::vector<Part> chunks_;           // of the sum of squares, where the norm is clipped
  std::vector<double> chunk_squares_;  // their sums
};

}  // namespace chainrule
