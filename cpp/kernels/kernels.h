// The seam between the mathematics (core/) and the machine (kernels/): one table of hot
// loops per element type, filled once per ISA. Shapes stand beside the pointers; a row of
// a workspace is padded to whole 64-byte blocks that may be read and written, a row of a
// user's array is never touched beyond its n elements. Strides count elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernels/lists.h"

namespace chainrule {

using Size = std::ptrdiff_t;

// Elements of one 64-byte block. Rows of W and of workspaces are padded to whole blocks, and every
// reduction runs over so many lanes, whatever the vector width.
template <class T>
inline constexpr int kLanes = 64 / static_cast<int>(sizeof(T));

// What becomes of acc, the sum over the samples of one chunk. Sums of earlier chunks wait at g,
// g + distance, ...: `merged` of them take it in, the last one first, acc = waiting + acc. Then
// g = acc or, where it steps, w = fma(-η, acc, w).
template <class T>
struct ChunkSum {
  T* w = nullptr;
  T* g = nullptr;
  Size distance = 0;
  int merged = 0;
  bool steps = false;
  T learning_rate = 0;

  // The same for the parameters from the i-th on.
  ChunkSum at(Size i) const { return {w + i, g + i, distance, merged, steps, learning_rate}; }
};

// Forward products of a layer that is one block wide, kLanes / 2 < n_out <= kLanes, run as so many
// chains, each over chain_length consecutive k (fewer in the last one), added from left to right.
inline constexpr Size kMostChains = 4;
inline constexpr Size kShortestChain = 16;
constexpr Size chain_count(Size n_in) {
  const Size chains = n_in / kShortestChain;
  return chains < 1 ? 1 : chains > kMostChains ? kMostChains : chains;
}
constexpr Size chain_length(Size n_in) {
  return (n_in + chain_count(n_in) - 1) / chain_count(n_in);
}

// What becomes of g before a rule receives it:
// (g + l2 w + l1 sign(w)) cut to [-clip_value, clip_value], times scale, + weight_decay w.
struct GradientTerms {
  double l1 = 0;
  double l2 = 0;
  double clip_value = __builtin_inf();
  double scale = 1;
  double weight_decay = 0;
};

// Rows of which only the stored elements are known, the others being 0: those of row r are at
// [starts[r], starts[r + 1]) of columns and values, a column at most once per row, in rising order.
template <class T>
struct StoredRows {
  const Size* starts = nullptr;
  const Size* columns = nullptr;
  const T* values = nullptr;
};

// The same by column, for columns that have elements: those of the i-th are at [starts[i],
// starts[i + 1]) of samples (rows, in rising order) and values.
template <class T>
struct StoredColumns {
  const Size* columns = nullptr;
  const Size* starts = nullptr;
  const Size* samples = nullptr;
  const T* values = nullptr;
};

// What the rules remember of every parameter: the running means of g and of g² (or the sum of g²)
// and the velocity of momentum; null where a rule does without.
template <class T>
struct UpdateState {
  T* mean;
  T* square;
  T* velocity;
};

// The numbers of one update.
struct UpdateConstants {
  double learning_rate = 0;  // η; η / (1 - β1^t) in Adam, η over its decay in Adagrad
  double momentum = 0;       // μ
  bool nesterov = false;
  double one_minus_beta1 = 0;   // of the mean of g: 1 - β1, or 1 - α
  double beta2 = 0;             // of the mean of g²: β2, or α
  double one_minus_beta2 = 0;   // 1 - β2, or 1 - α
  double eps = 0;               // ε
  double sqrt_correction2 = 1;  // √(1 - β2^t)
  double shrink = 0;            // η λ in AdamW
};

// The units that dropout leaves out of a layer: those whose random word is below the threshold.
// Word j of row r is word j mod 4 of Philox4x32-10 at counter (j / 4, row + r low, high, purpose).
struct DropoutMask {
  std::uint32_t key[2];
  std::uint32_t purpose;
  std::uint32_t threshold;
  std::uint64_t row;  // of the first row
};

// Columns of a are copied in strips of at most this many; it divides what threads share.
inline constexpr Size kStrip = 6;

// References: a table that lacks one of them does not compile.
template <class T>
struct Kernels {
  // z = a Wᵀ + b: acc = b_j (0 without b), then acc = fma(w_jk, a_k, acc) for k = 0, 1, ...,
  // then acc + (+0). A layer with ld < kLanes (a narrow one) runs kLanes / ld such chains, chain s
  // over k = s, s + S, ..., and adds them in halves; one with ld = kLanes chain_count(n_in) of
  // them. z is a workspace, a anything, b is padded.
  void (&affine)(T* z /*(rows, n_out)*/, Size ldz, const T* a /*(rows, n_in)*/, Size lda,
                 const T* w /*(n_in, ld)*/, Size ld, const T* b /*(n_out) or null*/, Size rows,
                 Size n_in, Size n_out);

  // As affine, the bits too; only the rows of W that a row of x has elements for are read.
  void (&sparse_affine)(T* z /*(rows, n_out)*/, Size ldz, const StoredRows<T>& x,
                        const T* w /*(n_in, ld)*/, Size ld, const T* b /*(n_out) or null*/,
                        Size rows, Size n_in, Size n_out);

  // d = Wᵀ δ: acc = 0, then acc = fma(w_jk, δ_j, acc) for j = 0, 1, ..., then acc + (+0)
  void (&affine_transposed)(T* d /*(rows, n_in)*/, Size ldd, const T* delta /*(rows, n_out)*/,
                            Size lddelta, const T* w /*(n_in, ld)*/, Size ld, Size rows, Size n_in,
                            Size n_out);

  // ∇W for the rows k of [begin, end): acc = 0, then acc = fma(a_sk, δ_sj, acc) for s = 0, 1, ...,
  // then, of several samples, acc + (+0). begin is a multiple of kLanes / ld in a narrow layer.
  // Padding is never written. `strips`, where it is not null, is room for a copy of a's columns:
  // whole strips of them.
  void (&weight_gradient)(const ChunkSum<T>& sum /*(n_in, ld)*/, Size ld, T* strips,
                          const T* a /*(samples, n_in)*/, Size lda,
                          const T* delta /*(samples, n_out)*/, Size lddelta, Size samples,
                          Size begin, Size end, Size n_in, Size n_out);

  // As weight_gradient, for the rows of W that columns [begin, end) of x name, and no others.
  void (&sparse_gradient)(const ChunkSum<T>& sum /*(n_in, ld)*/, Size ld, const StoredColumns<T>& x,
                          Size begin, Size end, const T* delta /*(samples, n_out)*/, Size lddelta,
                          Size samples, Size n_out);

  // ∇b: acc = 0, then acc = acc + δ_sj for s = 0, 1, ...
  void (&bias_gradient)(const ChunkSum<T>& sum, const T* delta /*(samples, n_out)*/, Size lddelta,
                        Size samples, Size n_out);

  // One sample's update, from its a' and δ', then z = W a + b of the next one, in one pass over W:
  // the bits of weight_gradient and bias_gradient that step with one sample, then of affine.
  void (&step_affine)(T* z /*(n_out)*/, const T* a /*(n_in)*/, T* w /*(n_in, ld)*/, Size ld,
                      T* b /*(n_out) or null*/, const T* a_before /*(n_in)*/,
                      const T* delta /*(n_out)*/, Size n_in, Size n_out, T learning_rate);

  // a = g(z), row by row; a may be z. Writes n elements a row.
  void (&activate)(Activation g, T* a, Size lda, const T* z, Size ldz, Size rows, Size n);

  // a = g(x Wᵀ + b) for one row of a narrow layer: what affine and activate give, without z in
  // memory. Beyond n_out, the first `room` elements of a may be written.
  void (&narrow_row)(Activation g, T* a /*(n_out)*/, Size room, const T* x /*(n_in)*/,
                     const T* w /*(n_in, ld)*/, Size ld, const T* b /*(n_out) or null*/, Size n_in,
                     Size n_out);

  // d = d ⊙ g'(z); softmax: d_j = a_j (d_j - Σ_i d_i a_i).
  void (&multiply_derivative)(Activation g, T* d, Size ldd, const T* z, Size ldz, const T* a,
                              Size lda, Size rows, Size n);

  // f_j = 0 for the units that the mask leaves out, `kept` for the others; out = a ⊙ f. Units count
  // from `first`, a multiple of 4. The three are rows of workspaces.
  void (&drop)(T* out /*(rows, n)*/, T* factor /*(rows, n)*/, const T* a /*(rows, n)*/, Size ld,
               DropoutMask mask, T kept, Size first, Size rows, Size n);
  // d = d ⊙ f
  void (&multiply)(T* d, const T* factor, Size ld, Size rows, Size n);

  // cost_r = C of row r; d = scale_r ∂C/∂a, or scale_r ∂C/∂z for the fused losses (d may be null).
  void (&loss)(Loss loss, T* cost /*(rows)*/, T* d, Size ldd, const T* z, Size ldz, const T* a,
               Size lda, const T* y, Size ldy, const T* scale /*(rows)*/, Size rows, Size n);

  // One update of flat, padded buffers; n is a multiple of kLanes.
  void (&update)(Rule rule, T* w, const T* g, const UpdateState<T>& state, Size n,
                 const GradientTerms& terms, const UpdateConstants& constants);

  // Σ g², g after its terms; n is a multiple of kLanes. Element i goes to lane i mod kLanes of
  // running sums in float64, lane = fma(g, g, lane), which are added in halves.
  double (&square_sum)(const T* g, const T* w, Size n, const GradientTerms& terms);

  // out_i = f(x_i)
  void (&elementary)(ElementaryFunction f, T* out, const T* x, Size n);

  // What bounds the others: `steps` rounds of independent fma on registers, which return how many
  // multiply-adds they were (a and b from sink[0] and sink[1]), and Σ x_i in any order.
  Size (&fma_chains)(T* sink /*(2)*/, Size steps);
  T (&read_sum)(const T* x, Size n);
};

// The table of the ISA in use: the best that the CPU has, or what CHAINRULE_ISA names.
template <class T>
const Kernels<T>& kernels();

// The same bits from vectors of at most 32 bytes: faster where a layer has no more elements than
// that, as wider ones lower the clock of some processors.
template <class T>
const Kernels<T>& narrow_kernels();

// "scalar", "neon", "avx2" or "avx512"; the names that this CPU can run, best first.
std::string_view isa_name();
std::size_t available_isas(std::string_view* names, std::size_t capacity);

// Null, or why CHAINRULE_ISA cannot be obeyed.
const char* isa_error();

}  // namespace chainrule
