"use strict";
// The mathematics of the page, in double precision: forward, backward, update.
// Layer l has its weights at index l - 1, row-major, and its activations at index l.

const Arithmetic = (() => {
  const SELU_SCALE = 1.0507009873554805;
  const SELU_ALPHA = 1.6732632423543772;

  const sigmoid = (z) => (z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z)));
  const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));

  // Φ(z) = (1 + erf(z/√2))/2: by the series of positive terms near 0, by a continued fraction in
  // the tails, where the series would cancel.
  function normalTail(z) {
    let fraction = 0;
    for (let n = 60; n > 0; n--) fraction = n / (z + fraction);
    return normalDensity(z) / (z + fraction);
  }
  const normalDensity = (z) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
  function normal(z) {
    if (Math.abs(z) > 4) return z < 0 ? normalTail(-z) : 1 - normalTail(z);
    let term = z;
    let sum = z;
    for (let n = 3; n < 120; n += 2) {
      term *= (z * z) / n;
      sum += term;
    }
    return 0.5 + normalDensity(z) * sum;
  }

  // g(z), and g'(z) with a = g(z) at hand.
  const activations = {
    identity: [(z) => z, () => 1],
    sigmoid: [sigmoid, (z, a) => a * (1 - a)],
    tanh: [Math.tanh, (z, a) => (1 - a) * (1 + a)],
    relu: [(z) => (z < 0 ? 0 : z), (z, a) => (a > 0 ? 1 : 0)],
    leaky_relu: [(z) => (z < 0 ? 0.01 * z : z), (z, a) => (a > 0 ? 1 : 0.01)],
    elu: [(z) => (z < 0 ? Math.expm1(z) : z), (z, a) => (a < 0 ? a + 1 : 1)],
    selu: [
      (z) => SELU_SCALE * (z < 0 ? SELU_ALPHA * Math.expm1(z) : z),
      (z, a) => (a < 0 ? a + SELU_SCALE * SELU_ALPHA : SELU_SCALE),
    ],
    softplus: [softplus, sigmoid],
    silu: [(z) => z * sigmoid(z), (z) => sigmoid(z) * (1 + z * sigmoid(-z))],
    gelu: [(z) => z * normal(z), (z) => normal(z) + z * normalDensity(z)],
    hardswish: [
      (z) => Math.max(z, -3) * (Math.min(Math.max(z, -3) + 3, 6) / 6),
      (z) => (z <= -3 ? 0 : z >= 3 ? 1 : (2 * z + 3) / 6),
    ],
    softmax: [null, (z, a) => a * (1 - a)],
  };

  function softmax(z) {
    const top = z.reduce((m, v) => Math.max(m, v), -Infinity);
    const powers = z.map((v) => Math.exp(v - top));
    const sum = powers.reduce((s, v) => s + v, 0);
    return powers.map((v) => v / sum);
  }

  // 0/0 is 0: a probability that is 0, and should be.
  const ratio = (top, bottom) => (top === 0 && bottom === 0 ? 0 : top / bottom);

  // C of one sample, as a sum over the outputs j, divided by n_L where it is a mean; ∂C/∂a_j.
  const losses = {
    half_mse: { mean: true, term: (a, y) => (a - y) ** 2 / 2, slope: (a, y, n) => (a - y) / n },
    mse: { mean: true, term: (a, y) => (a - y) ** 2, slope: (a, y, n) => (2 * (a - y)) / n },
    sse: { mean: false, term: (a, y) => (a - y) ** 2, slope: (a, y) => 2 * (a - y) },
    mae: {
      mean: true,
      term: (a, y) => Math.abs(a - y),
      slope: (a, y, n) => Math.sign(a - y) / n,
    },
    huber: {
      mean: true,
      term: (a, y) => (Math.abs(a - y) <= 1 ? (a - y) ** 2 / 2 : Math.abs(a - y) - 0.5),
      slope: (a, y, n) => Math.max(-1, Math.min(1, a - y)) / n,
    },
    // From z, so that no logarithm of a rounded probability is taken.
    cross_entropy: {
      mean: false,
      term: (a, y, z, logSum) => (y === 0 ? 0 : y * (logSum - z)),
      slope: (a, y) => ratio(-y, a),
      error: (a, y, n, total) => a * total - y,
    },
    binary_cross_entropy: {
      mean: true,
      term: (a, y, z) => softplus(z) - y * z,
      slope: (a, y, n) => ratio(a - y, a * (1 - a)) / n,
      error: (a, y, n) => (a - y) / n,
    },
  };

  function forward(net, x) {
    const a = [Float64Array.from(x)];
    const z = [];
    net.activations.forEach((name, i) => {
      const [nIn, nOut] = [net.sizes[i], net.sizes[i + 1]];
      const [weights, bias, input] = [net.weights[i], net.biases[i], a[i]];
      const sums = new Float64Array(nOut);
      for (let j = 0; j < nOut; j++) {
        let sum = bias ? bias[j] : 0;
        for (let k = 0; k < nIn; k++) sum += weights[j * nIn + k] * input[k];
        sums[j] = sum;
      }
      z.push(sums);
      a.push(name === "softmax" ? softmax(sums) : sums.map(activations[name][0]));
    });
    return { a, z };
  }

  function cost(net, pass, y) {
    const a = pass.a[pass.a.length - 1];
    const z = pass.z[pass.z.length - 1];
    const loss = losses[net.loss];
    const top = z.reduce((m, v) => Math.max(m, v), -Infinity);
    const logSum = top + Math.log(z.reduce((s, v) => s + Math.exp(v - top), 0));
    const sum = a.reduce((s, v, j) => s + loss.term(v, y[j], z[j], logSum), 0);
    return loss.mean ? sum / a.length : sum;
  }

  // δ^l, g'(z^l) and ∂C/∂a^l of every layer, at index l - 1.
  function backward(net, pass, y) {
    const last = net.activations.length - 1;
    const loss = losses[net.loss];
    const [gPrime, dCda, delta] = [[], [], []];
    for (let i = last; i >= 0; i--) {
      const [a, z] = [pass.a[i + 1], pass.z[i]];
      const n = a.length;
      gPrime[i] = z.map((v, j) => activations[net.activations[i]][1](v, a[j]));
      if (i === last) {
        const total = y.reduce((s, v) => s + v, 0);
        dCda[i] = a.map((v, j) => loss.slope(v, y[j], n));
        if (loss.error) {
          delta[i] = a.map((v, j) => loss.error(v, y[j], n, total));
        } else if (net.activations[i] === "softmax") {
          const mean = dCda[i].reduce((s, v, j) => s + v * a[j], 0);
          delta[i] = dCda[i].map((v, j) => a[j] * (v - mean));
        }
      } else {
        const sums = new Float64Array(n);
        delta[i + 1].forEach((error, q) => {
          for (let j = 0; j < n; j++) sums[j] += net.weights[i + 1][q * n + j] * error;
        });
        dCda[i] = sums;
      }
      delta[i] ??= dCda[i].map((v, j) => v * gPrime[i][j]);
    }
    return { gPrime, dCda, delta };
  }

  function trace(net, { x, y }) {
    const pass = forward(net, x);
    return { ...pass, y, cost: cost(net, pass, y), ...backward(net, pass, y) };
  }

  // ∇W^l = δ^l (a^{l-1})ᵀ and ∇b^l = δ^l: the mean over the traces.
  function gradients(net, traces) {
    const weights = net.weights.map((w) => new Float64Array(w.length));
    const biases = net.biases.map((b) => new Float64Array(b.length));
    for (const { a, delta } of traces) {
      delta.forEach((errors, i) => {
        const input = a[i];
        errors.forEach((error, j) => {
          const factor = error / traces.length;
          for (let k = 0, at = j * input.length; k < input.length; k++, at++) {
            weights[i][at] += factor * input[k];
          }
          if (biases[i]) biases[i][j] += factor;
        });
      });
    }
    return { weights, biases };
  }

  // W ← W - η ∇W, b ← b - η ∇b: a new network.
  function updated(net, gradient, eta) {
    const step = (all, slopes) => all.map((p, i) => p.map((v, at) => v - eta * slopes[i][at]));
    return {
      ...net,
      weights: step(net.weights, gradient.weights),
      biases: step(net.biases, gradient.biases),
    };
  }

  const meanCost = (net, samples) =>
    samples.reduce((sum, s) => sum + cost(net, forward(net, s.x), s.y), 0) / samples.length;

  return { trace, cost, gradients, updated, meanCost };
})();
