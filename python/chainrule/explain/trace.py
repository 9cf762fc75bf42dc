"""Every quantity of one pass forward and back."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core
from chainrule.activations import ACTIVATIONS
from chainrule.explain.formulas import LOSSES, number, targets_of, through
from chainrule.explain.lines import STYLE, mathematics
from chainrule.explain.quantities import Quantities
from chainrule.inputs.arrays import as_batch

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray


# Rows and columns at either end of an array that are printed before an ellipsis stands for the
# rest, and the length up to which nothing is left out.
EDGE, WHOLE = 3, 8


@dataclass(frozen=True)
class Quantity:
    """A line of a printed trace: a symbol, its formula and its number; or a heading."""

    symbol: str
    formula: str = ""
    value: NDArray[Any] | float | None = None

    @property
    def shape(self) -> str:
        """Return the shape in print; nothing for a number."""
        return "x".join(map(str, np.asarray(self.value).shape))


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Quantities):
    """Every quantity of one pass forward and back, in the symbols of the mathematics.

    Index i of a tuple with L entries belongs to layer l = i + 1. For n samples the arrays of a,
    z, g', δ, ∂C/∂a and y have shape (n, n_l); for a 1-D x, which is one sample, shape (n_l,).
    ``print`` shows all of it in the order of the calculation, a notebook as a table.

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
    y : array
        The targets; labels as one-hot rows.
    dC_da : tuple of L arrays
        ∂C/∂a^l of each sample's own cost: by the loss's formula in the output layer, in a hidden
        one (W^{l+1})ᵀ δ^{l+1}, summed in float64.
    weights, biases : tuple of L arrays
        Copies of W^l and b^l; no b for a network without biases.
    """

    def __repr__(self) -> str:
        return f"Trace(cost={self.cost:.9g}, layers={len(self.z)}); print it to see all of it"

    def __str__(self) -> str:
        return "\n".join(map(_as_text, self._quantities()))

    def _repr_html_(self) -> str:
        rows = "".join(map(_as_html, self._quantities()))
        return f'{STYLE}<div class="chainrule"><table>{rows}</table></div>'

    def to_html(
        self,
        path: str | os.PathLike[str],
        *,
        title: str | None = None,
        input_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
    ) -> str:
        """Write one self-contained page that draws, animates and explains the pass.

        It loads nothing, from the network or elsewhere. Every neuron and weight shows its formula
        with the numbers filled in, and W ← W - η ∇W can be applied, all of it computed in the page
        in double precision. The file replaces `path` in one step.

        The page holds the parameters, and the first samples of the trace: at most 1000, 256 KB,
        and no more than a pass can take in four million multiply-adds. Parameters of more than
        1 MB are not in it: then it shows the numbers of the trace, sums with the weights between
        some of the neurons, and no updates.

        Parameters
        ----------
        path : str or path-like
            The file, which is replaced if it exists.
        title : str, optional
            The heading.
        input_names, output_names : sequence of str, optional
            Names of the inputs (n_0) and outputs (n_L), shown beside their neurons.

        Returns
        -------
        str
            `path`.

        Raises
        ------
        ValueError
            If there are more or fewer names than neurons.
        OSError
            If the file cannot be written.
        """
        from chainrule.explain.html_page import to_html

        return to_html(self, path, title=title, input_names=input_names, output_names=output_names)

    def _quantities(self) -> Iterator[Quantity]:
        sizes = "-".join(str(a.shape[-1]) for a in self.a)
        samples = "one sample" if self.y.ndim == 1 else f"{len(self.y)} samples, n x n_l"
        yield Quantity(f"{sizes}, {self.loss}: {samples}")
        yield from self._forward()
        yield Quantity("cost" if self.y.ndim == 1 else "cost: the mean over the samples")
        yield Quantity("y", "", self.y)
        yield Quantity("C", f"= {LOSSES[self.loss].cost}", self.cost)
        yield from self._backward()

    def _forward(self) -> Iterator[Quantity]:
        yield Quantity("forward, layer 0: input")
        yield Quantity("a^0", "= x", self.a[0])
        for i, activation in enumerate(self.activations):
            layer, bias = i + 1, f" + b^{i + 1}" if self.biases else ""
            yield Quantity(
                f"forward, layer {layer}: {activation}, g(z_j) = {ACTIVATIONS[activation].formula}"
            )
            yield Quantity(f"W^{layer}", "", self.weights[i])
            if self.biases:
                yield Quantity(f"b^{layer}", "", self.biases[i])
            yield Quantity(f"z^{layer}", f"= W^{layer} a^{i}{bias}", self.z[i])
            yield Quantity(f"a^{layer}", f"= g(z^{layer})", self.a[layer])

    def _backward(self) -> Iterator[Quantity]:
        for i in reversed(range(len(self.z))):
            layer, activation = i + 1, self.activations[i]
            yield Quantity(
                f"backward, layer {layer}: {activation}, g'(z_j) = {ACTIVATIONS[activation].slope}"
            )
            hidden = layer < len(self.z)
            formula = f"(W^{layer + 1})ᵀ δ^{layer + 1}" if hidden else LOSSES[self.loss].slope
            yield Quantity(f"∂C/∂a^{layer}", f"= {formula}", self.dC_da[i])
            yield Quantity(f"g'(z^{layer})", "", self.g_prime[i])
            error = f"∂C/∂a^{layer} ⊙ g'(z^{layer})"
            if activation == "softmax":
                error = "Σ_i ∂C/∂a_i ∂a_i/∂z_j"
            yield Quantity(f"δ^{layer}", f"= {error}", self.delta[i])
            mean = "" if self.y.ndim == 1 else "mean of "
            yield Quantity(f"∇W^{layer}", f"= {mean}δ^{layer} (a^{i})ᵀ", self.grad_weights[i])
            if self.grad_biases:
                yield Quantity(f"∇b^{layer}", f"= {mean}δ^{layer}", self.grad_biases[i])


def _as_text(quantity: Quantity) -> str:
    if quantity.value is None:
        return quantity.symbol
    start = f"  {quantity.symbol:<8}{quantity.formula:<25} {quantity.shape:<9}"
    if isinstance(quantity.value, float):
        return f"{start.rstrip()} = {number(quantity.value)}"
    return start + np.array2string(
        quantity.value + 0.0,  # prints -0 as 0
        prefix=start,
        precision=6,
        threshold=WHOLE**2,
        edgeitems=EDGE,
        max_line_width=120,
    )


def _as_html(quantity: Quantity) -> str:
    if quantity.value is None:
        return f'<tr><th colspan="4">{mathematics(quantity.symbol)}</th></tr>'
    symbol, formula = mathematics(quantity.symbol), mathematics(quantity.formula)
    if isinstance(quantity.value, float):
        rest = f'<td colspan="3">{formula} = <b>{number(quantity.value)}</b></td>'
    else:
        shape = quantity.shape.replace("x", " × ")
        rest = f"<td>{formula}</td><td>{shape}</td><td>{_values(quantity.value)}</td>"
    return f"<tr><td>{symbol}</td>{rest}</tr>"


def _values(array: NDArray[Any]) -> str:
    """Return an array as a table; the deeper a cell, the larger its number beside the others."""
    rows = np.atleast_2d(array)
    largest = np.abs(rows[np.isfinite(rows)]).max(initial=0) or 1
    lines = []
    for i in _shown(rows.shape[0]):
        cells = [
            _cell(rows[i, j], largest) if i >= 0 <= j else "<td>…</td>"
            for j in _shown(rows.shape[1])
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<table class="values">{"".join(lines)}</table>'


def _shown(n: int) -> list[int]:
    """Return the places that are shown of n, with -1 for those that are left out."""
    return list(range(n)) if n <= WHOLE else [*range(EDGE), -1, *range(n - EDGE, n)]


def _cell(value: Any, largest: Any) -> str:
    # Orange above 0, blue below: colours that every kind of sight tells apart.
    colour = "230, 115, 0" if value > 0 else "40, 120, 220"
    strength = 0.45 * (abs(value) / largest) ** 0.5 if np.isfinite(value) else 0
    return f'<td style="background: rgba({colour}, {strength:.2f})">{float(value) + 0.0:.4g}</td>'


def trace(network: _core.Network, x: ArrayLike, y: ArrayLike) -> Trace:
    """Record one pass of `network`; see ``Network.trace``."""
    # NumPy refuses to resize an array that a weak reference names: as in the core, the conversion
    # of one argument cannot change the other.
    pins = [weakref.ref(array) for array in (x, y) if isinstance(array, np.ndarray)]
    weights = tuple(w.copy() for w in network.weights)
    a, z, g_prime, delta = _core.trace(network, x, y)
    cost, grad_weights, grad_biases = _core.gradients(network, x, y, warn=False)
    outputs = np.atleast_2d(a[-1])
    with np.errstate(all="ignore"):  # as everywhere: an overflow is infinite, and no warning
        targets = targets_of(as_batch(x, y, None)[1], outputs).reshape(a[-1].shape)
        at_output = LOSSES[network.loss].dC_da(a[-1], targets)
    del pins
    return Trace(
        a=a,
        z=z,
        g_prime=g_prime,
        delta=delta,
        grad_weights=grad_weights,
        grad_biases=grad_biases,
        cost=cost,
        y=targets,
        dC_da=(*(through(w, d) for w, d in zip(weights[1:], delta[1:], strict=True)), at_output),
        weights=weights,
        biases=tuple(b.copy() for b in network.biases),
        activations=network.activations,
        loss=network.loss,
    )
