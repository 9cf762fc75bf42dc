// The library for C++ programs. model CHECK FILE...
//
//   model verdicts FILE...       one line a file: "ok", or why it was refused
//   model predict MODEL X OUT    rows of X (raw numbers) through MODEL, into OUT
//   model predict_sparse MODEL X OUT   the same, of each row the numbers that are not 0
//   model refusals MODEL         "ok" where calls with spans that do not fit are refused
//   model train MODEL X Y RATE STEPS OUT   that many steps from one batch; saves to OUT
#include "chainrule/model.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

template <class T>
std::vector<T> read(const char* path) {
  std::ifstream in(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(in)), {});
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

template <class T>
void write(const char* path, const std::vector<T>& values) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(T)));
}

template <class T>
int predict(char** arguments) {
  const auto model = chainrule::Model<T>::load(arguments[0]);
  const std::vector<T> x = read<T>(arguments[1]);
  std::vector<T> out(x.size() / model.n_inputs() * model.n_outputs());
  auto scratch = model.scratch();
  if (!model.predict(x, out, scratch)) return 1;
  write(arguments[2], out);
  return 0;
}

template <class T>
int predict_sparse(char** arguments) {
  const auto model = chainrule::Model<T>::load(arguments[0]);
  const std::vector<T> x = read<T>(arguments[1]);
  const std::size_t n_in = model.n_inputs(), n_out = model.n_outputs(), rows = x.size() / n_in;
  std::vector<T> out(rows * n_out);
  auto scratch = model.scratch();
  for (std::size_t r = 0; r < rows; ++r) {
    std::vector<std::ptrdiff_t> columns;
    std::vector<T> values;
    for (std::size_t k = 0; k < n_in; ++k) {
      if (x[r * n_in + k] == T(0)) continue;
      columns.push_back(static_cast<std::ptrdiff_t>(k));
      values.push_back(x[r * n_in + k]);
    }
    if (!model.predict(columns, values, std::span(out).subspan(r * n_out, n_out), scratch))
      return 1;
  }
  write(arguments[2], out);
  return 0;
}

template <class T>
int train(char** arguments) {
  auto model = chainrule::Model<T>::load(arguments[0]);
  const std::vector<T> x = read<T>(arguments[1]), y = read<T>(arguments[2]);
  const double rate = std::strtod(arguments[3], nullptr);
  for (long step = std::strtol(arguments[4], nullptr, 10); step > 0; --step)
    std::printf("%.17g\n", model.train_step(x, y, rate));
  model.save(arguments[5]);
  return 0;
}

template <class T>
int refusals(char** arguments) {
  auto model = chainrule::Model<T>::load(arguments[0]);
  const std::size_t n_in = model.n_inputs(), n_out = model.n_outputs();
  const std::vector<T> parameters = model.parameters();
  const std::vector<T> x(2 * n_in, T(1));
  std::vector<T> out(2 * n_out, T(7));
  auto scratch = model.scratch();
  const std::span<const T> one = std::span(x).first(n_in), torn = std::span(x).first(n_in + 1);
  bool good = !model.predict(torn, out, scratch) && !model.predict(one, out, scratch) &&
              out == std::vector<T>(2 * n_out, T(7));
  const std::span<T> row = std::span(out).first(n_out);
  const auto last = static_cast<std::ptrdiff_t>(n_in);
  using Columns = std::vector<std::ptrdiff_t>;
  for (const Columns& columns : {Columns{1, 0}, Columns{0, 0}, Columns{-1, 0}, Columns{0, last}})
    good &= !model.predict(columns, std::span(x).first(2), row, scratch);
  good &= !model.predict(Columns{0}, std::span(x).first(2), row, scratch) &&
          !model.predict(Columns{0, 1}, std::span(x).first(2), out, scratch) &&
          out == std::vector<T>(2 * n_out, T(7));
  const auto refuses = [&](auto call) {
    try {
      call();
    } catch (const std::invalid_argument&) {
      return model.parameters() == parameters;
    }
    return false;
  };
  constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
  const std::vector<T> nan(2 * n_in, kNaN);
  good &= refuses([&] { model.train_step(torn, out, 0.1); });
  good &= refuses([&] { model.train_step(one, out, 0.1); });
  good &= refuses([&] { model.train_step({}, {}, 0.1); });
  good &= refuses([&] { model.train_step(nan, out, 0.1); });
  good &= refuses([&] { model.train_step(x, out, -0.1); });
  good &= refuses([&] { model.train_step(x, out, static_cast<double>(kNaN)); });
  good &= refuses([&] { model.set_parameters(one); });
  if (good) std::printf("ok\n");
  return good ? 0 : 1;
}

int verdicts(int count, char** paths) {
  for (int i = 0; i < count; ++i) try {
      const std::string type = chainrule::stored_type(paths[i]);
      if (type == "float32")
        (void)chainrule::Model<float>::load(paths[i]);
      else
        (void)chainrule::Model<double>::load(paths[i]);
      std::printf("ok\n");
    } catch (const chainrule::LoadError& error) {
      std::printf("%s\n", error.what());
    }
  return 0;
}

template <class F32, class F64>
int by_type(const char* path, F32 f32, F64 f64) {
  return chainrule::stored_type(path) == "float32" ? f32() : f64();
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string check = argc > 2 ? argv[1] : "";
  char** const rest = argv + 2;
  if (check == "verdicts") return verdicts(argc - 2, rest);
  if (check == "predict")
    return by_type(
        rest[0], [&] { return predict<float>(rest); }, [&] { return predict<double>(rest); });
  if (check == "predict_sparse")
    return by_type(
        rest[0], [&] { return predict_sparse<float>(rest); },
        [&] { return predict_sparse<double>(rest); });
  if (check == "refusals")
    return by_type(
        rest[0], [&] { return refusals<float>(rest); }, [&] { return refusals<double>(rest); });
  if (check == "train")
    return by_type(
        rest[0], [&] { return train<float>(rest); }, [&] { return train<double>(rest); });
  std::fprintf(stderr, "usage: see the head of model.cpp\n");
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
