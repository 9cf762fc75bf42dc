"""One weight or bias taken apart: the factors of the chain rule, and the errors behind them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import chain, repeat
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core
from chainrule.activations import ACTIVATIONS
from chainrule.explain.formulas import LOSSES, number, targets_of, through
from chainrule.explain.lines import Line, as_html, as_text
from chainrule.inputs.arrays import as_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray


# Terms of a sum that are printed before an ellipsis stands for the rest.
TERMS = 8


@dataclass(frozen=True, eq=False, repr=False)
class NeuronError:
    """The error δ_j = ∂C/∂z_j = ∂C/∂a_j · ∂a_j/∂z_j of one neuron, for one sample.

    Numbers have the network's dtype.

    Attributes
    ----------
    layer, neuron : int
        l and j.
    z, a : scalar
        z_j and a_j.
    y : scalar or None
        The target y_j in the output layer.
    dC_da : scalar
        ∂C/∂a_j; in a hidden layer Σ_q w_qj δ_q over the neurons q of layer l + 1. With a softmax
        output, where z_j moves every output, the array of all ∂C/∂a_i.
    da_dz : scalar
        ∂a_j/∂z_j = g'(z_j); with a softmax output, the array of all ∂a_i/∂z_j.
    delta : scalar
        δ_j as back-propagation computed it: the product of the two (with softmax their dot
        product) within rounding.
    terms : ndarray of shape (m, 2), or None
        The pairs of factors of the sum over q, or with softmax over i.
    """

    layer: int
    neuron: int
    z: Any
    a: Any
    y: Any
    dC_da: Any
    da_dz: Any
    delta: Any
    terms: NDArray[Any] | None
    activation: str
    loss: str

    def __repr__(self) -> str:
        return f"NeuronError(layer={self.layer}, neuron={self.neuron}, delta={self.delta:.9g})"

    def shown(self) -> list[int]:
        """Return the neurons q, or outputs i, of the terms that are printed.

        All if they are few, else the largest; never the zeros of a one-hot target's many classes.
        """
        if self.terms is None:
            return []
        if len(self.terms) <= TERMS:
            return list(range(len(self.terms)))
        with np.errstate(all="ignore"):  # 0 · ∞ is explained below the sum
            sizes = np.abs(self.terms.prod(axis=1))
        largest = np.argsort(-sizes, kind="stable")[:TERMS]
        return [int(i) for i in largest if sizes[i] != 0] or [int(largest[0])]

    def lines(self, j: str) -> Iterator[Line]:
        """Yield the two factors and their product, with the neuron called `j`."""
        for line in self._softmax() if self.activation == "softmax" else self._factors():
            yield replace(line, left=_named(line.left, j), right=_named(line.right, j))

    def _factors(self) -> Iterator[Line]:
        if self.y is None:
            yield Line(
                "∂C/∂a_j", "=", f"Σ_q w_qj δ_q, over the neurons q of layer {self.layer + 1}"
            )
            yield from self._sum("q")
            yield Line("", "=", number(self.dC_da))
        else:
            yield Line(
                "∂C/∂a_j", "=", f"{LOSSES[self.loss].slope}, the {self.loss} cost at the output"
            )
            yield Line("", "=", f"{number(self.dC_da)}, with y_j = {number(self.y)}")
        yield from self._rounded("a_j")
        slope = ACTIVATIONS[self.activation].slope
        yield Line("∂a_j/∂z_j", "=", f"{slope}, the slope of {self.activation}")
        yield Line("", "=", number(self.da_dz))
        yield Line("δ_j", "=", "∂C/∂z_j = ∂C/∂a_j · ∂a_j/∂z_j")
        product = f"{number(self.dC_da)} · {number(self.da_dz)}"
        yield Line("", "=", f"{product} = {number(self.delta)}")

    def _softmax(self) -> Iterator[Line]:
        yield Line(
            "∂C/∂z_j", "=", "Σ_i ∂C/∂a_i · ∂a_i/∂z_j, since with softmax z_j moves every a_i"
        )
        yield Line("", "", "∂a_i/∂z_j = a_i ((1 if i = j else 0) - a_j)")
        fused = LOSSES[self.loss].fused
        if fused:
            yield Line("", "", f"∂C/∂a_i = -y_i/a_i; together they are {fused}")
        yield from self._sum("i")
        yield from self._rounded("an a_i")
        yield Line("δ_j", "=", f"∂C/∂z_j = {number(self.delta)}")

    def _rounded(self, output: str) -> Iterator[Line]:
        fused = LOSSES[self.loss].fused
        if fused and not np.all(np.isfinite(self.dC_da)):
            yield Line(
                "", "", f"({output} has been rounded to its limit, so that a product here is"
            )
            yield Line("", "", f"0 · ∞; δ_j was computed without a division, as {fused})")

    def _sum(self, letter: str) -> Iterator[Line]:
        """Yield the terms of a sum, the largest first if not all of them are shown."""
        assert self.terms is not None
        shown = self.shown()
        for sign, i in zip(chain("=", repeat("+")), shown, strict=False):
            left, right = (f"{number(v):>15}" for v in self.terms[i])
            yield Line("", sign, f"{left} · {right}   {letter} = {i}")
        if len(self.terms) > len(shown):
            rest = len(self.terms) - len(shown)
            yield Line("", "+", f"…   {rest} {'terms' if rest > 1 else 'term'}, none larger")


def _named(formula: str, j: str) -> str:
    """Call neuron j by its number: w_qj becomes w_q,3, and a_j a_3."""
    if j == "j":
        return formula
    formula = formula.replace("i = j ", f"i = {j} ").replace("_qj", f"_q,{j}")
    return re.sub(r"_j(?![A-Za-z])", f"_{j}", formula)


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(NeuronError):  # noqa: N818 - the error of back-propagation, no exception
    """The derivative of one sample's cost with respect to one weight or bias, term by term.

    ∂C/∂w_jk = ∂C/∂a_j · ∂a_j/∂z_j · ∂z_j/∂w_jk = δ_j a_k, with neuron j of layer l and neuron k
    of layer l - 1; and ∂C/∂b_j = ∂C/∂a_j · ∂a_j/∂z_j · 1 = δ_j. To the attributes of
    ``NeuronError``, which are those of neuron j, it adds:

    Attributes
    ----------
    from_ : int or None
        k; None for the bias.
    w : scalar
        w_jk, or b_j.
    dz_dw : scalar
        ∂z_j/∂w_jk = a_k of layer l - 1, or ∂z_j/∂b_j = 1.
    gradient : scalar
        δ_j a_k, or δ_j: equal to the entry of ``Network.gradients``, to the last bit.
    errors : tuple of NeuronError
        The errors of the layers after l that the sums refer to, as far as `depth` asks for them;
        in a sum of many terms those of the largest.
    """

    from_: int | None
    w: Any
    dz_dw: Any
    gradient: Any
    errors: tuple[NeuronError, ...]

    @property
    def to(self) -> int:
        """Return j."""
        return self.neuron

    def __repr__(self) -> str:
        return (
            f"Explanation(layer={self.layer}, to={self.to}, from_={self.from_}, "
            f"gradient={self.gradient:.9g}); print it to see all of it"
        )

    def __str__(self) -> str:
        return as_text(self._lines())

    def _repr_html_(self) -> str:
        return as_html(self._lines())

    def _lines(self) -> Iterator[Line]:
        bias = self.from_ is None
        parameter = "b_j" if bias else "w_jk"
        ends = f"to neuron j = {self.to}" if not bias else f"neuron j = {self.to}"
        source = "" if bias else f", from neuron k = {self.from_} of layer {self.layer - 1}"
        what = "one bias" if bias else "one weight"
        yield Line(f"{what}: layer l = {self.layer}, {ends}{source}")
        values = {parameter: self.w, "z_j": self.z, "a_j": self.a}
        yield Line("  " + "   ".join(f"{name} = {number(v)}" for name, v in values.items()))
        yield Line()
        yield Line(f"∂C/∂{parameter}", "=", f"∂C/∂a_j · ∂a_j/∂z_j · ∂z_j/∂{parameter}")
        yield Line()
        yield from self.lines("j")
        sent = "1" if bias else f"a_k, what neuron k of layer {self.layer - 1} sent"
        yield Line(f"∂z_j/∂{parameter}", "=", sent)
        if not bias:
            yield Line("", "=", number(self.dz_dw))
        yield Line()
        product = "δ_j" if bias else f"δ_j a_k = {number(self.delta)} · {number(self.dz_dw)}"
        yield Line(f"∂C/∂{parameter}", "=", product)
        yield Line("", "=", number(self.gradient), result=True)
        for error in self.errors:
            yield Line()
            yield Line(f"the error of neuron {error.neuron} of layer {error.layer}")
            yield from error.lines(str(error.neuron))


def explain(
    network: _core.Network,
    x: ArrayLike,
    y: ArrayLike,
    layer: int,
    to: int,
    from_: int | None = None,
    depth: int | None = 1,
) -> Explanation:
    """Explain one weight or bias of `network`; see ``Network.explain``."""
    weights = network.weights
    last = len(weights)
    layer = _position("layer", layer, 1, last)
    j = _position("to", to, 0, len(weights[layer - 1]) - 1)
    k = None if from_ is None else _position("from_", from_, 0, weights[layer - 1].shape[1] - 1)
    if k is None and not network.has_bias:
        raise ValueError("the network has no biases: name a weight by from_, the neuron it is from")
    depth = last if depth is None else _position("depth", depth, 0, None)
    x, y, _ = as_batch(x, y, None)
    if len(x) != 1:
        raise ValueError(f"explain takes one sample, got {len(x)} rows")

    one = _Sample(network, x, y)
    error = one.error(layer, j)
    errors: list[NeuronError] = []
    behind = [error]
    for later in range(layer + 1, min(layer + depth, last) + 1):
        neurons = sorted({q for each in behind for q in each.shown()})
        behind = [one.error(later, q) for q in neurons]
        errors += behind

    zero = error.delta.dtype.type(0)
    a_k = zero + 1 if k is None else one.a[layer - 1][k]
    return Explanation(
        **vars(error),
        from_=k,
        w=network.biases[layer - 1][j] if k is None else weights[layer - 1][j, k],
        dz_dw=a_k,
        # fma(a_k, δ_j, +0) of the core: a factor 0 gives +0, a product that underflows has a sign.
        gradient=error.delta * a_k if error.delta and a_k else zero,
        errors=tuple(errors),
    )


class _Sample:
    """One sample's pass forward and back, from which the errors of its neurons are taken."""

    def __init__(self, network: _core.Network, x: ArrayLike, y: NDArray[Any]) -> None:
        self.network, self.weights = network, network.weights
        rows = _core.trace(network, x, y)
        self.a, self.z, self.g_prime, self.delta = (
            [array[0] for array in layers] for layers in rows
        )
        self.targets = targets_of(y, rows[0][-1])[0]

    def error(self, layer: int, j: int) -> NeuronError:
        """Return the error of neuron j of a layer, and what it consists of."""
        terms = target = None
        dC_da, da_dz = None, self.g_prime[layer - 1][j]
        a, delta = self.a[layer], self.delta
        if layer < len(self.weights):
            terms = np.stack([self.weights[layer][:, j], delta[layer]], axis=1)
            dC_da = through(self.weights[layer][:, j], delta[layer])[()]
        else:
            target = self.targets[j]
            dC_da = LOSSES[self.network.loss].dC_da(a, self.targets)
            if self.network.activations[-1] == "softmax":
                unit = (np.arange(len(self.targets)) == j).astype(self.targets.dtype)
                da_dz = a * (unit - a[j])
                terms = np.stack([dC_da, da_dz], axis=1)
            else:
                dC_da = dC_da[j]
        return NeuronError(
            layer=layer,
            neuron=j,
            z=self.z[layer - 1][j],
            a=a[j],
            y=target,
            dC_da=dC_da,
            da_dz=da_dz,
            delta=delta[layer - 1][j],
            terms=terms,
            activation=self.network.activations[layer - 1],
            loss=self.network.loss,
        )


def _position(name: str, value: int, first: int, last: int | None) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if index(value) < first or last is not None and index(value) > last:
        allowed = f"be {first} or more" if last is None else f"lie in {first}..{last}"
        raise IndexError(f"{name} must {allowed}, got {value}")
    return index(value)
