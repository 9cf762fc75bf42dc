#include "model/file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "chainrule/model.h"
#include "core/names.h"
#include "model/json.h"
#include "model/sha256.h"

namespace chainrule {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are little-endian");

constexpr std::size_t kMaxHeader = std::size_t{1} << 20;
constexpr std::string_view kFormat = "chainrule 1";
constexpr std::string_view kCheckpoint = "chainrule checkpoint ";  // and the version
constexpr std::string_view kEntries[] = {"format", "architecture", "seed", "epoch", "sha256"};

std::uint64_t decimal(const std::string& text, const std::string& name) {
  const bool digits =
      !text.empty() && text.size() <= 20 &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  std::uint64_t value = 0;
  for (const char c : text) {
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (!digits || value > (~std::uint64_t{0} - digit) / 10)
      throw LoadError("its " + name + " is no integer in [0, 2^64)");
    value = value * 10 + digit;
  }
  if (!digits) throw LoadError("its " + name + " is no integer in [0, 2^64)");
  return value;
}

// What an error says of a file, whose names may hold any bytes, and a megabyte of them.
std::string printable(std::string text) {
  constexpr std::size_t kMost = 300;
  if (text.size() > kMost) text.resize(kMost);
  std::replace_if(text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

void parse_architecture(const std::string& text, ModelFile& file) {
  constexpr std::string_view kWhat = "architecture";
  const json::Value value = json::parse(text, kWhat);
  const json::Object& object = value.object(kWhat);
  if (object.size() != 5) throw LoadError("its architecture does not have five entries");
  Architecture& result = file.architecture;
  try {
    for (const json::Value& size : json::member(object, "sizes", kWhat).array("sizes")) {
      const std::uint64_t n = size.integer("sizes");
      if (n > (~std::size_t{0} >> 1)) throw LoadError("its sizes are not possible");
      result.sizes.push_back(parse_size(result.sizes.size(), static_cast<std::ptrdiff_t>(n)));
    }
    result.loss = parse_name<Loss>(json::member(object, "loss", kWhat).text("loss"), "loss");
    for (const json::Value& name : json::member(object, "activations", kWhat).array("activations"))
      result.activations.push_back(parse_name<Activation>(name.text("activations"), "activation"));
    check(result);
    file.is_double = is_float64(json::member(object, "dtype", kWhat).text("dtype"));
  } catch (const std::invalid_argument& error) {
    throw LoadError("its architecture is not possible: " + printable(error.what()));
  }
  result.has_bias = json::member(object, "bias", kWhat).boolean("bias");
}

std::string write_architecture(const ModelFile& file) {
  const Architecture& architecture = file.architecture;
  const auto list = [](const auto& values, auto text_of) {
    std::string text = "[";
    for (const auto& value : values) text += (text.size() > 1 ? ", " : "") + text_of(value);
    return text + "]";
  };
  return "{\"sizes\": " +
         list(architecture.sizes, [](std::size_t n) { return std::to_string(n); }) +
         ", \"activations\": " +
         list(architecture.activations, [](Activation g) { return json::quoted(name_of(g)); }) +
         ", \"loss\": " + json::quoted(name_of(architecture.loss)) +
         ", \"dtype\": " + (file.is_double ? "\"float64\"" : "\"float32\"") +
         ", \"bias\": " + (architecture.has_bias ? "true" : "false") + "}";
}

struct Tensor {
  std::string name;
  std::vector<std::size_t> shape;
  std::size_t size = 0;  // bytes
};

// In the order of the parameters. LoadError where the sizes have more bytes than can be addressed.
std::vector<Tensor> tensors_of(const ModelFile& file) {
  const Architecture& architecture = file.architecture;
  constexpr std::size_t kMost = ~std::size_t{0} >> 1;
  std::vector<Tensor> tensors;
  std::size_t total = 0;
  const auto add = [&](std::string name, std::vector<std::size_t> shape) {
    std::size_t size = file.is_double ? 8 : 4;
    for (const std::size_t n : shape) {
      if (n > kMost / size) throw LoadError("its sizes are too large");
      size *= n;
    }
    if (size > kMost - total) throw LoadError("its sizes are too large");
    total += size;
    tensors.push_back({std::move(name), std::move(shape), size});
  };
  for (std::size_t l = 1; l < architecture.sizes.size(); ++l) {
    const std::string layer = "layers." + std::to_string(l);
    add(layer + ".weight", {architecture.sizes[l], architecture.sizes[l - 1]});
    if (architecture.has_bias) add(layer + ".bias", {architecture.sizes[l]});
  }
  return tensors;
}

using Metadata = std::vector<std::pair<std::string, std::string>>;

// As Python's json.dumps.
std::string dumps(const Metadata& metadata) {
  std::string text = "{";
  for (const auto& [name, value] : metadata)
    text += (text.size() > 1 ? ", " : "") + json::quoted(name) + ": " + json::quoted(value);
  return text + "}";
}

std::string digest(Metadata metadata, const std::vector<Tensor>& tensors,
                   std::span<const std::span<const std::byte>> data) {
  std::sort(metadata.begin(), metadata.end());
  Sha256 sha;
  sha.update(dumps(metadata));
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    sha.update(tensors[i].name);
    sha.update(data[i]);
  }
  return sha.hex();
}

const std::string& find(const Metadata& metadata, std::string_view name) {
  for (const auto& [key, value] : metadata)
    if (key == name) return value;
  throw LoadError("its metadata lack " + std::string(name));
}

std::pair<std::size_t, std::size_t> offsets_of(const json::Object& header, const Tensor& tensor,
                                               bool is_double) {
  const json::Object& entry = json::member(header, tensor.name, "header").object(tensor.name);
  const auto refuse = [&] {
    return LoadError("its tensor " + tensor.name + " is not as it must be");
  };
  const json::Array& shape = json::member(entry, "shape", tensor.name).array(tensor.name);
  if (entry.size() != 3 || shape.size() != tensor.shape.size() ||
      json::member(entry, "dtype", tensor.name).text("dtype") != (is_double ? "F64" : "F32"))
    throw refuse();
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (shape[i].integer("shape") != tensor.shape[i]) throw refuse();
  const json::Array& offsets = json::member(entry, "data_offsets", tensor.name).array(tensor.name);
  if (offsets.size() != 2) throw refuse();
  const std::uint64_t begin = offsets[0].integer("data_offsets");
  const std::uint64_t end = offsets[1].integer("data_offsets");
  if (end < begin || end - begin != tensor.size) throw refuse();
  return {static_cast<std::size_t>(begin), static_cast<std::size_t>(end)};
}

}  // namespace

ModelFile parse_model(std::span<const std::byte> bytes) {
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length) throw LoadError("it ends within its header");
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > kMaxHeader) throw LoadError("its header has more than a megabyte");
  if (length > bytes.size() - sizeof length) throw LoadError("it ends within its header");
  const auto header_size = static_cast<std::size_t>(length);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data() + sizeof length),
                              header_size);
  const std::span<const std::byte> data = bytes.subspan(sizeof length + header_size);

  const json::Value value = json::parse(text, "header");
  const json::Object& header = value.object("header");
  Metadata metadata;
  for (const auto& [name, entry] :
       json::member(header, "__metadata__", "header").object("metadata"))
    metadata.emplace_back(name, entry.text("metadata"));
  const std::string& format = find(metadata, "format");
  if (format.starts_with(kCheckpoint))
    throw LoadError(
        "it is a checkpoint of a run: write the network alone, by Network.load(checkpoint).save(…) "
        "in Python");
  if (format != kFormat)
    throw LoadError("its format is not '" + std::string(kFormat) +
                    "': if a newer version of chainrule wrote it, upgrade this one");

  // What is not known may change what the file means.
  for (const auto& entry : metadata)
    if (std::ranges::find(kEntries, entry.first) == std::end(kEntries))
      throw LoadError("its metadata have an entry that this version does not know");

  ModelFile file;
  file.seed = decimal(find(metadata, "seed"), "seed");
  file.epoch = decimal(find(metadata, "epoch"), "epoch");
  parse_architecture(find(metadata, "architecture"), file);
  const std::vector<Tensor> tensors = tensors_of(file);
  if (header.size() != tensors.size() + 1)
    throw LoadError("it has other tensors than its architecture");
  std::vector<std::pair<std::size_t, std::size_t>> places;
  for (const Tensor& tensor : tensors) {
    places.push_back(offsets_of(header, tensor, file.is_double));
    if (places.back().second > data.size()) throw LoadError("it is shorter than its tensors");
    file.tensors.push_back(data.subspan(places.back().first, tensor.size));
  }
  // End to end in some order: no holes, nothing shared, nothing after them.
  std::sort(places.begin(), places.end());
  std::size_t end = 0;
  for (const auto& [first, last] : places) {
    if (first != end) throw LoadError("its tensors do not lie end to end");
    end = last;
  }
  if (end != data.size()) throw LoadError("it is longer than its tensors");

  const std::string stated = find(metadata, "sha256");
  std::erase_if(metadata, [](const auto& entry) { return entry.first == "sha256"; });
  if (digest(metadata, tensors, file.tensors) != stated)
    throw LoadError("its contents do not have the SHA-256 that it states: it is damaged");
  return file;
}

std::string model_header(const ModelFile& file) {
  const std::vector<Tensor> tensors = tensors_of(file);
  Metadata metadata = {{"format", std::string(kFormat)},
                       {"architecture", write_architecture(file)},
                       {"seed", std::to_string(file.seed)},
                       {"epoch", std::to_string(file.epoch)}};
  metadata.emplace_back("sha256", digest(metadata, tensors, file.tensors));
  std::string text = "{\"__metadata__\": " + dumps(metadata);
  std::size_t begin = 0;
  for (const Tensor& tensor : tensors) {
    text += ", " + json::quoted(tensor.name) + ": {\"dtype\": ";
    text += file.is_double ? "\"F64\"" : "\"F32\"";
    text += ", \"shape\": [" + std::to_string(tensor.shape[0]);
    if (tensor.shape.size() == 2) text += ", " + std::to_string(tensor.shape[1]);
    text += "], \"data_offsets\": [" + std::to_string(begin) + ", " +
            std::to_string(begin + tensor.size) + "]}";
    begin += tensor.size;
  }
  text += "}";
  text.append((8 - text.size() % 8) % 8, ' ');  // the tensors are aligned
  if (text.size() > kMaxHeader) throw std::runtime_error("its header would be above a megabyte");
  const std::uint64_t length = text.size();
  std::string head(sizeof length, '\0');
  std::memcpy(head.data(), &length, sizeof length);
  return head + text;
}

std::vector<std::byte> read_file(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error))  // opening a pipe would wait for its writer
    throw LoadError("'" + path + "' is no regular file, or not there");
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = in.tellg();
  if (!in || size < 0) throw LoadError("'" + path + "' cannot be read");
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(bytes.data()), size);
  if (!in) throw LoadError("'" + path + "' cannot be read");
  return bytes;
}

}  // namespace chainrule
