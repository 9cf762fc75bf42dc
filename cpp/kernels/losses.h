// C and ∂C/∂a, one specialization of LossFormula per loss of the list; e = a - y. The fused losses
// take z as well and give ∂C/∂z.
#pragma once

#include "kernels/elementary.h"
#include "kernels/lists.h"
#include "kernels/reduce.h"

namespace chainrule::CHAINRULE_ISA {
namespace {

template <class T, Loss loss>
struct LossFormula;

// C = 1/n Σ ½ e², ∂C/∂a = e / n
template <class T>
struct LossFormula<T, Loss::half_mse> {
  static constexpr bool kMean = true;
  CHAINRULE_INLINE static V<T> cost(V<T> e) { return splat<T>(T(0.5)) * e * e; }
  CHAINRULE_INLINE static V<T> derivative(V<T> e) { return e; }
};

// C = Σ e², ∂C/∂a = 2 e
template <class T>
struct LossFormula<T, Loss::sse> {
  static constexpr bool kMean = false;
  CHAINRULE_INLINE static V<T> cost(V<T> e) { return e * e; }
  CHAINRULE_INLINE static V<T> derivative(V<T> e) { return e + e; }
};

// C = 1/n Σ e², ∂C/∂a = 2 e / n
template <class T>
struct LossFormula<T, Loss::mse> : LossFormula<T, Loss::sse> {
  static constexpr bool kMean = true;
};

// C = 1/n Σ |e|, ∂C/∂a = sign(e) / n, 0 at 0
template <class T>
struct LossFormula<T, Loss::mae> {
  static constexpr bool kMean = true;
  CHAINRULE_INLINE static V<T> cost(V<T> e) { return abs<T>(e); }
  CHAINRULE_INLINE static V<T> derivative(V<T> e) {
    return e > splat<T>(0) ? splat<T>(1) : (e < splat<T>(0) ? splat<T>(-1) : e);
  }
};

// C = 1/n Σ (½ e² for |e| <= 1, |e| - ½ beyond), ∂C/∂a = e clipped to [-1, 1], / n
template <class T>
struct LossFormula<T, Loss::huber> {
  static constexpr bool kMean = true;
  CHAINRULE_INLINE static V<T> cost(V<T> e) {
    const V<T> half = splat<T>(T(0.5));
    const V<T> size = abs<T>(e);
    return size > splat<T>(1) ? size - half : half * e * e;
  }
  CHAINRULE_INLINE static V<T> derivative(V<T> e) {
    return e > splat<T>(1) ? splat<T>(1) : (e < splat<T>(-1) ? splat<T>(-1) : e);
  }
};

// One row of a loss of the difference: its cost; d = scale ∂C/∂a where d is not null.
template <class T, class L>
T loss_row(L formula, T* d, const T*, const T* a, const T* y, T scale, Size n) {
  Block<T> total = filled<T>(0);
  const V<T> outputs = splat<T>(static_cast<T>(n));
  for_each_vector<T>(n, [&](int i, Size j, Size count) {
    const V<T> e = load_partial<T>(a + j, count) - load_partial<T>(y + j, count);
    total.part[i] = total.part[i] + formula.cost(e);
    if (d != nullptr) {
      const V<T> slope = formula.derivative(e);
      store_partial<T>(d + j, (L::kMean ? slope / outputs : slope) * splat<T>(scale), count);
    }
  });
  const T cost = sum<T>(total);
  return L::kMean ? cost / static_cast<T>(n) : cost;
}

// C = -Σ y_j ln a_j = Σ y_j (ln Σ_i e^(z_i - m) + m - z_j), m = max z, stable for any z;
// ∂C/∂z_j = a_j Σ y - y_j.
template <class T>
struct LossFormula<T, Loss::cross_entropy> {};
template <class T>
T loss_row(LossFormula<T, Loss::cross_entropy>, T* d, const T* z, const T* a, const T* y, T scale,
           Size n) {
  Block<T> top = filled<T>(-__builtin_inff());
  for_each_vector<T>(n, [&](int i, Size j, Size count) {
    top.part[i] = max<T>(keep_first<T>(load<T>(z + j), count, top.part[i]), top.part[i]);
  });
  const V<T> m = splat<T>(maximum<T>(top));
  Block<T> exponentials = filled<T>(0);
  Block<T> targets = filled<T>(0);
  for_each_vector<T>(n, [&](int i, Size j, Size count) {
    const V<T> e = exp<T>(load<T>(z + j) - m);
    exponentials.part[i] = exponentials.part[i] + keep_first<T>(e, count, splat<T>(0));
    targets.part[i] = targets.part[i] + load_partial<T>(y + j, count);
  });
  const V<T> log_sum = log<T>(splat<T>(sum<T>(exponentials)));
  const V<T> target_sum = splat<T>(sum<T>(targets));
  Block<T> total = filled<T>(0);
  for_each_vector<T>(n, [&](int i, Size j, Size count) {
    const V<T> yj = load_partial<T>(y + j, count);
    const V<T> term = yj * (log_sum + (m - load<T>(z + j)));
    total.part[i] = total.part[i] + (yj == splat<T>(0) ? splat<T>(0) : term);
    if (d != nullptr) {
      const V<T> slope = load<T>(a + j) * target_sum - yj;
      store_partial<T>(d + j, slope * splat<T>(scale), count);
    }
  });
  return sum<T>(total);
}

// C = -1/n Σ (y ln a + (1 - y) ln(1 - a)) = 1/n Σ (softplus(z) - y z); ∂C/∂z = (a - y) / n.
template <class T>
CHAINRULE_INLINE V<T> binary_cost(V<T> z, V<T> y) {
  // max(z, 0) - y z first: for a large z both are large and their difference is not.
  const V<T> linear = max<T>(z, splat<T>(0)) - y * z;
  return linear + log1p<T>(exp<T>(-abs<T>(z)));
}
template <class T>
struct LossFormula<T, Loss::binary_cross_entropy> {};
template <class T>
T loss_row(LossFormula<T, Loss::binary_cross_entropy>, T* d, const T* z, const T* a, const T* y,
           T scale, Size n) {
  Block<T> total = filled<T>(0);
  const V<T> outputs = splat<T>(static_cast<T>(n));
  for_each_vector<T>(n, [&](int i, Size j, Size count) {
    const V<T> yj = load_partial<T>(y + j, count);
    const V<T> cost = binary_cost<T>(load<T>(z + j), yj);
    total.part[i] = total.part[i] + keep_first<T>(cost, count, splat<T>(0));
    if (d != nullptr) {
      const V<T> slope = (load<T>(a + j) - yj) / outputs;
      store_partial<T>(d + j, slope * splat<T>(scale), count);
    }
  });
  return sum<T>(total) / static_cast<T>(n);
}

}  // namespace
}  // namespace chainrule::CHAINRULE_ISA
