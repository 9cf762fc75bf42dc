// The golden bits without Python: runs the cases of golden.txt (their meaning is in golden.py) and
// compares. golden FILE; exits 1 where a digest differs.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <map>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "core/initialize.h"
#include "core/names.h"
#include "core/random.h"
#include "core/training.h"

namespace {

using chainrule::Activation;
using chainrule::Layer;
using chainrule::Loss;
using chainrule::Matrix;
using chainrule::Size;

// CRC-32 as in zlib.
class Digest {
 public:
  template <class T>
  void add(const T* values, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      const T value = std::isnan(values[i]) ? std::numeric_limits<T>::quiet_NaN() : values[i];
      for (const unsigned char byte : std::bit_cast<std::array<unsigned char, sizeof(T)>>(value)) {
        crc_ ^= byte;
        for (int bit = 0; bit < 8; ++bit) crc_ = (crc_ >> 1) ^ ((crc_ & 1u) * 0xedb88320u);
      }
    }
  }
  std::string text() const {
    char text[9];
    std::snprintf(text, sizeof text, "%08x", ~crc_);
    return text;
  }

 private:
  std::uint32_t crc_ = ~0u;
};

template <class T>
std::vector<T> uniform(std::size_t n, std::uint64_t stream) {
  std::vector<T> values(n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint64_t word = ((i + (stream << 20)) * 0x9E3779B97F4A7C15u) >> 32;
    values[i] = static_cast<T>(static_cast<double>(word) * 0x1p-31 - 1);
  }
  return values;
}

template <class T>
Matrix matrix_of(const std::vector<T>& values, std::size_t columns) {
  constexpr auto type =
      sizeof(T) == 4 ? chainrule::ElementType::float32 : chainrule::ElementType::float64;
  const auto row = static_cast<std::ptrdiff_t>(columns * sizeof(T));
  return {reinterpret_cast<const std::byte*>(values.data()),
          type,
          values.size() / columns,
          columns,
          row,
          static_cast<std::ptrdiff_t>(sizeof(T))};
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
  return parts;
}

std::size_t number(const std::string& text, const std::string& key) {
  return std::stoul(text.substr(key.size() + 1));
}

// key=0.5,0.25
std::vector<double> decimals(const std::string& text) {
  std::vector<double> numbers;
  for (const std::string& number : split(text.substr(text.find('=') + 1)))
    numbers.push_back(std::stod(number));
  return numbers;
}

using Words = std::vector<std::string>;

template <class T>
chainrule::Network<T> make_network(const Words& words) {
  chainrule::Architecture architecture;
  for (const std::string& size : split(words[2])) architecture.sizes.push_back(std::stoul(size));
  for (const std::string& name : split(words[3]))
    architecture.activations.push_back(chainrule::parse_name<Activation>(name, "activation"));
  architecture.loss = chainrule::parse_name<Loss>(words[4], "loss");
  chainrule::Network<T> network(architecture);
  std::uint64_t l = 0;
  for (const Layer& layer : network.layout.layers) {
    ++l;
    T* const parameters = network.parameters.data();
    chainrule::initialize(parameters, layer, chainrule::Initializer::lecun_normal, 3, l);
    const std::vector<T> bias = uniform<T>(layer.n_out, 2 + l);
    std::copy(bias.begin(), bias.end(), parameters + layer.bias);
  }
  return network;
}

// A buffer with the layout of the parameters, as the user's flat vector: W¹ row-major, b¹, W², ...
template <class T>
std::vector<T> flat(const chainrule::Layout& layout, const T* buffer) {
  std::vector<T> vector;
  for (const Layer& layer : layout.layers) {
    for (std::size_t j = 0; j < layer.n_out; ++j)
      for (std::size_t k = 0; k < layer.n_in; ++k)
        vector.push_back(buffer[layer.weights + k * layer.ld + j]);
    vector.insert(vector.end(), buffer + layer.bias, buffer + layer.bias + layer.n_out);
  }
  return vector;
}

template <class T>
std::string elementary(const Words& words) {
  std::vector<T> x(1 << 16);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if constexpr (sizeof(T) == 4)
      x[i] = std::bit_cast<float>(static_cast<std::uint32_t>(i * 0x00010001u));
    else
      x[i] = std::bit_cast<double>(std::uint64_t{i} * 0x0001000100010001u);
  }
  const auto function =
      chainrule::parse_name<chainrule::ElementaryFunction>(words[2], "elementary function");
  chainrule::kernels<T>().elementary(function, x.data(), x.data(), static_cast<Size>(x.size()));
  Digest digest;
  digest.add(x.data(), x.size());
  return digest.text();
}

template <class T>
std::string one_pass(const Words& words) {
  const chainrule::Network<T> network = make_network<T>(words);
  const chainrule::Layout& layout = network.layout;
  const std::size_t rows = number(words[5], "rows");
  const std::vector<T> x = uniform<T>(rows * layout.n_inputs(), 1);
  std::vector<T> y = uniform<T>(rows * layout.n_outputs(), 2);
  for (T& value : y) value = std::abs(value);
  std::vector<double> weights(rows);
  std::iota(weights.begin(), weights.end(), 1.0);

  std::vector<T> out(y.size());
  const Size in_stride = static_cast<Size>(layout.n_inputs());
  const Size out_stride = static_cast<Size>(layout.n_outputs());
  chainrule::predict<T>(network, {x.data(), in_stride}, out.data(), out_stride, rows, 0);
  Digest predicted;
  predicted.add(out.data(), out.size());

  chainrule::AlignedBuffer<T> buffer(layout.size);
  chainrule::Workspace<T> workspace(layout, rows, chainrule::Workspace<T>::input_gradient);
  const Matrix targets = matrix_of(y, layout.n_outputs());
  const chainrule::Samples samples = {
      matrix_of(x, layout.n_inputs()), {targets, false}, weights.data(), nullptr};
  Digest derived;
  const double cost =
      chainrule::mean_gradient(network, workspace, samples, 0, rows, buffer.data(), 0);
  derived.add(&cost, 1);
  std::vector<T> gradient = flat(layout, buffer.data());
  derived.add(gradient.data(), gradient.size());

  chainrule::record(network, workspace, samples.x);
  chainrule::pull_back(network, workspace, targets, buffer.data());
  Digest pulled;
  gradient = flat(layout, buffer.data());
  pulled.add(gradient.data(), gradient.size());
  for (std::size_t r = 0; r < rows; ++r)
    pulled.add(workspace.dx + r * layout.input_stride, layout.n_inputs());
  return predicted.text() + " " + derived.text() + " " + pulled.text();
}

struct Descent {
  chainrule::Rule rule;
  double learning_rate;
  chainrule::Hyperparameters hyper;
};
const std::map<std::string, Descent> kDescents = {
    {"sgd", {chainrule::Rule::sgd, 0.05, {}}},
    {"momentum",
     {chainrule::Rule::sgd, 0.05, {.momentum = 0.9, .nesterov = true, .weight_decay = 0.01}}},
    {"adam", {chainrule::Rule::adam, 0.01, {.weight_decay = 0.01}}},
    {"adamw", {chainrule::Rule::adamw, 0.01, {.weight_decay = 0.1}}},
    {"rmsprop", {chainrule::Rule::rmsprop, 0.01, {.momentum = 0.9, .centered = true}}},
    {"adagrad",
     {chainrule::Rule::adagrad,
      0.05,
      {.eps = 1e-10, .lr_decay = 0.01, .initial_accumulator_value = 0.1}}},
    {"clipped",
     {chainrule::Rule::sgd,
      0.05,
      {.momentum = 0.5, .l1 = 0.001, .l2 = 0.01, .clip_value = 0.02, .clip_norm = 0.1}}}};

template <class T>
std::string train(const Words& words) {
  chainrule::Network<T> network = make_network<T>(words);
  const chainrule::Layout& layout = network.layout;
  const std::size_t rows = number(words[5], "rows");
  const std::size_t batch_size = number(words[7], "batch");
  const std::size_t epochs = number(words[8], "epochs");
  const auto& [rule, learning_rate, hyper] = kDescents.at(words[6]);
  chainrule::Optimizer<T> optimizer(rule, hyper, layout);

  const std::vector<T> x = uniform<T>(rows * layout.n_inputs(), 1);
  std::vector<std::int64_t> labels(rows);
  for (std::size_t i = 0; i < rows; ++i)
    labels[i] = static_cast<std::int64_t>(i % layout.n_outputs());
  const Matrix label_matrix = {reinterpret_cast<const std::byte*>(labels.data()),
                               chainrule::ElementType::int64,
                               rows,
                               1,
                               sizeof(std::int64_t),
                               0};
  std::vector<T> one_hot(rows * layout.n_outputs());
  for (std::size_t i = 0; i < rows; ++i)
    one_hot[i * layout.n_outputs() + i % layout.n_outputs()] = T(1);
  chainrule::Targets targets = {label_matrix, true};
  if (layout.loss != Loss::cross_entropy) targets = {matrix_of(one_hot, layout.n_outputs()), false};
  std::vector<double> dropout_rates;
  for (std::size_t i = 9; i < words.size(); ++i) {
    if (words[i].starts_with("smoothing=")) targets.label_smoothing = decimals(words[i]).front();
    if (words[i].starts_with("dropout=")) dropout_rates = decimals(words[i]);
  }
  chainrule::Workspace<T> workspace(layout, chainrule::workspace_rows(batch_size));
  std::vector<double> costs;
  for (std::size_t epoch = 0; epoch < epochs; ++epoch) {
    const std::vector<std::size_t> order = chainrule::permutation(3, epoch, rows);
    const chainrule::Dropout dropout = {dropout_rates, 3, epoch};
    const chainrule::Samples samples = {matrix_of(x, layout.n_inputs()), targets, nullptr,
                                        order.data()};
    costs.push_back(chainrule::train_epoch(network, workspace, optimizer, samples, batch_size,
                                           &learning_rate, 1, 0, {}, {}, dropout)
                        .position.mean());
  }
  const std::vector<T> parameters = flat(layout, network.parameters.data());
  Digest digest;
  digest.add(parameters.data(), parameters.size());
  digest.add(costs.data(), costs.size());
  return digest.text();
}

using Kind = std::string (*)(const Words&);
const std::map<std::string, Kind> kKinds = {
    {"elementary float32", elementary<float>}, {"elementary float64", elementary<double>},
    {"pass float32", one_pass<float>},         {"pass float64", one_pass<double>},
    {"train float32", train<float>},           {"train float64", train<double>}};

}  // namespace

int main(int argc, char** argv) {
  if (const char* error = chainrule::isa_error()) {
    std::fprintf(stderr, "%s\n", error);
    return 2;
  }
  std::ifstream file(argc == 2 ? argv[1] : "");
  int cases = 0;
  int differing = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const std::size_t colon = line.find(": ");
    std::istringstream stream(line.substr(0, colon));
    Words words;
    for (std::string word; stream >> word;) words.push_back(word);
    const std::string expected = line.substr(colon + 2);
    const std::string actual = kKinds.at(words[0] + " " + words[1])(words);
    if (actual == expected) continue;
    ++differing;
    std::printf("%s, got %s\n", line.c_str(), actual.c_str());
  }
  std::printf("%s: %d cases, %d differ\n", std::string(chainrule::isa_name()).c_str(), cases,
              differing);
  return cases == 0 || differing > 0 ? 1 : 0;
}
