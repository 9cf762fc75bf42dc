// chainrule without Python: load a network that was trained anywhere, predict, train on.
//
//   #include <chainrule/model.h>
//
//   const auto model = chainrule::Model<float>::load("digits.safetensors");
//   auto scratch = model.scratch();                  // one a thread, made beforehand
//   model.predict(image, probabilities, scratch);    // microseconds; nothing is allocated
//
// Results have the bits that Python gets from the same file, on every processor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace chainrule {

// A file that is not a whole and sound network; what() says why.
class LoadError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The room that a thread needs for its calls of predict.
template <class T>
class Scratch {
 public:
  Scratch(Scratch&&) noexcept;
  Scratch& operator=(Scratch&&) noexcept;
  ~Scratch();

 private:
  template <class U>
  friend class Model;
  struct Room;
  explicit Scratch(std::unique_ptr<Room> room);
  std::unique_ptr<Room> room_;
};

// A multilayer perceptron with numbers of type T: float or double.
//
// Any number of threads may call const members at once, each with a Scratch of its own; a member
// that is not const must be alone. Rows lie end to end: x holds n_0 numbers a row, a result n_L.
template <class T>
class Model {
 public:
  // Reads a file that Network.save or Model::save wrote. LoadError where it is anything else: of
  // the other type for instance, or a checkpoint of Network.fit. std::runtime_error where
  // CHAINRULE_ISA names kernels that this processor lacks; std::bad_alloc where memory is short.
  static Model load(const std::string& path);
  static Model load(std::span<const std::byte> file);

  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  std::size_t n_inputs() const noexcept;              // n_0
  std::size_t n_outputs() const noexcept;             // n_L
  std::size_t n_parameters() const noexcept;          // weights and biases
  std::vector<std::size_t> sizes() const;             // n_0, n_1, …, n_L
  std::vector<std::string_view> activations() const;  // one a layer
  std::string_view loss() const noexcept;

  Scratch<T> scratch() const;

  // a^L of every row of x into `out`, on the calling thread: no allocation, no lock, no exception,
  // no system call. False, and nothing written, where the spans do not hold the same whole number
  // of rows, or the scratch has not the room for this model's layers.
  [[nodiscard]] bool predict(std::span<const T> x, std::span<T> out,
                             Scratch<T>& scratch) const noexcept;

  // The same for one row of which only some numbers are given, the others being 0: `values` in the
  // columns of the same places, which rise. The time that it takes follows from how many they are.
  // False, too, where the columns do not rise, or one is not below n_0.
  [[nodiscard]] bool predict(std::span<const std::ptrdiff_t> columns, std::span<const T> values,
                             std::span<T> out, Scratch<T>& scratch) const noexcept;

  // One step of gradient descent, W ← W - η ∇W, from a batch: x holds n_0 numbers a row, y n_L.
  // Returns the batch's cost before it. The same bits as Network.train_step(x, y,
  // learning_rate=η). std::invalid_argument where the spans do not hold the same whole number of
  // rows, at least one, a number is not finite, or a target lies outside [0, 1] with cross_entropy
  // or binary_cross_entropy; nothing has changed then. What Python only warns of is taken: rows
  // that do not sum to 1 with cross_entropy, and with other losses any finite target.
  double train_step(std::span<const T> x, std::span<const T> y, double learning_rate);

  // All parameters: W¹ row-major, b¹, W², …
  std::vector<T> parameters() const;
  // Replaces all of them; std::invalid_argument where there are not n_parameters() of them.
  void set_parameters(std::span<const T> values);

  // Writes a file that Network.load and Model::load read. The old file stays until the new one is
  // whole. The new one has the old one's owner, group, mode and ACL, by the rules of Network.save.
  // std::runtime_error where it cannot be written (what() says why), or its header would be above
  // 1 MB.
  void save(const std::string& path) const;

 private:
  struct State;
  explicit Model(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

extern template class Model<float>;
extern template class Model<double>;
extern template class Scratch<float>;
extern template class Scratch<double>;

// "float32" or "float64": which Model can load a file.
std::string stored_type(const std::string& path);

// "avx512", "avx2", "neon" or "scalar": what the kernels run on.
std::string_view isa() noexcept;

}  // namespace chainrule
