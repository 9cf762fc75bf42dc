// The library for C++ programs. model CHECK FILE...
//
//   model verdicts FILE...       one line a file: "ok", or why it was refused
//   model predict MODEL X OUT    rows of X (raw numbers) through MODEL, into OUT
//   model train MODEL X Y RATE STEPS OUT   that many steps from one batch; saves to OUT
//   model quiet MODEL            predicts, and fails if memory is allocated meanwhile
#include "chainrule/model.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <new>
#include <string>
#include <vector>

namespace {

std::size_t allocations = 0;

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
int quiet(char** arguments) {
  const auto model = chainrule::Model<T>::load(arguments[0]);
  std::vector<T> x(100 * model.n_inputs(), T(1)), out(100 * model.n_outputs());
  auto scratch = model.scratch();
  const std::size_t before = allocations;
  bool good = true;
  for (const std::size_t rows : {1, 2, 63, 64, 65, 100})
    good &= model.predict(std::span(x).first(rows * model.n_inputs()),
                          std::span(out).first(rows * model.n_outputs()), scratch);
  static_assert(noexcept(model.predict(x, out, scratch)));
  std::printf("%zu allocations\n", allocations - before);
  // Spans that do not fit are refused, and so is another model's scratch.
  good &= !model.predict(std::span(x).first(model.n_inputs() + 1), out, scratch);
  good &= !model.predict(std::span(x).first(model.n_inputs()), out, scratch);
  return good && allocations == before ? 0 : 1;
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

void* operator new(std::size_t size) {
  ++allocations;
  if (void* const at = std::malloc(size)) return at;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  ++allocations;
  const auto unit = static_cast<std::size_t>(alignment);
  if (void* const at = std::aligned_alloc(unit, (size + unit - 1) / unit * unit)) return at;
  throw std::bad_alloc();
}
void operator delete(void* at) noexcept { std::free(at); }
void operator delete(void* at, std::size_t) noexcept { std::free(at); }
void operator delete(void* at, std::align_val_t) noexcept { std::free(at); }
void operator delete(void* at, std::size_t, std::align_val_t) noexcept { std::free(at); }

int main(int argc, char** argv) {
  const std::string check = argc > 2 ? argv[1] : "";
  char** const rest = argv + 2;
  if (check == "verdicts") return verdicts(argc - 2, rest);
  if (check == "predict")
    return by_type(
        rest[0], [&] { return predict<float>(rest); }, [&] { return predict<double>(rest); });
  if (check == "train")
    return by_type(
        rest[0], [&] { return train<float>(rest); }, [&] { return train<double>(rest); });
  if (check == "quiet")
    return by_type(
        rest[0], [&] { return quiet<float>(rest); }, [&] { return quiet<double>(rest); });
  std::fprintf(stderr, "usage: see the head of model.cpp\n");
  return 2;
}
