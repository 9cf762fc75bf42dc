"""Back-propagation in plain sight: every quantity of a pass, and one weight taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays import as_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from chainrule.network import Network

    Arrays = tuple[NDArray[Any], ...]

# Terms of a sum that are printed before an ellipsis stands for the rest.
TERMS = 8

# g'(z_j), in print; the numbers come from the core.
DERIVATIVES = {
    "identity": "1",
    "sigmoid": "a_j (1 - a_j)",
    "tanh": "1 - a_j²",
    "relu": "1 if z_j > 0 else 0",
    "leaky_relu": "1 if z_j > 0 else 0.01",
    "elu": "1 if z_j >= 0 else a_j + 1",
    "selu": "λ if z_j >= 0 else a_j + λα",
    "softplus": "σ(z_j)",
    "silu": "σ(z_j) (1 + z_j (1 - σ(z_j)))",
    "gelu": "Φ(z_j) + z_j φ(z_j)",
}


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[Any]:
    """Divide; 0/0 is 0 (a probability that is 0 and should be), and 1/0 is ±inf."""
    with np.errstate(divide="ignore", over="ignore"):
        safe = np.where((numerator == 0) & (denominator == 0), 1, denominator)
        return (numerator / safe).astype(numerator.dtype)


# ∂C/∂a of one sample with n_L outputs: the formula in print, and as a function of (a, y).
LOSSES: dict[str, tuple[str, Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]]] = {
    "half_mse": ("(a_j - y_j)/n_L", lambda a, y: (a - y) / len(a)),
    "mse": ("2 (a_j - y_j)/n_L", lambda a, y: 2 * (a - y) / len(a)),
    "sse": ("2 (a_j - y_j)", lambda a, y: 2 * (a - y)),
    "mae": ("sign(a_j - y_j)/n_L", lambda a, y: np.sign(a - y) / len(a)),
    "huber": ("(a_j - y_j, cut to [-1, 1])/n_L", lambda a, y: np.clip(a - y, -1, 1) / len(a)),
    "cross_entropy": ("-y_j/a_j", lambda a, y: _ratio(-y, a)),
    "binary_cross_entropy": (
        "(a_j - y_j)/(a_j (1 - a_j))/n_L",
        lambda a, y: _ratio(a - y, a * (1 - a)) / len(a),
    ),
}


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """Every quantity of one pass forward and back, in the symbols of the mathematics.

    Index i of a tuple with L entries belongs to layer l = i + 1. For n samples the arrays of a,
    z, g' and δ have shape (n, n_l); for a 1-D x, which is one sample, shape (n_l,).

    Attributes
    ----------
    a : tuple of L + 1 arrays
        Activations; a[0] is x.
    z : tuple of L arrays
        Pre-activations z^l = W^l a^{l-1} + b^l.
    g_prime : tuple of L arrays
        g'^l(z^l); for softmax the diagonal of its Jacobian, a_j (1 - a_j).
    delta : tuple of L arrays
        δ^l = ∂C/∂z^l of each sample's own cost, not divided by n.
    grad_weights, grad_biases : tuple of L arrays
        ∇W^l and ∇b^l of the mean cost; no ∇b for a network without biases.
    cost : float
        The mean cost C.
    """

    a: Arrays
    z: Arrays
    g_prime: Arrays
    delta: Arrays
    grad_weights: Arrays
    grad_biases: Arrays
    cost: float
    activations: tuple[str, ...]
    loss: str

    def __repr__(self) -> str:
        return f"Trace(cost={self.cost:.9g}, layers={len(self.z)}); print it to see all of it"

    def __str__(self) -> str:
        lines = ["layer 0: input", _show("a", self.a[0])]
        for i, activation in enumerate(self.activations):
            lines += [
                f"layer {i + 1}: {activation}",
                _show("z", self.z[i]),
                _show("a", self.a[i + 1]),
                _show("g'", self.g_prime[i]),
                _show("δ", self.delta[i]),
                _show("∇W", self.grad_weights[i]),
            ]
            if self.grad_biases:
                lines.append(_show("∇b", self.grad_biases[i]))
        return "\n".join([*lines, f"C = {self.cost:.9g}  ({self.loss})"])


def _show(symbol: str, array: NDArray[Any]) -> str:
    start = f"  {symbol:<3}{'x'.join(map(str, array.shape)):<9}"
    return start + np.array2string(
        array, prefix=start, precision=6, threshold=12, edgeitems=2, max_line_width=100
    )


def trace(network: Network, x: ArrayLike, y: ArrayLike) -> Trace:
    """Record one pass of `network`; see ``Network.trace``."""
    a, z, g_prime, delta = network._trace_of(x, y)
    cost, weights, biases = network._gradients_of(x, y)
    return Trace(a, z, g_prime, delta, weights, biases, cost, network.activations, network.loss)


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """The derivative of one sample's cost with respect to one weight, term by term.

    ∂C/∂w_jk = ∂C/∂a_j · ∂a_j/∂z_j · ∂z_j/∂w_jk = δ_j a_k, with neuron j of layer l and neuron k
    of layer l - 1. Numbers have the network's dtype.

    Attributes
    ----------
    dC_da : scalar
        ∂C/∂a_j; in a hidden layer Σ_q w_qj δ_q over the neurons q of layer l + 1. With a softmax
        output, where z_j moves every output, the array of all ∂C/∂a_i.
    da_dz : scalar
        ∂a_j/∂z_j = g'(z_j); with a softmax output, the array of all ∂a_i/∂z_j.
    dz_dw : scalar
        ∂z_j/∂w_jk = a_k of layer l - 1.
    delta : scalar
        δ_j = ∂C/∂z_j as back-propagation computed it: the product of the first two terms (with
        softmax their dot product) within rounding.
    gradient : scalar
        δ_j a_k: equal to the entry of ``Network.gradients``, to the last bit.
    layer, to, from_ : int
        l, j and k.
    w, z, a : scalar
        w_jk, z_j and a_j.
    y : scalar or None
        The target y_j in the output layer.
    terms : ndarray of shape (m, 2), or None
        The pairs of factors of the sum over q, or with softmax over i.
    """

    dC_da: Any
    da_dz: Any
    dz_dw: Any
    delta: Any
    gradient: Any
    layer: int
    to: int
    from_: int
    w: Any
    z: Any
    a: Any
    y: Any
    terms: NDArray[Any] | None
    activation: str
    loss: str

    def __repr__(self) -> str:
        return (
            f"Explanation(layer={self.layer}, to={self.to}, from_={self.from_}, "
            f"gradient={self.gradient:.9g}); print it to see all of it"
        )

    def __str__(self) -> str:
        softmax = self.activation == "softmax"
        first = self._softmax_terms() if softmax else [*self._cost_term(), *self._slope_term()]
        return "\n".join([*self._head(), *first, *self._input_term(), *self._product()])

    def _head(self) -> Iterator[str]:
        ends = f"to neuron j = {self.to}, from neuron k = {self.from_} of layer {self.layer - 1}"
        yield f"one weight: layer l = {self.layer}, {ends}"
        yield f"  w_jk = {_number(self.w)}   z_j = {_number(self.z)}   a_j = {_number(self.a)}"
        yield ""
        yield "  ∂C/∂w_jk    =  ∂C/∂a_j · ∂a_j/∂z_j · ∂z_j/∂w_jk"
        yield ""

    def _cost_term(self) -> Iterator[str]:
        if self.y is None:
            yield f"  ∂C/∂a_j     =  Σ_q w_qj δ_q, over the neurons q of layer {self.layer + 1}"
            yield from self._sum("q")
        else:
            yield f"  ∂C/∂a_j     =  {LOSSES[self.loss][0]}, the {self.loss} cost at the output"
            yield f"              =  {_number(self.dC_da)}, with y_j = {_number(self.y)}"
        if not np.isfinite(self.dC_da):
            yield from self._rounded("a_j", "(a_j - y_j)/n_L")

    def _slope_term(self) -> Iterator[str]:
        yield f"  ∂a_j/∂z_j   =  {DERIVATIVES[self.activation]}, the slope of {self.activation}"
        yield f"              =  {_number(self.da_dz)}"

    def _softmax_terms(self) -> Iterator[str]:
        yield "  With softmax, z_j moves every output a_i, so the first two terms are a sum:"
        yield "  ∂C/∂z_j     =  Σ_i ∂C/∂a_i · ∂a_i/∂z_j"
        yield "                 ∂a_i/∂z_j = a_i ((1 if i = j else 0) - a_j)"
        if self.loss == "cross_entropy":
            yield "                 ∂C/∂a_i = -y_i/a_i; together they are a_j Σ_i y_i - y_j"
        yield from self._sum("i")
        if not np.all(np.isfinite(self.dC_da)):
            yield from self._rounded("an a_i", "a_j Σ_i y_i - y_j")

    def _rounded(self, output: str, formula: str) -> Iterator[str]:
        yield f"                 ({output} has been rounded to its limit, so that a product here is"
        yield f"                 0 · ∞; δ_j was computed without a division, as {formula})"

    def _sum(self, letter: str) -> Iterator[str]:
        """List the terms of a sum, the largest first if not all of them are shown."""
        assert self.terms is not None
        with np.errstate(all="ignore"):  # 0 · ∞ is explained below the sum
            products = self.terms.prod(axis=1)
        shown = np.arange(len(products))
        if len(shown) > TERMS:
            shown = np.argsort(-np.abs(products), kind="stable")[:TERMS]
        sign = "="
        for i in shown:
            left, right = (f"{_number(v):>15}" for v in self.terms[i])
            yield f"              {sign} {left} · {right}   {letter} = {i}"
            sign = "+"
        if len(products) > len(shown):
            yield f"              + …   {len(products) - len(shown)} terms that are smaller"
        total = self.delta if letter == "i" else self.dC_da
        yield f"              =  {_number(total)}"

    def _input_term(self) -> Iterator[str]:
        yield f"  ∂z_j/∂w_jk  =  a_k, what neuron k of layer {self.layer - 1} sent"
        yield f"              =  {_number(self.dz_dw)}"

    def _product(self) -> Iterator[str]:
        yield ""
        yield f"  δ_j         =  ∂C/∂z_j = {_number(self.delta)}"
        yield f"  ∂C/∂w_jk    =  δ_j a_k = {_number(self.delta)} · {_number(self.dz_dw)}"
        yield f"              =  {_number(self.gradient)}"


def _number(value: Any) -> str:
    return f"{float(value) + 0.0:.9g}"  # + 0.0 prints -0 as 0


def explain(
    network: Network, x: ArrayLike, y: ArrayLike, layer: int, to: int, from_: int
) -> Explanation:
    """Explain one weight of `network`; see ``Network.explain``."""
    weights = network.weights
    layer = _position("layer", layer, 1, len(weights))
    j = _position("to", to, 0, len(weights[layer - 1]) - 1)
    k = _position("from_", from_, 0, weights[layer - 1].shape[1] - 1)
    x, y, _ = as_batch(x, y, None)
    if len(x) != 1:
        raise ValueError(f"explain takes one sample, got {len(x)} rows")

    rows = network._trace_of(x, y)
    a, z, g_prime, delta = ([array[0] for array in layers] for layers in rows)
    d_j, a_k = delta[layer - 1][j], a[layer - 1][k]
    activation = network.activations[layer - 1]
    terms = target = None
    dC_da, da_dz = None, g_prime[layer - 1][j]
    if layer < len(weights):
        terms = np.stack([weights[layer][:, j], delta[layer]], axis=1)
        dC_da = a_k.dtype.type(np.sum(terms.astype(np.float64).prod(axis=1)))
    else:
        targets = _targets(y, a[layer])
        target = targets[j]
        dC_da = LOSSES[network.loss][1](a[layer], targets)
        if activation == "softmax":
            unit = (np.arange(len(targets)) == j).astype(targets.dtype)
            da_dz = a[layer] * (unit - a[layer][j])
            terms = np.stack([dC_da, da_dz], axis=1)
        else:
            dC_da = dC_da[j]
    return Explanation(
        dC_da=dC_da,
        da_dz=da_dz,
        dz_dw=a_k,
        delta=d_j,
        # fma(a_k, δ_j, +0) of the core: a factor 0 gives +0, a product that underflows has a sign.
        gradient=d_j * a_k if d_j and a_k else a_k.dtype.type(0),
        layer=layer,
        to=j,
        from_=k,
        w=weights[layer - 1][j, k],
        z=z[layer - 1][j],
        a=a[layer][j],
        y=target,
        terms=terms,
        activation=activation,
        loss=network.loss,
    )


def _targets(y: NDArray[Any], a: NDArray[Any]) -> NDArray[Any]:
    """Return the targets of one sample, checked by the core, as an array like the outputs `a`."""
    values = np.arange(len(a)) == y[0] if y.ndim == 1 and len(a) > 1 else y.reshape(a.shape)
    return values.astype(a.dtype, copy=False)


def _position(name: str, value: int, first: int, last: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if not first <= index(value) <= last:
        raise IndexError(f"{name} must lie in {first}..{last}, got {value}")
    return index(value)
