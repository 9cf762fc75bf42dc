// Replaces a file by the rules of python/chainrule/files/target.py: what is there keeps its access.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#include "model/file.h"

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sys/xattr.h>
#endif

namespace chainrule {
namespace {

std::runtime_error failure(const std::string& path, const std::string& reason) {
  return std::runtime_error("'" + path + "' cannot be written: " + reason);
}

std::string temporary_name() {
  std::array<char, 17> tag{};
  std::random_device draw;
  std::snprintf(tag.data(), tag.size(), "%08x%08x", draw(), draw());
  return ".chainrule-" + std::string(tag.data()) + ".tmp";
}

#if defined(__unix__) || defined(__APPLE__)

class Handle {
 public:
  explicit Handle(int value) : value_(value) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (value_ >= 0) ::close(value_);
  }
  operator int() const { return value_; }
  bool close() { return ::close(std::exchange(value_, -1)) == 0; }

 private:
  int value_;
};

// Where a chain of symbolic links ends, also if nothing is there.
std::filesystem::path behind_links(std::filesystem::path path) {
  constexpr int kMostLinks = 40;  // as Linux
  std::error_code error;
  for (int i = 0; i < kMostLinks && std::filesystem::is_symlink(path, error); ++i)
    path = path.parent_path() / std::filesystem::read_symlink(path, error);
  return path;
}

#if defined(__linux__)

constexpr const char* kAcl = "system.posix_acl_access";

std::optional<std::vector<char>> attribute(const char* path, const char* name) {
  const ssize_t size = getxattr(path, name, nullptr, 0);
  if (size < 0) return {};
  std::vector<char> value(static_cast<std::size_t>(size));
  if (getxattr(path, name, value.data(), value.size()) != size) return {};
  return value;
}

// The extended attributes of the namespace "user".
void copy_attributes(const char* path, int handle) {
  const ssize_t size = listxattr(path, nullptr, 0);
  std::vector<char> names(size > 0 ? static_cast<std::size_t>(size) : 0);
  if (names.empty() || listxattr(path, names.data(), names.size()) != size) return;
  for (auto name = names.begin(); name != names.end(); ++name) {
    const auto end = std::find(name, names.end(), '\0');
    if (end == names.end()) return;
    if (std::strncmp(&*name, "user.", 5) == 0)
      if (const auto value = attribute(path, &*name))
        (void)fsetxattr(handle, &*name, value->data(), value->size(), 0);
    name = end;
  }
}

// Whether the mode alone then says no more than the old file's. With an ACL, the group's bits of
// the mode are its mask. Without one, the ACL that a new file may have from its folder has to go.
bool keep_acl(const char* path, int handle, bool same_group) {
  const auto acl = attribute(path, kAcl);
  if (acl && same_group && fsetxattr(handle, kAcl, acl->data(), acl->size(), 0) == 0) return true;
  (void)fremovexattr(handle, kAcl);
  return !acl;
}

#else

void copy_attributes(const char*, int) {}
bool keep_acl(const char*, int, bool) { return true; }

#endif

// Gives a new empty file, which only its owner can open, what the old one had, as far as this
// process may: where group or ACL cannot be kept, nobody is left a permission that they did not
// have. Returns the mode with its special bits, which writing clears; nothing where it failed.
std::optional<mode_t> keep_access(const char* path, const struct stat& old, int handle) {
  copy_attributes(path, handle);
  if (fchown(handle, old.st_uid, old.st_gid) != 0)
    (void)!fchown(handle, static_cast<uid_t>(-1), old.st_gid);
  struct stat now {};
  if (fstat(handle, &now) != 0) return {};
  const bool same_group = now.st_gid == old.st_gid;
  mode_t mode = old.st_mode & 07777;
  if (now.st_uid != old.st_uid) mode &= ~static_cast<mode_t>(S_ISUID);
  if (!same_group) {
    // Members of the new group were among the others until now, those of the old one will be.
    const mode_t both = (mode >> 3) & mode & 07;
    mode = (mode & ~static_cast<mode_t>(S_ISGID | 077)) | both << 3 | both;
  }
  if (!keep_acl(path, handle, same_group)) mode &= ~static_cast<mode_t>(077);
  if (fchmod(handle, mode & 0777) != 0) return {};
  return mode;
}

bool write_all(int handle, std::span<const std::byte> part) {
  while (!part.empty()) {
    const ssize_t n = ::write(handle, part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    part = part.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

// Writes a new file, down to the disk; errno says why it could not.
bool write_through(const char* temporary, const char* path, const struct stat* old,
                   std::span<const std::span<const std::byte>> parts) {
  Handle out(::open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, old ? 0600 : 0666));
  if (out < 0) return false;
  std::optional<mode_t> mode = 0;
  if (old != nullptr) mode = keep_access(path, *old, out);
  if (!mode) return false;
  for (const std::span<const std::byte> part : parts)
    if (!write_all(out, part)) return false;
  if ((*mode & 07000) != 0 && fchmod(out, *mode) != 0) return false;
  return fsync(out) == 0 && out.close();
}

#else

bool write_through(const std::string& path, std::span<const std::span<const std::byte>> parts) {
  std::FILE* const out = std::fopen(path.c_str(), "wb");
  if (out == nullptr) return false;
  bool good = true;
  for (const std::span<const std::byte> part : parts)
    good = good && std::fwrite(part.data(), 1, part.size(), out) == part.size();
  good = good && std::fflush(out) == 0;
  return std::fclose(out) == 0 && good;
}

#endif

}  // namespace

#if defined(__unix__) || defined(__APPLE__)

void replace_file(const std::string& path, std::span<const std::span<const std::byte>> parts) {
  if (path.empty() || path.back() == '/') throw failure(path, "it is not the name of a file");
  struct stat status {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (!exists && errno != ENOENT) throw failure(path, std::strerror(errno));
  if (exists && !S_ISREG(status.st_mode)) throw failure(path, "it is not a regular file");

  const std::string target = behind_links(path).string();
  const std::filesystem::path folder = std::filesystem::path(target).parent_path();
  const std::string temporary = (folder / temporary_name()).string();
  if (!write_through(temporary.c_str(), target.c_str(), exists ? &status : nullptr, parts) ||
      std::rename(temporary.c_str(), target.c_str()) != 0) {
    const int reason = errno;
    (void)::unlink(temporary.c_str());
    throw failure(path, std::strerror(reason));
  }
  // The new file is in place and whole: where its folder cannot be synced, that is no failure.
  const Handle opened(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC));
  if (opened >= 0) (void)fsync(opened);
}

#else

void replace_file(const std::string& path, std::span<const std::span<const std::byte>> parts) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    throw failure(path, "it is not a regular file");
  const std::filesystem::path temporary =
      std::filesystem::path(path).parent_path() / temporary_name();
  error.clear();
  const bool written = write_through(temporary.string(), parts);
  if (written) std::filesystem::rename(temporary, path, error);
  if (!written || error) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw failure(path, error ? error.message() : "its folder does not take it");
  }
}

#endif

}  // namespace chainrule
