// What a Python Network or Predictor object holds: a network of one of the two element types.
#pragma once

#include <atomic>
#include <memory>
#include <shared_mutex>
#include <utility>
#include <variant>

#include "bindings/checked_caster.h"
#include "bindings/numpy_view.h"
#include "core/network.h"
#include "core/optimizer.h"
#include "core/training.h"

namespace chainrule::python {

// Keeps predictions that run without the GIL away from the update of a step. Small calls
// keep the GIL and are not counted: training can only start with the GIL held.
class Gate {
 public:
  // While training, a reader waits for the next step boundary.
  class Reader {
   public:
    explicit Reader(Gate& gate) : gate_(gate) {
      ++gate_.waiting_;
      gate_.mutex_.lock_shared();
      --gate_.waiting_;
    }
    ~Reader() { gate_.mutex_.unlock_shared(); }
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

   private:
    Gate& gate_;
  };

  // Made with the GIL held; throws when training runs already. begin() once the GIL is free.
  class Trainer {
   public:
    explicit Trainer(Gate& gate) : gate_(gate) {
      if (gate_.training_.exchange(true))
        throw std::runtime_error(
            "this network is being trained by another thread: wait for it, "
            "or train a copy.deepcopy of the network");
    }
    ~Trainer() {
      end();
      gate_.training_ = false;
    }
    Trainer(const Trainer&) = delete;
    Trainer& operator=(const Trainer&) = delete;

    void begin() {
      gate_.mutex_.lock();
      locked_ = true;
    }
    void end() {
      if (locked_) gate_.mutex_.unlock();
      locked_ = false;
    }
    // At a step boundary: readers that wait go first.
    void let_readers_pass();

   private:
    Gate& gate_;
    bool locked_ = false;
  };

  bool training() const { return training_.load(std::memory_order_relaxed); }

 private:
  std::shared_mutex mutex_;
  std::atomic<int> waiting_{0};
  std::atomic<bool> training_{false};
};

// Below this many multiply-adds (about 10 µs) a call keeps the GIL.
inline constexpr double kReleaseWork = 1 << 17;

template <class T>
struct TypedNetwork {
  Network<T> network;
  std::unique_ptr<Workspace<T>> spare;  // reused from call to call

  // The spare workspace, or a new one of at least `rows` rows.
  std::unique_ptr<Workspace<T>> take_workspace(std::size_t rows) {
    if (spare != nullptr && spare->rows >= rows) return std::move(spare);
    return std::make_unique<Workspace<T>>(network.layout, rows);
  }
};

struct Handle {
  std::variant<std::unique_ptr<TypedNetwork<float>>, std::unique_ptr<TypedNetwork<double>>> typed;
  std::uint64_t version = 0;  // rises with every change of the parameters through the API
  Gate gate;

  template <class F>
  decltype(auto) visit(F&& f) {
    return std::visit([&](auto& pointer) -> decltype(auto) { return f(*pointer); }, typed);
  }
  const Layout& layout() {
    return visit([](auto& t) -> const Layout& { return t.network.layout; });
  }
  int typenum() const { return typed.index() == 0 ? NPY_FLOAT : NPY_DOUBLE; }
};

// Distinct types for Python; a Predictor is never written to.
struct PyNetwork : Handle {};
struct PyPredictor : Handle {};

// Adds predict and __call__ as raw methods: given to py::class_ as its custom_type_setup.
template <class H>
py::custom_type_setup predict_methods();

void bind_network(py::module_& module);
void bind_training(py::class_<PyNetwork>& network, py::module_& module);
void bind_predictor(py::module_& module);
void bind_functions(py::module_& module);

}  // namespace chainrule::python
