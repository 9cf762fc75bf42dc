"""Back-propagation in float64 NumPy, straight from the formulas: the oracle of the test suite.

Symbols: a^0 = x, z^l = W^l a^{l-1} + b^l, a^l = g^l(z^l), delta^l = dC/dz^l; a batch is a stack of
rows, so a layer of a batch has shape (n, n_l). Nothing here is fast, and nothing here imports the
package under test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


# --- activations: (g, g'), both functions of z ------------------------------------------------


def sigmoid(z: Array) -> Array:
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def softplus(z: Array) -> Array:
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def elu(z: Array) -> Array:
    return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))


def elu_prime(z: Array) -> Array:
    return np.where(z > 0, 1.0, np.exp(np.minimum(z, 0)))


def selu(z: Array) -> Array:
    return SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0)))


def selu_prime(z: Array) -> Array:
    return SELU_SCALE * np.where(z > 0, 1.0, SELU_ALPHA * np.exp(np.minimum(z, 0)))


def normal_cdf(z: Array) -> Array:
    """Phi(z) by the complementary error function, which keeps its digits in the lower tail."""
    return np.vectorize(lambda t: math.erfc(-t / math.sqrt(2)) / 2, otypes=[float])(z)


def normal_pdf(z: Array) -> Array:
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def silu_prime(z: Array) -> Array:
    return sigmoid(z) * (1 + z * sigmoid(-z))


def hardswish(z: Array) -> Array:
    return z * np.clip(z + 3, 0, 6) / 6


def hardswish_prime(z: Array) -> Array:
    return np.where(z <= -3, 0.0, np.where(z >= 3, 1.0, (2 * z + 3) / 6))


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "identity": (lambda z: z, np.ones_like),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * sigmoid(-z)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)),
    "elu": (elu, elu_prime),
    "selu": (selu, selu_prime),
    "softplus": (softplus, sigmoid),
    "silu": (lambda z: z * sigmoid(z), silu_prime),
    "gelu": (lambda z: z * normal_cdf(z), lambda z: normal_cdf(z) + z * normal_pdf(z)),
    "hardswish": (hardswish, hardswish_prime),
    # Its Jacobian is not diagonal: this is the diagonal, `backward` applies the whole of it.
    "softmax": (softmax, lambda z: softmax(z) * (1 - softmax(z))),
}

#: Where the derivative of an activation, or the derivative of that, jumps: at z and at -z.
KINKS = {"relu": 0, "leaky_relu": 0, "elu": 0, "selu": 0, "hardswish": 3}


# --- losses: (C of each row, dC/da of each row) -----------------------------------------------


def huber(r: Array) -> Array:
    return np.where(np.abs(r) <= 1, r * r / 2, np.abs(r) - 0.5)


LOSSES: dict[str, tuple[Callable[[Array, Array], Array], Callable[[Array, Array], Array]]] = {
    "half_mse": (lambda a, y: ((a - y) ** 2).mean(1) / 2, lambda a, y: (a - y) / a.shape[1]),
    "sse": (lambda a, y: ((a - y) ** 2).sum(1), lambda a, y: 2 * (a - y)),
    "mse": (lambda a, y: ((a - y) ** 2).mean(1), lambda a, y: 2 * (a - y) / a.shape[1]),
    "mae": (lambda a, y: np.abs(a - y).mean(1), lambda a, y: np.sign(a - y) / a.shape[1]),
    "huber": (
        lambda a, y: huber(a - y).mean(1),
        lambda a, y: np.clip(a - y, -1, 1) / a.shape[1],
    ),
}

#: Losses that are computed from z together with the one output activation they permit.
FUSED = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}


def permitted_losses(output: str) -> list[str]:
    return [*LOSSES, *(loss for loss, needed in FUSED.items() if needed == output)]


def cross_entropy(z: Array, y: Array) -> Array:
    top = z.max(axis=1, keepdims=True)
    log_sum = top + np.log(np.exp(z - top).sum(axis=1, keepdims=True))
    return (y * (log_sum - z)).sum(axis=1)


def binary_cross_entropy(z: Array, y: Array) -> Array:
    return (softplus(z) - y * z).mean(axis=1)


# --- dropout ----------------------------------------------------------------------------------

#: Of dropout: for every hidden layer the factors of its activations, (n, n_l) or 1.
Factors = Sequence[Any] | None

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def philox(key: Sequence[Any], counter: Sequence[Any]) -> Array:
    """Philox4x32-10 (Salmon et al., 2011) of broadcast words: the four results last."""
    k0, k1 = (np.uint64(word) for word in key)
    c0, c1, c2, c3 = (np.asarray(word, np.uint64) for word in counter)
    for _ in range(10):
        p, q = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (q >> HALF) ^ c1 ^ k0, q & LOW, (p >> HALF) ^ c3 ^ k1, p & LOW
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & LOW, (k1 + np.uint64(0xBB67AE85)) & LOW
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1)


def dropout_factors(
    seed: int, epoch: int, samples: ArrayLike, layer: int, width: int, rate: float
) -> Array:
    """0 for the units that are left out, 1 / (1 - rate) for the others: (n, width).

    `samples` are places in the epoch, the hidden `layer` counts from 1.
    """
    low, high = 2**32 - 1, 32
    key = philox([seed & low, seed >> high], [layer, epoch & low, epoch >> high, 3])[:2]
    places = np.asarray(samples, np.uint64)[:, None]
    blocks = np.arange(-(-width // 4))
    words = philox(key, [blocks, places & LOW, places >> HALF, 3]).reshape(len(places), -1)
    return np.where(words[:, :width] < int(rate * 2**32), 0.0, 1 / (1 - rate))


# --- the network ------------------------------------------------------------------------------


@dataclass
class Trace:
    a: list[Array]  # L + 1 entries, a[0] = x
    z: list[Array]
    g_prime: list[Array]
    delta: list[Array]  # of each row's own cost


@dataclass
class Gradients:
    cost: float | None
    weights: list[Array]
    biases: list[Array]


class Net:
    """A multilayer perceptron: weights, biases (none if it has no bias), activations, loss."""

    def __init__(
        self,
        weights: Sequence[ArrayLike],
        biases: Sequence[ArrayLike],
        activations: Sequence[str],
        loss: str,
    ) -> None:
        self.weights = [np.array(w, np.float64) for w in weights]
        self.biases = [np.array(b, np.float64) for b in biases]
        self.activations = list(activations)
        self.loss = loss

    @classmethod
    def of(cls, network: Any) -> Net:
        """The float64 twin of anything with weights, biases, activations and loss."""
        return cls(network.weights, network.biases, network.activations, network.loss)

    @property
    def parameters(self) -> list[Array]:
        """W^1, b^1, W^2, ...: the arrays themselves, in the order of the flat vector."""
        if not self.biases:
            return list(self.weights)
        return [p for pair in zip(self.weights, self.biases, strict=True) for p in pair]

    def flat(self) -> Array:
        return np.concatenate([p.ravel() for p in self.parameters])

    def targets(self, y: ArrayLike) -> Array:
        """Labels become one-hot rows, (n,) becomes (n, 1), values stay."""
        y = np.asarray(y)
        width = self.weights[-1].shape[0]
        if y.ndim == 1 and self.loss == "cross_entropy" and y.dtype.kind in "iu":
            return np.eye(width)[y]
        return y.astype(np.float64).reshape(len(y), width)

    def forward(self, x: ArrayLike, factors: Factors = None) -> tuple[list[Array], list[Array]]:
        """a and z of every layer; a of a hidden layer times its factors of dropout, if any."""
        a, z = [np.asarray(x, np.float64)], []
        for i, (w, name) in enumerate(zip(self.weights, self.activations, strict=True)):
            z.append(a[-1] @ w.T + (self.biases[i] if self.biases else 0.0))
            a.append(ACTIVATIONS[name][0](z[-1]))
            if factors is not None and i < len(factors):
                a[-1] = a[-1] * factors[i]
        return a, z

    def predict(self, x: ArrayLike) -> Array:
        return self.forward(x)[0][-1]

    def costs(self, x: ArrayLike, y: ArrayLike, factors: Factors = None) -> Array:
        """C of every sample on its own."""
        a, z = self.forward(x, factors)
        y = self.targets(y)
        if self.loss == "cross_entropy":
            return cross_entropy(z[-1], y)
        if self.loss == "binary_cross_entropy":
            return binary_cross_entropy(z[-1], y)
        return LOSSES[self.loss][0](a[-1], y)

    def cost(
        self,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        factors: Factors = None,
    ) -> float:
        return float(np.average(self.costs(x, y, factors), weights=sample_weight))

    def output_delta(self, a: Array, z: Array, y: Array) -> Array:
        """delta^L of every row, fused where the loss asks for it."""
        if self.loss == "cross_entropy":
            return a * y.sum(axis=1, keepdims=True) - y
        if self.loss == "binary_cross_entropy":
            return (a - y) / a.shape[1]
        return self.through_activation(-1, z, a, LOSSES[self.loss][1](a, y))

    def through_activation(self, layer: int, z: Array, a: Array, dC_da: Array) -> Array:
        """dC/dz from dC/da: the Hadamard product with g', for softmax the whole Jacobian."""
        name = self.activations[layer]
        if name == "softmax":
            return a * (dC_da - (dC_da * a).sum(axis=1, keepdims=True))
        return dC_da * ACTIVATIONS[name][1](z)

    def backward(
        self, a: list[Array], z: list[Array], delta: Array, factors: Factors = None
    ) -> list[Array]:
        """delta^1 .. delta^L of every row, from delta^L."""
        deltas = [delta]
        for i in range(len(self.weights) - 1, 0, -1):
            dC_da = deltas[0] @ self.weights[i] * (1.0 if factors is None else factors[i - 1])
            deltas.insert(0, self.through_activation(i - 1, z[i - 1], a[i], dC_da))
        return deltas

    def sums(self, a: list[Array], deltas: list[Array], row_factor: Array) -> Gradients:
        """Sum over the rows of row_factor * delta a^T, and of row_factor * delta."""
        scaled = [d * row_factor[:, None] for d in deltas]
        weights = [d.T @ a_in for d, a_in in zip(scaled, a, strict=False)]
        return Gradients(None, weights, [d.sum(axis=0) for d in scaled] if self.biases else [])

    def gradients(
        self,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        factors: Factors = None,
    ) -> Gradients:
        a, z = self.forward(x, factors)
        deltas = self.backward(a, z, self.output_delta(a[-1], z[-1], self.targets(y)), factors)
        w = np.ones(len(a[0])) if sample_weight is None else np.asarray(sample_weight, float)
        result = self.sums(a, deltas, w / w.sum())
        result.cost = self.cost(x, y, sample_weight, factors)
        return result

    def vjp(self, x: ArrayLike, dC_da: ArrayLike) -> tuple[Gradients, Array]:
        """Sums over the rows, and dC/dx, for a cost whose dC/da^L is given."""
        a, z = self.forward(x)
        delta = self.through_activation(-1, z[-1], a[-1], np.asarray(dC_da, np.float64))
        deltas = self.backward(a, z, delta)
        return self.sums(a, deltas, np.ones(len(a[0]))), deltas[0] @ self.weights[0]

    def trace(self, x: ArrayLike, y: ArrayLike) -> Trace:
        a, z = self.forward(x)
        deltas = self.backward(a, z, self.output_delta(a[-1], z[-1], self.targets(y)))
        primes = [ACTIVATIONS[g][1](v) for g, v in zip(self.activations, z, strict=True)]
        return Trace(a, z, primes, deltas)

    def margin(self, x: ArrayLike, y: ArrayLike) -> float:
        """Distance of the nearest z from a kink of its activation, or residual from the loss's."""
        a, z = self.forward(x)
        residual = np.abs(a[-1] - self.targets(y))
        distances = [
            np.abs(np.abs(v) - KINKS[g])
            for g, v in zip(self.activations, z, strict=True)
            if g in KINKS
        ]
        if self.loss == "mae":
            distances.append(residual)
        if self.loss == "huber":
            distances.append(np.abs(residual - 1))
        return min((float(d.min()) for d in distances), default=math.inf)


# --- the update rules, on a list of arrays changed in place -----------------------------------


@dataclass(kw_only=True)
class Rule:
    """Penalties of the weights (matrices), then clipping, then the rule."""

    l1: float = 0.0
    l2: float = 0.0
    clip_value: float | None = None
    clip_norm: float | None = None

    def step(self, parameters: list[Array], gradients: list[Array]) -> None:
        treated = [
            g + self.l2 * p + self.l1 * np.sign(p) if p.ndim == 2 else g
            for p, g in zip(parameters, gradients, strict=True)
        ]
        if self.clip_value is not None:
            treated = [np.clip(g, -self.clip_value, self.clip_value) for g in treated]
        if self.clip_norm is not None:
            norm = math.sqrt(sum(float(np.sum(g * g)) for g in treated))
            treated = [g * min(1.0, self.clip_norm / (norm + 1e-6)) for g in treated]
        self.update(parameters, treated)

    def update(self, parameters: list[Array], gradients: list[Array]) -> None:
        raise NotImplementedError


@dataclass
class SGD(Rule):
    learning_rate: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    velocity: list[Array] | None = None

    def update(self, parameters: list[Array], gradients: list[Array]) -> None:
        self.velocity = self.velocity or [np.zeros_like(p) for p in parameters]
        for p, g, v in zip(parameters, gradients, self.velocity, strict=True):
            g = g + self.weight_decay * p
            v[...] = self.momentum * v + g
            p -= self.learning_rate * (g + self.momentum * v if self.nesterov else v)


@dataclass
class Adam(Rule):
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    t: int = 0
    moments: list[tuple[Array, Array]] | None = None

    def update(self, parameters: list[Array], gradients: list[Array]) -> None:
        beta1, beta2 = self.betas
        self.moments = self.moments or [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
        self.t += 1
        for p, g, (m, v) in zip(parameters, gradients, self.moments, strict=True):
            g = self.decay(p, g)
            m[...] = beta1 * m + (1 - beta1) * g
            v[...] = beta2 * v + (1 - beta2) * g * g
            m_hat, v_hat = m / (1 - beta1**self.t), v / (1 - beta2**self.t)
            p -= self.learning_rate * m_hat / (np.sqrt(v_hat) + self.eps)

    def decay(self, p: Array, g: Array) -> Array:
        return g + self.weight_decay * p


@dataclass
class AdamW(Adam):
    weight_decay: float = 0.01

    def decay(self, p: Array, g: Array) -> Array:
        p -= self.learning_rate * self.weight_decay * p
        return g


@dataclass
class RMSprop(Rule):
    learning_rate: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    weight_decay: float = 0.0
    centered: bool = False
    state: list[tuple[Array, Array, Array]] | None = None

    def update(self, parameters: list[Array], gradients: list[Array]) -> None:
        zeros = np.zeros_like
        self.state = self.state or [(zeros(p), zeros(p), zeros(p)) for p in parameters]
        for p, g, (s, m, v) in zip(parameters, gradients, self.state, strict=True):
            g = g + self.weight_decay * p
            s[...] = self.alpha * s + (1 - self.alpha) * g * g
            m[...] = self.alpha * m + (1 - self.alpha) * g
            variance = s - m * m if self.centered else s
            v[...] = self.momentum * v + g / (np.sqrt(np.maximum(variance, 0)) + self.eps)
            p -= self.learning_rate * v


@dataclass
class Adagrad(Rule):
    learning_rate: float = 1e-2
    eps: float = 1e-10
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    t: int = 0
    sums: list[Array] | None = None

    def update(self, parameters: list[Array], gradients: list[Array]) -> None:
        initial = self.initial_accumulator_value
        self.sums = self.sums or [np.full_like(p, initial) for p in parameters]
        rate = self.learning_rate / (1 + self.t * self.lr_decay)
        self.t += 1
        for p, g, s in zip(parameters, gradients, self.sums, strict=True):
            g = g + self.weight_decay * p
            s += g * g
            p -= rate * g / (np.sqrt(s) + self.eps)


def interleave(gradients: Any) -> list[Array]:
    """dW^1, db^1, dW^2, ... from anything with `weights` and `biases`."""
    weights = [np.asarray(g, np.float64) for g in gradients.weights]
    biases = [np.asarray(g, np.float64) for g in gradients.biases]
    if not biases:
        return weights
    return [g for pair in zip(weights, biases, strict=True) for g in pair]


def descend(
    net: Net,
    rule: Rule,
    x: Array,
    y: Array,
    batch: int,
    order: Array,
    factors: Callable[[Array], Factors] = lambda places: None,
) -> float:
    """One epoch of descent over the rows in `order`; the mean of the costs before each update.

    `factors` gives those of dropout for places in the epoch.
    """
    total = 0.0
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        g = net.gradients(x[rows], y[rows], factors=factors(np.arange(start, start + len(rows))))
        assert g.cost is not None
        total += g.cost * len(rows)
        rule.step(net.parameters, interleave(g))
    return total / len(order)
