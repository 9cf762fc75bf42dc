// Lets allocations fail on purpose: load it with LD_PRELOAD. What can fail is operator new where
// chainrule calls it, and malloc and its kin where NumPy asks them for a large block, the data of
// an array. All else succeeds: the C library, the interpreter and NumPy's own C++ rely on it.
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <new>

#ifndef __GLIBC__
#error "needs the names by which the GNU C library exports its own allocator"
#endif

extern "C" {
void *__libc_malloc(std::size_t);
void *__libc_calloc(std::size_t, std::size_t);
void *__libc_realloc(void *, std::size_t);
void *__libc_memalign(std::size_t, std::size_t);
void __libc_free(void *);
}

namespace {

constexpr std::size_t kLarge = 1 << 14;

std::atomic<long> countdown{0};  // the allocation that comes at 1 fails
std::atomic<bool> persistent{false};
std::atomic<long> live_new{0};
std::atomic<long> live_large{0};

// Whether the code at `address` belongs to the library of that name.
bool is_in(const char *library, void *address) {
  Dl_info info;
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return false;
  const char *const slash = std::strrchr(info.dli_fname, '/');
  const char *const name = slash == nullptr ? info.dli_fname : slash + 1;
  return std::strncmp(name, library, std::strlen(library)) == 0;
}

bool fails() {
  const long left = countdown.fetch_sub(1);
  if (left != 1) return false;
  if (persistent) countdown = 1;
  return true;
}

bool new_fails(void *caller) {
  return countdown > 0 && (is_in("_core.", caller) || is_in("libstdc++", caller)) && fails();
}

bool malloc_fails(std::size_t size, void *caller) {
  return size >= kLarge && countdown > 0 && is_in("_multiarray_umath.", caller) && fails();
}

bool is_large(void *memory) { return memory != nullptr && malloc_usable_size(memory) >= kLarge; }

void *counted(void *memory) {
  if (is_large(memory)) ++live_large;
  return memory;
}

void *refused() {
  errno = ENOMEM;
  return nullptr;
}

void *allocate(std::size_t size, std::size_t alignment, void *caller) {
  void *const memory = new_fails(caller) ? nullptr : __libc_memalign(alignment, size);
  if (memory == nullptr) throw std::bad_alloc();
  ++live_new;
  return memory;
}

void release(void *memory) {
  if (memory == nullptr) return;
  --live_new;
  __libc_free(memory);
}

}  // namespace

extern "C" {

// The n-th allocation from now on fails, and all that follow where `forever` is set.
void fail_allocation(long n, int forever) {
  persistent = forever != 0;
  countdown = n;
}

void stop_failing() { countdown = 0; }

// Blocks of operator new, and large blocks of malloc, that nobody has freed yet.
long live_blocks() { return live_new + live_large; }

void *malloc(std::size_t size) {
  if (malloc_fails(size, __builtin_return_address(0))) return refused();
  return counted(__libc_malloc(size));
}

void *calloc(std::size_t count, std::size_t size) {
  if (malloc_fails(count * size, __builtin_return_address(0))) return refused();
  return counted(__libc_calloc(count, size));
}

void *realloc(void *old, std::size_t size) {
  if (malloc_fails(size, __builtin_return_address(0))) return refused();
  const bool was_large = is_large(old);
  void *const memory = __libc_realloc(old, size);
  if (was_large && (memory != nullptr || size == 0)) --live_large;
  return counted(memory);
}

void *memalign(std::size_t alignment, std::size_t size) {
  return counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(std::size_t alignment, std::size_t size) { return memalign(alignment, size); }

int posix_memalign(void **out, std::size_t alignment, std::size_t size) {
  void *const memory = memalign(alignment, size);
  if (memory == nullptr) return ENOMEM;
  *out = memory;
  return 0;
}

void free(void *memory) {
  if (is_large(memory)) --live_large;
  __libc_free(memory);
}

}  // extern "C"

void *operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t), __builtin_return_address(0));
}
void *operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment), __builtin_return_address(0));
}
void operator delete(void *memory) noexcept { release(memory); }
void operator delete(void *memory, std::size_t) noexcept { release(memory); }
void operator delete(void *memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void *memory, std::size_t, std::align_val_t) noexcept { release(memory); }
