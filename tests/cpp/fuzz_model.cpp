// Feeds mutated model files to the loader of C++ programs, guided by coverage (libFuzzer, Clang).
//
//   cmake -S . -B build/fuzz -DCMAKE_CXX_COMPILER=clang++ -DCHAINRULE_PYTHON=OFF
//     -DCHAINRULE_FUZZ=ON -DCHAINRULE_SANITIZE=address,undefined
//   cmake --build build/fuzz --target fuzz_model && mkdir found
//   build/fuzz/tests/fuzz_model -dict=tests/fuzz/model.dict -max_len=4096 -malloc_limit_mb=64
//     -max_total_time=600 found tests/fuzz/corpus
// and to keep what reaches new code:
//   build/fuzz/tests/fuzz_model -merge=1 -use_counters=0 tests/fuzz/corpus found
//
// A file is refused by LoadError; or it loads as the type that it states, predicts, and what would
// be saved of it is read as the same network. Anything else ends the run and leaves crash-*.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chainrule/model.h"
#include "model/file.h"
#include "model/json.h"
#include "model/sha256.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

using namespace chainrule;
using Bytes = std::span<const std::byte>;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "this does not hold: %s\n", what);
  std::abort();
}

template <class T>
bool loads(Bytes file) try {
  const auto model = Model<T>::load(file);
  const std::vector<T> x(3 * model.n_inputs(), T(1));
  std::vector<T> out(3 * model.n_outputs());
  auto scratch = model.scratch();
  require(model.predict(x, out, scratch), "a loaded model predicts");
  require(model.parameters().size() == model.n_parameters(), "all parameters are there");
  return true;
} catch (const LoadError&) {
  return false;
}

void check_saving(const ModelFile& file) {
  std::string text = model_header(file);
  for (const Bytes tensor : file.tensors)
    text.append(reinterpret_cast<const char*>(tensor.data()), tensor.size());
  const ModelFile again = parse_model(std::as_bytes(std::span(text)));
  require(again.seed == file.seed && again.epoch == file.epoch, "the counters are saved");
  require(again.architecture.sizes == file.architecture.sizes, "the sizes are saved");
  require(again.architecture.activations == file.architecture.activations &&
              again.architecture.loss == file.architecture.loss,
          "the functions are saved");
  for (std::size_t i = 0; i < file.tensors.size(); ++i)
    require(std::ranges::equal(again.tensors[i], file.tensors[i]), "the tensors are saved");
}

// --- mutations that come past the length and the digest

struct Parts {
  std::string header, data;
};

std::optional<Parts> taken_apart(std::string_view file) {
  std::uint64_t length = 0;
  if (file.size() < sizeof length) return {};
  std::memcpy(&length, file.data(), sizeof length);
  file.remove_prefix(sizeof length);
  if (length > file.size()) return {};
  const auto n = static_cast<std::size_t>(length);
  return Parts{std::string(file.substr(0, n)), std::string(file.substr(n))};
}

std::string put_together(const Parts& parts) {
  const std::uint64_t length = parts.header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + parts.header + parts.data;
}

// Where the tensor's bytes lie, as its entry states it.
std::string_view bytes_of(const json::Value& entry, std::string_view data) {
  const json::Array& offsets =
      json::member(entry.object("entry"), "data_offsets", "entry").array("data_offsets");
  if (offsets.size() != 2) throw LoadError("not two offsets");
  const std::uint64_t begin = offsets[0].integer("offset"), end = offsets[1].integer("offset");
  if (begin > end || end > data.size()) throw LoadError("no such place");
  return data.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
}

// The digest that the file should state, by the rule at the head of chainrule/files/safetensors.py.
std::pair<std::string, std::string> digests(const Parts& parts) {
  const json::Value value = json::parse(parts.header, "header");
  const json::Object& header = value.object("header");
  auto metadata = json::member(header, "__metadata__", "header").object("metadata");
  std::ranges::sort(metadata, {}, &std::pair<std::string, json::Value>::first);
  std::string stated, text;
  for (const auto& [name, entry] : metadata) {
    if (name == "sha256") {
      stated = entry.text("metadata");
      continue;
    }
    text += (text.empty() ? "{" : ", ") + json::quoted(name) + ": " +
            json::quoted(entry.text("metadata"));
  }
  Sha256 sha;
  sha.update(text + "}");
  for (std::size_t layer = 1; layer < header.size(); ++layer)
    for (const char* kind : {".weight", ".bias"}) {
      const std::string wanted = "layers." + std::to_string(layer) + kind;
      for (const auto& [name, entry] : header) {
        if (name != wanted) continue;
        sha.update(name);
        sha.update(bytes_of(entry, parts.data));
      }
    }
  return {stated, sha.hex()};
}

void sign(Parts& parts) try {
  const auto [stated, right] = digests(parts);
  const std::size_t at = parts.header.find(stated);
  if (!stated.empty() && at != std::string::npos) parts.header.replace(at, stated.size(), right);
} catch (const LoadError&) {  // it cannot be signed
}

void mutate(std::string& text) {
  constexpr std::size_t kMore = 64;
  const std::size_t size = text.size();
  text.resize(size + kMore);
  text.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(text.data()), size, text.size()));
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  std::minstd_rand draw(seed);
  const auto one_in = [&](unsigned n) { return draw() / 8 % n == 0; };
  std::optional<Parts> parts = taken_apart({reinterpret_cast<const char*>(data), size});
  if (parts && !one_in(8)) {
    mutate(one_in(4) ? parts->data : parts->header);
    if (one_in(2)) sign(*parts);
    const std::string file = put_together(*parts);
    if (file.size() <= max_size) {
      std::ranges::copy(file, data);
      return file.size();
    }
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes file = std::as_bytes(std::span(data, size));
  std::optional<bool> is_double;
  try {
    const ModelFile found = parse_model(file);
    is_double = found.architecture.is_double;
    check_saving(found);
  } catch (const LoadError&) {
    require(!is_double, "what is saved can be read");
  }
  require(loads<float>(file) == (is_double == false), "it loads as float32 if it says so");
  require(loads<double>(file) == (is_double == true), "it loads as float64 if it says so");
  return 0;
}
