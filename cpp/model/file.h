// The files of networks: safetensors with the architecture in the metadata and a SHA-256 over
// both. python/chainrule/files/network.py describes the format. What is accepted here, it accepts;
// what it writes is accepted here, unless the header has more than a megabyte (some 5,600 layers).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/architecture.h"

namespace chainrule {

struct ModelFile {
  Architecture architecture;
  bool is_double = false;
  std::uint64_t seed = 0;
  std::uint64_t epoch = 0;
  std::vector<std::span<const std::byte>> tensors;  // in the order of the parameters
};

// A whole file; its tensors are parts of `bytes`. LoadError where it is not sound.
ModelFile parse_model(std::span<const std::byte> bytes);

// What stands before the tensors, in the order of the parameters, in a file that holds them.
std::string model_header(const ModelFile& file);

std::vector<std::byte> read_file(const std::string& path);
// The old file stays until the new one is whole, and hands on who may read it; a symbolic link
// stays one. std::runtime_error where it cannot be written.
void replace_file(const std::string& path, std::span<const std::span<const std::byte>> parts);

}  // namespace chainrule
