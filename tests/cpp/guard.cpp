// No kernel touches memory outside its arguments: each argument ends, then begins, at a page that
// may not be touched. Workspaces are padded to whole 64-byte blocks, a user's rows are not; see
// kernels/kernels.h. A violation ends the program by a signal, after the name of the case.
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/layout.h"
#include "core/optimizer.h"
#include "kernels/kernels.h"

namespace {

using chainrule::Size;

bool g_at_end = true;

// n elements in pages of their own, zeroed.
template <class T>
class Guarded {
 public:
  explicit Guarded(Size n) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = static_cast<std::size_t>(n) * sizeof(T);
    const std::size_t inner = (bytes + page - 1) / page * page;
    size_ = inner + 2 * page;
    void* const base = mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) std::abort();
    base_ = static_cast<std::byte*>(base);
    if (inner > 0 && mprotect(base_ + page, inner, PROT_READ | PROT_WRITE) != 0) std::abort();
    std::byte* const begin = base_ + page + (g_at_end ? inner - bytes : 0);
    data_ = reinterpret_cast<T*>(begin);
  }
  ~Guarded() { munmap(base_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  operator T*() { return data_; }

 private:
  std::byte* base_;
  std::size_t size_;
  T* data_;
};

template <class T>
Size padded(Size n) {
  constexpr Size lanes = 64 / sizeof(T);
  return (n + lanes - 1) / lanes * lanes;
}

char g_case[96];

void name_case(const char* kernel, Size rows, Size n_in, Size n_out) {
  std::snprintf(g_case, sizeof g_case, "%s: %td rows, %td -> %td\n", kernel, rows, n_in, n_out);
}

// Says where it happened, and lets the fault happen again.
void report(int signal) {
  static_cast<void>(!write(STDERR_FILENO, g_case, std::strlen(g_case)));
  std::signal(signal, SIG_DFL);
}

template <class T>
void products(Size rows, Size n_in, Size n_out) {
  const chainrule::Kernels<T>& k = chainrule::kernels<T>();
  const chainrule::Layout layout = chainrule::make_layout<T>(
      {.sizes = {static_cast<std::size_t>(n_in), static_cast<std::size_t>(n_out)},
       .activations = {chainrule::Activation::identity},
       .loss = chainrule::Loss::mse});
  const chainrule::Layer& layer = layout.layers[0];
  const Size ld = static_cast<Size>(layer.ld);
  const Size ldz = static_cast<Size>(layer.stride);
  const Size ldd = static_cast<Size>(layout.input_stride);
  const Size weights = static_cast<Size>(layer.bias);
  const Size biases = padded<T>(n_out);
  Guarded<T> w(weights), g(2 * weights), b(biases), gb(2 * biases);
  Guarded<T> a(rows * n_in), z(rows * ldz), d(rows * ldd);
  Guarded<T> strips(rows * (n_in + chainrule::kStrip - 1));

  name_case("affine", rows, n_in, n_out);
  // All inputs 0, every other one, and none: single rows skip zeros.
  k.affine(z, ldz, a, n_in, w, ld, b, rows, n_in, n_out);
  for (Size i = 0; i < rows * n_in; i += 2) a[i] = T(1);
  k.affine(z, ldz, a, n_in, w, ld, b, rows, n_in, n_out);
  for (Size i = 1; i < rows * n_in; i += 2) a[i] = T(1);
  k.affine(z, ldz, a, n_in, w, ld, nullptr, rows, n_in, n_out);
  if (rows == 1 && layer.ld < chainrule::kLanes<T>) {
    name_case("narrow_row", rows, n_in, n_out);
    Guarded<T> out(n_out);
    for (std::size_t i = 0; i < std::size(chainrule::kNames<chainrule::Activation>); ++i) {
      const auto activation = static_cast<chainrule::Activation>(i);
      k.narrow_row(activation, out, n_out, a, w, ld, b, n_in, n_out);
      k.narrow_row(activation, z, ldz, a, w, ld, nullptr, n_in, n_out);
    }
  }
  // Every element stored, by row and by column.
  Guarded<Size> starts(rows + 1), columns(rows * n_in), inputs(n_in);
  Guarded<Size> column_starts(n_in + 1), samples(n_in * rows);
  for (Size r = 0; r <= rows; ++r) starts[r] = r * n_in;
  for (Size i = 0; i < rows * n_in; ++i) columns[i] = i % n_in;
  for (Size i = 0; i <= n_in; ++i) column_starts[i] = i * rows;
  for (Size i = 0; i < n_in * rows; ++i) samples[i] = i % rows;
  for (Size i = 0; i < n_in; ++i) inputs[i] = i;
  name_case("sparse_affine", rows, n_in, n_out);
  k.sparse_affine(z, ldz, {starts, columns, a}, w, ld, b, rows, n_in, n_out);
  k.sparse_affine(z, ldz, {starts, columns, a}, w, ld, nullptr, rows, n_in, n_out);

  name_case("affine_transposed", rows, n_in, n_out);
  k.affine_transposed(d, ldd, z, ldz, w, ld, rows, n_in, n_out);
  for (const bool steps : {false, true}) {
    for (const int merged : {0, 1, 2}) {
      const Size unused = 2 - (merged > 0 ? merged : 1);  // the last sum ends at the guard page
      name_case("weight_gradient", rows, n_in, n_out);
      k.weight_gradient({w, g + unused * weights, weights, merged, steps, T(0.5)}, ld, strips, a,
                        n_in, z, ldz, rows, 0, n_in, n_in, n_out);
      name_case("sparse_gradient", rows, n_in, n_out);
      k.sparse_gradient({w, g + unused * weights, weights, merged, steps, T(0.5)}, ld,
                        {inputs, column_starts, samples, a}, 0, n_in, z, ldz, rows, n_out);
      name_case("bias_gradient", rows, n_in, n_out);
      k.bias_gradient({b, gb + unused * biases, biases, merged, steps, T(0.5)}, z, ldz, rows,
                      n_out);
    }
  }
  name_case("step_affine", 1, n_in, n_out);
  Guarded<T> single(n_in), before(n_in), delta(ldz);
  k.step_affine(z, single, w, ld, b, before, delta, n_in, n_out, T(0.5));
  k.step_affine(z, single, w, ld, nullptr, before, delta, n_in, n_out, T(0.5));
}

template <class T>
void rowwise(Size rows, Size n) {
  const chainrule::Kernels<T>& k = chainrule::kernels<T>();
  const Size ld = padded<T>(n);
  Guarded<T> z(rows * ld), a(rows * ld), d(rows * ld), out(rows * n), y(rows * n);
  Guarded<T> scale(rows), cost(rows);
  for (std::size_t g = 0; g < std::size(chainrule::kNames<chainrule::Activation>); ++g) {
    const auto activation = static_cast<chainrule::Activation>(g);
    name_case(chainrule::kNames<chainrule::Activation>[g].data(), rows, n, n);
    k.activate(activation, out, n, z, ld, rows, n);
    k.activate(activation, z, ld, z, ld, rows, n);
    k.multiply_derivative(activation, d, ld, z, ld, a, ld, rows, n);
  }
  name_case("drop", rows, n, n);
  k.drop(z, d, a, ld, {{1, 2}, 3, 1u << 30, 5}, T(2), 0, rows, n);
  k.multiply(d, a, ld, rows, n);
  for (std::size_t i = 0; i < std::size(chainrule::kNames<chainrule::Loss>); ++i) {
    const auto loss = static_cast<chainrule::Loss>(i);
    name_case(chainrule::kNames<chainrule::Loss>[i].data(), rows, n, n);
    k.loss(loss, cost, d, ld, z, ld, a, ld, y, n, scale, rows, n);
    k.loss(loss, cost, nullptr, 0, z, ld, a, ld, y, n, scale, rows, n);
  }
}

template <class T>
void flat(Size n) {
  const chainrule::Kernels<T>& k = chainrule::kernels<T>();
  Guarded<T> x(n), out(n);
  for (std::size_t f = 0; f < std::size(chainrule::kNames<chainrule::ElementaryFunction>); ++f) {
    name_case(chainrule::kNames<chainrule::ElementaryFunction>[f].data(), 1, n, n);
    k.elementary(static_cast<chainrule::ElementaryFunction>(f), out, x, n);
  }
  const Size whole = padded<T>(n);
  Guarded<T> w(whole), g(whole), first(whole), second(whole), third(whole);
  name_case("updates", 1, whole, whole);
  const chainrule::GradientTerms all = {0.1, 0.1, 0.5, 0.5, 0.1};
  for (const chainrule::GradientTerms& terms : {chainrule::GradientTerms{}, all}) {
    k.square_sum(g, w, whole, terms);
    for (std::size_t rule = 0; rule < std::size(chainrule::kNames<chainrule::Rule>); ++rule)
      for (const bool whole_state : {true, false}) {
        const auto which = static_cast<chainrule::Rule>(rule);
        // What a rule may do without: the mean of g of RMSprop, and momentum.
        T* const mean = whole_state || is_adam(which) ? static_cast<T*>(first) : nullptr;
        T* const velocity = whole_state ? static_cast<T*>(third) : nullptr;
        k.update(which, w, g, {mean, second, velocity}, whole, terms,
                 {0.1, 0.9, true, 0.1, 0.9, 0.1, 1e-8, 0.1, 0.1});
      }
  }
}

template <class T>
void everything() {
  for (const Size n_out : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 40, 257})
    for (const Size n_in : {1, 3, 8, 15, 17, 257})
      for (const Size rows : {1, 2, 3, 6, 7, 12, 13, 25}) products<T>(rows, n_in, n_out);
  for (Size n = 1; n <= 70; ++n) {
    flat<T>(n);
    for (const Size rows : {1, 3}) rowwise<T>(rows, n);
  }
}

// A kernel told that an array is longer than it is: shows that the pages guard.
template <class T>
void overrun() {
  Guarded<T> x(16), out(16);
  name_case("overrun", 1, 17, 17);
  chainrule::kernels<T>().elementary(chainrule::ElementaryFunction::exp, out, x, 17);
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGSEGV, report);
  std::signal(SIGBUS, report);
  if (argc > 1 && std::string(argv[1]) == "--overrun") {
    overrun<float>();
    return 0;
  }
  for (const bool at_end : {true, false}) {
    g_at_end = at_end;
    everything<float>();
    everything<double>();
  }
  std::printf("%s: no kernel left its arguments\n", std::string(chainrule::isa_name()).c_str());
}
