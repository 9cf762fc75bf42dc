"""docs/arithmetic.md as a program: every result of the package, bit for bit, number by number.

It shares no code with the package. A vector is a list of numbers, a matrix a list of rows: w[j][k]
is the weight to neuron j from neuron k. Sums over samples and hyperparameters are Python floats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from specification_functions import (
    Float64,
    Real,
    copysign,
    exp,
    expm1,
    fma,
    gelu,
    gelu_derivative,
    hardswish,
    hardswish_derivative,
    log,
    log1p,
    maximum,
    minimum,
    sigmoid,
    silu,
    silu_derivative,
    softplus,
    sqrt,
    tanh,
)

CHUNK = 256  # samples that are summed from zero before their sum meets other sums


# --- activations ------------------------------------------------------------------------------

LAMBDA, LAMBDA_ALPHA = 1.0507009873554804934193349852946, 1.7580993408473768599402175208123

#: name: (a = g(z), g'(z) from z and a)
ACTIVATIONS = {
    "identity": (lambda z: z, lambda z, a: 1),
    "sigmoid": (sigmoid, lambda z, a: a * (1 - a)),
    "tanh": (tanh, lambda z, a: (1 - a) * (1 + a)),
    "relu": (lambda z: 0 if z < 0 else z, lambda z, a: 1 if a > 0 else 0),
    "leaky_relu": (lambda z: 0.01 * z if z < 0 else z, lambda z, a: 1 if a > 0 else 0.01),
    "elu": (lambda z: expm1(z) if z < 0 else z, lambda z, a: a + 1 if a < 0 else 1),
    "selu": (
        lambda z: LAMBDA_ALPHA * expm1(z) if z < 0 else LAMBDA * z,
        lambda z, a: a + LAMBDA_ALPHA if a < 0 else LAMBDA,
    ),
    "softplus": (softplus, lambda z, a: -expm1(-a)),
    "silu": (silu, lambda z, a: silu_derivative(z)),
    "gelu": (gelu, lambda z, a: gelu_derivative(z)),
    "hardswish": (hardswish, lambda z, a: hardswish_derivative(z)),
}


def fold(lanes, combine):
    """Until one lane is left, lane i takes in lane i + H, H being half their number."""
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [combine(lanes[i], lanes[i + half]) for i in range(half)]
    return lanes[0]


def add(x, y):
    return x + y


def lane_sum(terms):
    """A sum over outputs: term j goes to lane j mod 16, in float64 to lane j mod 8."""
    T = type(terms[0])
    lanes = [T(0)] * T.lanes
    for j, term in enumerate(terms):
        lanes[j % T.lanes] = lanes[j % T.lanes] + term
    return fold(lanes, add)


def lane_maximum(z):
    T = type(z[0])
    lanes = [T(-math.inf)] * T.lanes
    for j, z_j in enumerate(z):
        lanes[j % T.lanes] = maximum(z_j, lanes[j % T.lanes])
    return fold(lanes, maximum)


def softmax(z):
    m = lane_maximum(z)
    e = [exp(z_j - m) for z_j in z]
    total = lane_sum(e)
    return [e_j / total for e_j in e]


def softmax_backward(d, a):
    T = type(a[0])
    lanes = [T(0)] * T.lanes
    for j, (d_j, a_j) in enumerate(zip(d, a, strict=True)):
        lanes[j % T.lanes] = fma(d_j, a_j, lanes[j % T.lanes])
    mean = fold(lanes, add)
    return [a_j * (d_j - mean) for d_j, a_j in zip(d, a, strict=True)]


def activate(g, z):
    return softmax(z) if g == "softmax" else [type(z_j)(ACTIVATIONS[g][0](z_j)) for z_j in z]


def slopes(g, z, a):
    """g'(z); of softmax the diagonal a_j (1 - a_j) of its Jacobian, which only a trace shows."""
    derivative = ACTIVATIONS["sigmoid" if g == "softmax" else g][1]
    return [type(a_j)(derivative(z_j, a_j)) for z_j, a_j in zip(z, a, strict=True)]


def times_derivative(g, d, z, a):
    """∂C/∂z from d = ∂C/∂a."""
    if g == "softmax":
        return softmax_backward(d, a)
    return [d_j * slope for d_j, slope in zip(d, slopes(g, z, a), strict=True)]


# --- losses -----------------------------------------------------------------------------------

#: name: (cost of one output by e = a - y, its derivative, whether C is the mean over outputs)
DIFFERENCE = {
    "half_mse": (lambda e: 0.5 * e * e, lambda e: e, True),
    "sse": (lambda e: e * e, lambda e: e + e, False),
    "mse": (lambda e: e * e, lambda e: e + e, True),
    "mae": (abs, lambda e: copysign(type(e)(1), e) if e else e, True),
    "huber": (
        lambda e: abs(e) - 0.5 if abs(e) > 1 else 0.5 * e * e,
        lambda e: maximum(-1, minimum(1, e)),
        True,
    ),
}


def difference_loss(loss, a, y, scale):
    """(C, scale ∂C/∂a)."""
    cost, derivative, mean = DIFFERENCE[loss]
    e = [a_j - y_j for a_j, y_j in zip(a, y, strict=True)]
    total = lane_sum([cost(e_j) for e_j in e])
    d = [(derivative(e_j) / len(e) if mean else derivative(e_j)) * scale for e_j in e]
    return (total / len(e) if mean else total), d


def cross_entropy(z, a, y, scale):
    """(C, scale ∂C/∂z)."""
    m = lane_maximum(z)
    log_sum = log(lane_sum([exp(z_j - m) for z_j in z]))
    target_sum = lane_sum(y)
    outputs, zero = range(len(z)), type(scale)(0)
    terms = [y[j] * (log_sum + (m - z[j])) if y[j] else zero for j in outputs]
    return lane_sum(terms), [(a[j] * target_sum - y[j]) * scale for j in outputs]


def binary_cross_entropy(z, a, y, scale):
    """(C, scale ∂C/∂z)."""
    n, zero = len(z), type(scale)(0)
    terms = [(maximum(z[j], zero) - y[j] * z[j]) + log1p(exp(-abs(z[j]))) for j in range(n)]
    return lane_sum(terms) / n, [(a[j] - y[j]) / n * scale for j in range(n)]


def output_error(net, z, a, y, scale):
    """(C, δ^L times scale) of one sample."""
    if net.loss == "cross_entropy":
        return cross_entropy(z, a, y, scale)
    if net.loss == "binary_cross_entropy":
        return binary_cross_entropy(z, a, y, scale)
    cost, d = difference_loss(net.loss, a, y, scale)
    return cost, times_derivative(net.layers[-1].g, d, z, a)


def smoothed(loss, y, smoothing):
    """(1 - ε) y + ε / n, n classes: those of softmax, or the two of a sigmoid."""
    T = type(y[0])
    n_classes = len(y) if loss == "cross_entropy" else 2
    kept, mixed_in = T(1 - smoothing), T(smoothing / n_classes)
    return [kept * y_j + mixed_in for y_j in y] if smoothing else y


# --- one sample through the network -----------------------------------------------------------


@dataclass
class Layer:
    w: list[list[Any]]
    b: list[Any] | None
    g: str


@dataclass
class Network:
    T: type[Real]
    layers: list[Layer]
    loss: str

    def parameters(self):
        """W^1 row-major, b^1, W^2, ..."""
        return flatten((layer.w, layer.b) for layer in self.layers)

    def set_parameters(self, flat):
        numbers = map(self.T, flat)
        for layer in self.layers:
            layer.w = [[next(numbers) for _ in row] for row in layer.w]
            layer.b = layer.b and [next(numbers) for _ in layer.b]

    def sample(self, row):
        """A row of any real numbers, each rounded once."""
        return [self.T(value) for value in row]

    def target(self, y):
        """A row of values, or the one-hot row of a label."""
        n_outputs = len(self.layers[-1].w)
        return self.sample([j == y for j in range(n_outputs)] if isinstance(y, int) else y)


def flatten(layers):
    return [value for w, b in layers for row in (*w, b or ()) for value in row]


def chains(T, n_out):
    """S, the number of interleaved chains: more than one in a narrow layer only."""
    return max(1, T.lanes >> (n_out - 1).bit_length())


def chain_places(T, n_in, n_out):
    """(the chain of each k, how the sums of the chains are joined)."""
    if n_out <= T.lanes // 2:  # a narrow layer: chains in turn, joined in halves
        s = chains(T, n_out)
        return [k % s for k in range(n_in)], lambda sums: fold(sums, add)
    # One block wide: chains over consecutive k, joined from left to right; wider: one chain.
    count = max(1, min(4, n_in // 16)) if n_out <= T.lanes else 1
    length = -(-n_in // count)
    return [k // length for k in range(n_in)], lambda sums: reduce(add, sums)


def affine(layer, a):
    """z = W a + b."""
    zero = type(a[0])(0)
    places, join = chain_places(type(zero), len(a), len(layer.w))
    count = max(chains(type(zero), len(layer.w)), places[-1] + 1)
    z = []
    for j, row in enumerate(layer.w):
        sums = [zero if layer.b is None else layer.b[j], *[zero] * (count - 1)]
        for place, w_k, a_k in zip(places, row, a, strict=True):
            sums[place] = fma(w_k, a_k, sums[place])
        z.append(join(sums) + 0)
    return z


def affine_transposed(w, delta):
    """Wᵀ δ."""
    result = []
    for column in zip(*w, strict=True):
        total = type(delta[0])(0)
        for w_jk, d_j in zip(column, delta, strict=True):
            total = fma(w_jk, d_j, total)
        result.append(total + 0)
    return result


def times(v, factors):
    return v if factors is None else [v_j * f_j for v_j, f_j in zip(v, factors, strict=True)]


def forward(net, x, factors=None):
    """([a^0 ... a^L], [z^1 ... z^L]), with the factors f^l of dropout by layer."""
    a, z, factors = [x], [], factors or {}
    for i, layer in enumerate(net.layers):
        z.append(affine(layer, times(a[i], factors.get(i))))
        a.append(activate(layer.g, z[-1]))
    return a, z


def backward(net, a, z, delta, factors=None):
    """[δ^1 ... δ^L] from δ^L."""
    deltas, factors = [delta], factors or {}
    for i in range(len(net.layers) - 1, 0, -1):
        d = times(affine_transposed(net.layers[i].w, deltas[0]), factors.get(i))
        deltas.insert(0, times_derivative(net.layers[i - 1].g, d, z[i - 1], a[i]))
    return deltas


# --- sums over samples ------------------------------------------------------------------------


def in_chunks(items, total_of):
    """The totals of the chunks, added in the tree that halves their range, larger half first."""
    if len(items) <= CHUNK:
        return total_of(items)
    chunks = -(-len(items) // CHUNK)
    middle = -(-chunks // 2) * CHUNK
    halves = [in_chunks(half, total_of) for half in (items[:middle], items[middle:])]
    return [left + right for left, right in zip(*halves, strict=True)]


def gradient_sums(net, passes):
    """Σ δ aᵀ and Σ δ, flat, over passes ([a^0 ... a^L], [δ^1 ... δ^L])."""
    sums = []
    for i, layer in enumerate(net.layers):
        w = [[net.T(0)] * len(row) for row in layer.w]
        b = layer.b and [net.T(0)] * len(layer.b)
        for a, deltas in passes:
            for j, d_j in enumerate(deltas[i]):
                w[j] = [fma(a_k, d_j, s) for a_k, s in zip(a[i], w[j], strict=True)]
            b = b and [s + d_j for s, d_j in zip(b, deltas[i], strict=True)]
        if len(passes) > 1:
            w = [[value + 0 for value in row] for row in w]
        sums.append((w, b))
    return flatten(sums)


def running_sum(values):
    """In float64, one after the other."""
    total = 0.0
    for value in values:
        total += value
    return total


def predict(net, x):
    return [forward(net, net.sample(row))[0][-1] for row in x]


def mean_gradient(net, x, y, weights=None, smoothing=0.0, dropout=None):
    """(C, its gradient in the order of the parameters)."""
    weights = [1.0] * len(x) if weights is None else weights
    (total,) = in_chunks(weights, lambda chunk: [running_sum(chunk)])
    costs, passes = [], []
    for i, (row, target, weight) in enumerate(zip(x, y, weights, strict=True)):
        factors = dropout.factors(net, i) if dropout else {}
        a, z = forward(net, net.sample(row), factors)
        scale = net.T(weight / total if total else 0)
        target = smoothed(net.loss, net.target(target), smoothing)
        cost, delta = output_error(net, z[-1], a[-1], target, scale)
        costs.append(weight * float(cost))
        inputs = [times(a_l, factors.get(layer)) for layer, a_l in enumerate(a)]
        passes.append((inputs, backward(net, a, z, delta, factors)))
    (cost,) = in_chunks(costs, lambda chunk: [running_sum(chunk)])
    gradient = in_chunks(passes, lambda chunk: gradient_sums(net, chunk))
    return (cost / total if total else cost), gradient


def pullback(net, x, dC_da):
    """(the gradients summed over the rows, ∂C/∂x) from ∂C/∂a^L."""
    passes, dC_dx = [], []
    for row, d in zip(x, dC_da, strict=True):
        a, z = forward(net, net.sample(row))
        delta = times_derivative(net.layers[-1].g, net.sample(d), z[-1], a[-1])
        deltas = backward(net, a, z, delta)
        passes.append((a, deltas))
        dC_dx.append(affine_transposed(net.layers[0].w, deltas[0]))
    return in_chunks(passes, lambda chunk: gradient_sums(net, chunk)), dC_dx


# --- descent ----------------------------------------------------------------------------------


NORM_ROWS = 64  # inputs k of a layer whose squares are summed before they meet other sums


@dataclass(kw_only=True)
class Rule:
    """What happens to a gradient before a rule sees it."""

    l1: float = 0.0
    l2: float = 0.0
    clip_value: float = math.inf
    clip_norm: float = math.inf

    def step(self, net, gradient):
        layers = [self.clipped(*self.penalized(layer, g)) for layer, g in by_layer(net, gradient)]
        scale = self.scale(net, layers) if self.clip_norm < math.inf else 1.0
        treated = [g * net.T(scale) for g in flatten(layers)]
        return self.update(net.parameters(), treated)

    def penalized(self, layer, gradient):
        w_gradient, b_gradient = gradient
        rows = zip(layer.w, w_gradient, strict=True)
        return [[self.penalty(w, g) for w, g in zip(*row, strict=True)] for row in rows], b_gradient

    def penalty(self, w, g):
        l1, l2 = type(w)(self.l1), type(w)(self.l2)
        g = fma(l2, w, g) if l2 else g
        return g + copysign(l1, w) if l1 and w != 0 else g

    def clipped(self, w_gradient, b_gradient):
        return [list(map(self.clip, row)) for row in w_gradient], [*map(self.clip, b_gradient)]

    def clip(self, g):
        bound = type(g)(self.clip_value)
        return minimum(maximum(g, -bound), bound) if math.isfinite(g) else g

    def scale(self, net, layers):
        squares = running_sum(total for w, b in layers for total in square_sums(net.T, w, b))
        scale = self.clip_norm / (math.sqrt(squares) + 1e-6)
        return 0.0 if math.isnan(scale) else min(scale, 1.0)


def by_layer(net, gradient):
    """Pairs of a layer and its part (rows, biases) of a flat gradient."""
    numbers = iter(gradient)
    for layer in net.layers:
        w = [[next(numbers) for _ in row] for row in layer.w]
        yield layer, (w, [next(numbers) for _ in layer.b or ()])


def square_sums(T, w, b):
    """Sums of squares in float64: of W for 64 inputs at a time, then of b."""
    n_out, n_in = len(w), len(w[0])
    s = chains(T, n_out)  # so many inputs lie side by side in the lanes
    for start in range(0, n_in, NORM_ROWS):
        inputs = range(start, min(start + NORM_ROWS, n_in))
        yield square_sum(
            T, [(k % s * (T.lanes // s) + j, w[j][k]) for k in inputs for j in range(n_out)]
        )
    if b:
        yield square_sum(T, list(enumerate(b)))


def square_sum(T, placed):
    lanes = [Float64(0)] * T.lanes
    for place, g in placed:
        x = Float64(float(g))
        lanes[place % T.lanes] = fma(x, x, lanes[place % T.lanes])
    return float(fold(lanes, add))


def decayed(g, w, weight_decay):
    decay = type(w)(weight_decay)
    return fma(decay, w, g) if decay else g


def normal_or_zero(x):
    T = type(x)
    return T(0) if abs(x) < math.ldexp(1, T.least + T.digits - 1) else x


def mean_square(beta, g, v):
    """Of g², β being the share of the past."""
    T = type(g)
    return normal_or_zero(fma(T(1 - beta) * g, g, T(beta) * v))


@dataclass
class SGD(Rule):
    learning_rate: float
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    velocity: list[Any] = field(default_factory=list)

    def update(self, parameters, gradient):
        T = type(parameters[0])
        eta, mu = T(self.learning_rate), T(self.momentum)
        self.velocity = self.velocity or [T(0)] * len(parameters)
        updated = []
        for i, (w, g) in enumerate(zip(parameters, gradient, strict=True)):
            direction = g = decayed(g, w, self.weight_decay)
            if self.momentum:
                direction = self.velocity[i] = normal_or_zero(fma(mu, self.velocity[i], g))
            if self.nesterov:
                direction = fma(mu, self.velocity[i], g)
            updated.append(fma(-eta, direction, w))
        return updated


@dataclass
class Adam(Rule):
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    powers: tuple[float, float] = (1.0, 1.0)
    moments: list[tuple[Any, Any]] = field(default_factory=list)

    def update(self, parameters, gradient):
        T = type(parameters[0])
        beta1, beta2 = self.betas
        self.powers = self.powers[0] * beta1, self.powers[1] * beta2
        step = T(-(self.learning_rate / (1 - self.powers[0])))
        correction = T(math.sqrt(1 - self.powers[1]))
        self.moments = self.moments or [(T(0), T(0))] * len(parameters)
        updated = []
        for i, (w, g) in enumerate(zip(parameters, gradient, strict=True)):
            w, g = self.decay(w, g)
            m, v = self.moments[i]
            m = normal_or_zero(fma(T(1 - beta1), g - m, m))
            v = mean_square(beta2, g, v)
            self.moments[i] = m, v
            updated.append(fma(step, m / (sqrt(v) / correction + self.eps), w))
        return updated

    def decay(self, w, g):
        return w, decayed(g, w, self.weight_decay)


@dataclass
class AdamW(Adam):
    weight_decay: float = 0.01

    def decay(self, w, g):
        shrink = type(w)(self.learning_rate * self.weight_decay)
        return fma(-shrink, w, w) if shrink else w, g


@dataclass
class RMSprop(Rule):
    learning_rate: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    weight_decay: float = 0.0
    centered: bool = False
    state: list[tuple[Any, Any, Any]] = field(default_factory=list)

    def update(self, parameters, gradient):
        T = type(parameters[0])
        eta, mu = T(self.learning_rate), T(self.momentum)
        self.state = self.state or [(T(0), T(0), T(0))] * len(parameters)
        updated = []
        for i, (w, g) in enumerate(zip(parameters, gradient, strict=True)):
            g = decayed(g, w, self.weight_decay)
            s, m, v = self.state[i]
            variance = s = mean_square(self.alpha, g, s)
            if self.centered:
                m = normal_or_zero(fma(T(1 - self.alpha), g - m, m))
                variance = maximum(T(0), fma(-m, m, s))
            direction = g / (sqrt(variance) + self.eps)
            if self.momentum:
                direction = v = normal_or_zero(fma(mu, v, direction))
            self.state[i] = s, m, v
            updated.append(fma(-eta, direction, w))
        return updated


@dataclass
class Adagrad(Rule):
    learning_rate: float = 1e-2
    eps: float = 1e-10
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    updates: int = 0
    sums: list[Any] = field(default_factory=list)

    def update(self, parameters, gradient):
        T = type(parameters[0])
        eta = T(self.learning_rate / (1 + self.updates * self.lr_decay))
        self.updates += 1
        initial = normal_or_zero(T(self.initial_accumulator_value))
        self.sums = self.sums or [initial] * len(parameters)
        updated = []
        for i, (w, g) in enumerate(zip(parameters, gradient, strict=True)):
            g = decayed(g, w, self.weight_decay)
            self.sums[i] = normal_or_zero(fma(g, g, self.sums[i]))
            updated.append(fma(-eta, g / (sqrt(self.sums[i]) + self.eps), w))
        return updated


def train_step(net, rule, x, y, weights=None, **regularization):
    """One update from one batch; the cost before it."""
    cost, gradient = mean_gradient(net, x, y, weights, **regularization)
    net.set_parameters(rule.step(net, gradient))
    return cost


def train_epoch(net, rule, x, y, batch_size, order, weights=None, smoothing=0.0, dropout=None):
    """The updates of one epoch over the samples in `order`; its entry in History.cost."""
    weights = [1.0] * len(x) if weights is None else weights
    total = total_weight = 0.0
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        rows = [[values[i] for i in batch] for values in (x, y, weights)]
        (weight,) = in_chunks(rows[2], lambda chunk: [running_sum(chunk)])
        if dropout:
            dropout = replace(dropout, first_sample=start)
        total += train_step(net, rule, *rows, smoothing=smoothing, dropout=dropout) * weight
        total_weight += weight
    return total / total_weight
