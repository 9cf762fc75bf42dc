// What a call of Model::predict may not do: allocate, lock, throw, or ask the system for anything.
// realtime FILE; prints a line for each, and exits 1 where one happened or spans that do not fit
// were taken. The functions of the C library that do these things are counted on their way (GNU).
#include <dlfcn.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "chainrule/model.h"

namespace {

struct Counts {
  int allocations = 0, locks = 0, exceptions = 0;
} counts;

// The function that would have been called.
template <class F>
F* next(F*, const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);

void* malloc(std::size_t size) noexcept { return ++counts.allocations, __libc_malloc(size); }
void* calloc(std::size_t n, std::size_t size) noexcept {
  return ++counts.allocations, __libc_calloc(n, size);
}
void* realloc(void* old, std::size_t size) noexcept {
  return ++counts.allocations, __libc_realloc(old, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  return ++counts.allocations, __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  return memalign(alignment, size);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t size) noexcept {
  *out = memalign(alignment, size);
  return *out == nullptr;
}
void free(void* at) noexcept {
  if (at != nullptr) ++counts.allocations;
  __libc_free(at);
}

int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  static auto* const real = next(&pthread_mutex_lock, "pthread_mutex_lock");
  return ++counts.locks, real(mutex);
}
int pthread_mutex_trylock(pthread_mutex_t* mutex) noexcept {
  static auto* const real = next(&pthread_mutex_trylock, "pthread_mutex_trylock");
  return ++counts.locks, real(mutex);
}
int pthread_rwlock_rdlock(pthread_rwlock_t* lock) noexcept {
  static auto* const real = next(&pthread_rwlock_rdlock, "pthread_rwlock_rdlock");
  return ++counts.locks, real(lock);
}
int pthread_rwlock_wrlock(pthread_rwlock_t* lock) noexcept {
  static auto* const real = next(&pthread_rwlock_wrlock, "pthread_rwlock_wrlock");
  return ++counts.locks, real(lock);
}

[[noreturn]] void __cxa_throw(void* object, void* type, void (*destroy)(void*)) {
  static auto* const real = next(&__cxa_throw, "__cxa_throw");
  ++counts.exceptions;
  real(object, type, destroy);
  __builtin_unreachable();
}
}

namespace {

// True if a child that may make no system call but exit gets to the end of `work`.
template <class F>
bool without_system_calls(F work) {
  const pid_t child = fork();
  if (child == 0) {
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0) work();
    syscall(SYS_exit, 0);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status);
}

// Every count can count.
bool counts_work() {
  std::mutex mutex;
  std::shared_mutex shared;
  counts = {};
  void* volatile seen = std::aligned_alloc(64, 64);  // or compilers would leave the pair out
  std::free(seen);
  const auto values = std::make_unique<double[]>(100);
  seen = values.get();
  { const std::lock_guard lock(mutex); }
  { const std::lock_guard lock(shared); }
  { const std::shared_lock lock(shared); }
  try {
    throw std::runtime_error("thrown");
  } catch (const std::runtime_error&) {
  }
  return counts.allocations >= 3 && counts.locks == 3 && counts.exceptions == 1 &&
         !without_system_calls([] { syscall(SYS_gettid); });
}

constexpr std::size_t kRows[] = {1, 2, 63, 64, 65, 100};  // scratch holds 64

template <class T>
int check(const char* path) {
  const auto model = chainrule::Model<T>::load(path);
  const std::size_t n_in = model.n_inputs(), n_out = model.n_outputs();
  std::vector<T> x(100 * n_in, T(1)), out(100 * n_out);
  auto scratch = model.scratch();
  bool good = true;
  const auto predict = [&] {
    for (const std::size_t rows : kRows)
      good &= model.predict(std::span(x).first(rows * n_in), std::span(out).first(rows * n_out),
                            scratch);
    // Spans that do not fit are refused as quietly.
    good &= !model.predict(std::span(x).first(n_in + 1), out, scratch);
    good &= !model.predict(std::span(x).first(n_in), out, scratch);
  };
  static_assert(noexcept(model.predict(x, out, scratch)));
  counts = {};
  predict();  // the first call too
  const Counts seen = counts;
  const bool alone = without_system_calls(predict);
  std::printf("%d allocations\n%d locks\n%d exceptions\n%s\n", seen.allocations, seen.locks,
              seen.exceptions, alone ? "no system call" : "system calls");
  return good && alone && seen.allocations + seen.locks + seen.exceptions == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  if (!counts_work()) {
    std::fprintf(stderr, "this check would not notice\n");
    return 2;
  }
  const std::string type = chainrule::stored_type(argv[1]);
  return type == "float32" ? check<float>(argv[1]) : check<double>(argv[1]);
}
