// The update rules and what they remember. Their formulas are in kernels/updates.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/layout.h"
#include "kernels/kernels.h"

namespace chainrule {

enum class Rule { sgd, adam };
inline constexpr std::string_view kRuleNames[] = {"sgd", "adam"};

struct Hyperparameters {
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
};

// The state of one optimiser for one network. Its buffers have the layout of the parameters.
template <class T>
class Optimizer {
 public:
  Optimizer(Rule rule, const Hyperparameters& hyperparameters, const Layout& layout);

  // True where w = w - η ∇W is the whole update: no gradient has to be stored.
  bool is_plain_descent() const {
    return rule_ == Rule::sgd && hyper_.momentum == 0 && hyper_.weight_decay == 0;
  }

  // Starts the next update: counts it and moves β^t on. Once, before the calls of apply.
  void begin_step();

  // Updates the elements [begin, end) of the parameters; both multiples of 64 bytes.
  void apply(T* parameters, const T* gradient, std::size_t begin, std::size_t end,
             double learning_rate);

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
  Rule rule_;
  Hyperparameters hyper_;
  AlignedBuffer<T> velocity_;  // v of momentum
  AlignedBuffer<T> mean_;      // running mean of g
  AlignedBuffer<T> square_;    // running mean of g²
  std::uint64_t step_ = 0;
  double beta1_power_ = 1;  // β1^t by repeated multiplication: the same bits everywhere
  double beta2_power_ = 1;
};

}  // namespace chainrule
