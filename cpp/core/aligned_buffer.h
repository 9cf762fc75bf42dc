// A zeroed, 64-byte-aligned array that never moves while it lives. A large one asks for huge pages:
// the rows of a wide W lie in different pages, more than the processor's page table cache holds.
#pragma once

#include <cstddef>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace chainrule {

template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t size) : size_(size) {
    if (size > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_alloc();
    data_ = static_cast<T*>(::operator new(size * sizeof(T), alignment()));
#if defined(__linux__)
    if (is_large()) madvise(data_, size * sizeof(T), MADV_HUGEPAGE);
#endif
    std::memset(static_cast<void*>(data_), 0, size * sizeof(T));
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer() { ::operator delete(data_, alignment()); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }

  void copy_from(const AlignedBuffer& other) {
    if (size_ > 0) std::memcpy(static_cast<void*>(data_), other.data_, size_ * sizeof(T));
  }

 private:
  static constexpr std::size_t kHugePage = std::size_t{1} << 21;
  bool is_large() const { return size_ * sizeof(T) >= kHugePage; }
  std::align_val_t alignment() const { return std::align_val_t{is_large() ? kHugePage : 64}; }

  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace chainrule
