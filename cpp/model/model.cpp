#include "chainrule/model.h"

#include <cmath>
#include <new>
#include <utility>

#include "core/names.h"
#include "core/network.h"
#include "core/targets.h"
#include "core/training.h"
#include "kernels/kernels.h"
#include "model/file.h"

namespace chainrule {
namespace {

// Of the rows that predict takes through all layers together.
constexpr std::size_t kScratchRows = 64;

template <class T>
Matrix rows_of(std::span<const T> values, std::size_t rows, std::size_t columns) {
  constexpr auto size = static_cast<std::ptrdiff_t>(sizeof(T));
  const auto type = sizeof(T) == 4 ? ElementType::float32 : ElementType::float64;
  return {reinterpret_cast<const std::byte*>(values.data()), type, rows, columns,
          size * static_cast<std::ptrdiff_t>(columns),       size};
}

bool are_rows(std::size_t n_x, std::size_t n_in, std::size_t n_y, std::size_t n_out) {
  return n_x % n_in == 0 && n_y % n_out == 0 && n_x / n_in == n_y / n_out;
}

// Throws where a number is not finite, or the loss refuses a target.
template <class T>
void check_samples(const Samples& samples, const Layout& layout) {
  const std::size_t rows = samples.x.rows;
  const std::size_t bad = first_nonfinite_row<T>(samples.x, 0, rows);
  TargetFaults faults;
  find_target_faults<T>(samples.y, layout, 0, rows, faults);
  if (bad < rows || faults.nonfinite_row != kNoRow)
    throw std::invalid_argument("row " + std::to_string(bad < rows ? bad : faults.nonfinite_row) +
                                " of " + (bad < rows ? "x" : "y") + " is not finite");
  if (faults.outside_row != kNoRow && is_fused(layout.loss))
    throw std::invalid_argument(refusal_of_targets<T>(samples.y, layout, faults));
}

}  // namespace

template <class T>
struct Scratch<T>::Room {
  AlignedBuffer<T> buffer;
  std::size_t rows;
};

template <class T>
Scratch<T>::Scratch(std::unique_ptr<Room> room) : room_(std::move(room)) {}
template <class T>
Scratch<T>::Scratch(Scratch&&) noexcept = default;
template <class T>
Scratch<T>& Scratch<T>::operator=(Scratch&&) noexcept = default;
template <class T>
Scratch<T>::~Scratch() = default;

template <class T>
struct Model<T>::State {
  Architecture architecture;
  Network<T> network;
  Optimizer<T> descent;
  std::unique_ptr<Workspace<T>> workspace;  // of the largest batch so far

  explicit State(const ModelFile& file)
      : architecture(file.architecture),
        network(architecture),
        descent(Rule::sgd, {}, network.layout) {
    network.seed = file.seed;
    network.epoch = file.epoch;
  }
};

template <class T>
Model<T>::Model(std::unique_ptr<State> state) : state_(std::move(state)) {}
template <class T>
Model<T>::Model(Model&&) noexcept = default;
template <class T>
Model<T>& Model<T>::operator=(Model&&) noexcept = default;
template <class T>
Model<T>::~Model() = default;

template <class T>
Model<T> Model<T>::load(std::span<const std::byte> bytes) {
  // Which kernels run is settled here and not in the first call of predict.
  if (const char* error = isa_error()) throw std::runtime_error(error);
  const ModelFile file = parse_model(bytes);
  if (file.is_double != (sizeof(T) == sizeof(double)))
    throw LoadError(file.is_double ? "it holds float64 numbers: load it as Model<double>"
                                   : "it holds float32 numbers: load it as Model<float>");
  auto state = std::make_unique<State>(file);
  std::vector<T> flat(state->network.layout.n_parameters);
  std::byte* next = reinterpret_cast<std::byte*>(flat.data());
  for (const std::span<const std::byte> tensor : file.tensors)
    next = std::copy(tensor.begin(), tensor.end(), next);
  unflatten(state->network.layout, flat.data(), state->network.parameters.data());
  return Model(std::move(state));
}

template <class T>
Model<T> Model<T>::load(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  try {
    return load(bytes);
  } catch (const LoadError& error) {
    throw LoadError("'" + path + "' does not hold a network of chainrule: " + error.what());
  }
}

template <class T>
std::size_t Model<T>::n_inputs() const noexcept {
  return state_->network.layout.n_inputs();
}
template <class T>
std::size_t Model<T>::n_outputs() const noexcept {
  return state_->network.layout.n_outputs();
}
template <class T>
std::size_t Model<T>::n_parameters() const noexcept {
  return state_->network.layout.n_parameters;
}
template <class T>
std::vector<std::size_t> Model<T>::sizes() const {
  return state_->architecture.sizes;
}
template <class T>
std::vector<std::string_view> Model<T>::activations() const {
  std::vector<std::string_view> names;
  for (const Activation g : state_->architecture.activations) names.push_back(name_of(g));
  return names;
}
template <class T>
std::string_view Model<T>::loss() const noexcept {
  return name_of(state_->architecture.loss);
}

template <class T>
Scratch<T> Model<T>::scratch() const {
  using Room = typename Scratch<T>::Room;
  AlignedBuffer<T> buffer(predict_room(state_->network, kScratchRows));
  return Scratch<T>(std::unique_ptr<Room>(new Room{std::move(buffer), kScratchRows}));
}

template <class T>
bool Model<T>::predict(std::span<const T> x, std::span<T> out, Scratch<T>& scratch) const noexcept {
  const Network<T>& network = state_->network;
  const std::size_t n_in = n_inputs(), n_out = n_outputs();
  AlignedBuffer<T>& buffer = scratch.room_->buffer;
  if (!are_rows(x.size(), n_in, out.size(), n_out) ||
      buffer.size() != predict_room(network, kScratchRows))
    return false;
  predict_alone(network, {x.data(), static_cast<std::ptrdiff_t>(n_in)}, out.data(),
                static_cast<std::ptrdiff_t>(n_out), x.size() / n_in, kScratchRows, buffer.data());
  return true;
}

template <class T>
bool Model<T>::predict(std::span<const std::ptrdiff_t> columns, std::span<const T> values,
                       std::span<T> out, Scratch<T>& scratch) const noexcept {
  const Network<T>& network = state_->network;
  AlignedBuffer<T>& buffer = scratch.room_->buffer;
  if (columns.size() != values.size() || out.size() != n_outputs() ||
      buffer.size() != predict_room(network, kScratchRows))
    return false;
  std::ptrdiff_t before = -1;
  for (const std::ptrdiff_t column : columns) {
    if (column <= before || column >= static_cast<std::ptrdiff_t>(n_inputs())) return false;
    before = column;
  }
  const Size starts[] = {0, to_size(columns.size())};
  predict_alone(network, StoredRows<T>{starts, columns.data(), values.data()}, out.data(),
                buffer.data());
  return true;
}

template <class T>
double Model<T>::train_step(std::span<const T> x, std::span<const T> y, double learning_rate) {
  State& state = *state_;
  const Layout& layout = state.network.layout;
  const std::size_t rows = x.size() / n_inputs();
  if (rows == 0 || !are_rows(x.size(), n_inputs(), y.size(), n_outputs()))
    throw std::invalid_argument(
        "x and y must hold the same whole number of rows, at least one: " +
        std::to_string(x.size()) + " numbers for " + std::to_string(n_inputs()) + " inputs, " +
        std::to_string(y.size()) + " for " + std::to_string(n_outputs()) + " outputs");
  if (!(std::isfinite(learning_rate) && learning_rate >= 0))
    throw std::invalid_argument("learning_rate must be finite and >= 0");
  Samples samples;
  samples.x = rows_of(x, rows, n_inputs());
  samples.y.matrix = rows_of(y, rows, n_outputs());
  check_samples<T>(samples, layout);
  const std::size_t needed = workspace_rows(rows);
  if (!state.workspace || state.workspace->rows < needed)
    state.workspace = std::make_unique<Workspace<T>>(layout, needed);
  return train_epoch(state.network, *state.workspace, state.descent, samples, rows, &learning_rate,
                     1, 0, Poll{})
      .position.mean();
}

template <class T>
std::vector<T> Model<T>::parameters() const {
  std::vector<T> flat(n_parameters());
  flatten(state_->network.layout, state_->network.parameters.data(), flat.data());
  return flat;
}

template <class T>
void Model<T>::set_parameters(std::span<const T> values) {
  if (values.size() != n_parameters())
    throw std::invalid_argument("expected " + std::to_string(n_parameters()) + " parameters, got " +
                                std::to_string(values.size()));
  unflatten(state_->network.layout, values.data(), state_->network.parameters.data());
}

template <class T>
void Model<T>::save(const std::string& path) const {
  const std::vector<T> flat = parameters();
  ModelFile file{state_->architecture,
                 sizeof(T) == sizeof(double),
                 state_->network.seed,
                 state_->network.epoch,
                 {}};
  std::span<const std::byte> rest = std::as_bytes(std::span(flat));
  const auto take = [&](std::size_t n) {
    file.tensors.push_back(rest.first(n * sizeof(T)));
    rest = rest.subspan(n * sizeof(T));
  };
  for (const Layer& layer : state_->network.layout.layers) {
    take(layer.n_in * layer.n_out);
    if (file.architecture.has_bias) take(layer.n_out);
  }
  const std::string header = model_header(file);
  const std::span<const std::byte> parts[] = {std::as_bytes(std::span(header)),
                                              std::as_bytes(std::span(flat))};
  replace_file(path, parts);
}

template class Model<float>;
template class Model<double>;
template class Scratch<float>;
template class Scratch<double>;

std::string stored_type(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  return parse_model(bytes).is_double ? "float64" : "float32";
}

std::string_view isa() noexcept { return isa_name(); }

}  // namespace chainrule
