"""Networks built layer by layer from what other packages call their operations.

Affine maps that follow one another are folded into one layer: a scaling of the inputs, a batch
normalisation, a factor on the outputs. Folding is done in float64 and rounded once, at the end;
weights that nothing is folded into keep their bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule import _core
from chainrule.inputs.arrays import real_array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Vector = NDArray[np.float64]

# Weights that a scaling behind the last activation may take, if four times the others are fewer.
DIAGONAL = 2**20


class Layer(NamedTuple):
    """a = g(W x + b), with W of shape (n_out, n_in)."""

    w: NDArray[np.float64]
    b: Vector | None
    activation: str


@dataclass(frozen=True, eq=False)
class Stack:
    """Layers, and an affine map behind them that no activation has closed yet.

    The map is matrix @ (layers' output) + shift, or scale * (layers' output) + shift where there
    is no matrix.
    """

    width: int
    layers: tuple[Layer, ...] = ()
    matrix: NDArray[np.float64] | None = None
    scale: Vector | None = None
    shift: Vector | None = None

    def linear(self, w: ArrayLike, b: ArrayLike | None = None) -> Stack:
        """Follow with W x + b, W of shape (n_out, n_in)."""
        w = np.asarray(w, np.float64)
        if w.ndim != 2 or w.shape[1] != self.width:
            raise ValueError(f"weights of shape {w.shape} do not fit {self.width} inputs")
        if self.matrix is not None:
            return self.activation("identity").linear(w, b)
        shift = None if b is None else np.broadcast_to(np.asarray(b, np.float64), len(w))
        if self.shift is not None:
            # One after the other: BLAS's sums depend on the processor.
            folded = (w * self.shift).cumsum(axis=1)[:, -1]
            shift = folded if shift is None else folded + shift
        if self.scale is not None:
            w = w * self.scale
        return Stack(len(w), self.layers, w, None, shift)

    def affine(self, scale: ArrayLike = 1.0, shift: ArrayLike = 0.0) -> Stack:
        """Follow with scale * x + shift, element by element."""
        scale, shift = (
            np.broadcast_to(np.asarray(v, np.float64), self.width) for v in (scale, shift)
        )
        ones, zeros = bool((scale == 1).all()), bool((shift == 0).all())
        matrix, old_scale, old_shift = self.matrix, self.scale, self.shift
        if not ones:
            old_shift = None if old_shift is None else old_shift * scale
            if matrix is not None:
                matrix = matrix * scale[:, None]
            else:
                old_scale = scale if old_scale is None else old_scale * scale
        if not zeros:
            old_shift = shift if old_shift is None else old_shift + shift
        return replace(self, matrix=matrix, scale=old_scale, shift=old_shift)

    def activation(self, name: str) -> Stack:
        """Follow with an activation, which closes a layer."""
        if self.matrix is None:
            raise ValueError(f"{name} does not follow a layer of weights")
        return Stack(self.width, (*self.layers, Layer(self.matrix, self.shift, name)))

    def follow(self, network: _core.Network) -> Stack:
        """Follow with all layers of a network; an identity at its end is left open."""
        stack = self
        biases = network.biases or (None,) * len(network.weights)
        for w, b, name in zip(network.weights, biases, network.activations, strict=True):
            stack = stack.linear(w, b)
            if name != "identity":
                stack = stack.activation(name)
        return stack

    @property
    def closed(self) -> bool:
        """Whether an activation is the last thing."""
        return self.matrix is self.scale is self.shift is None

    def complete(self) -> Stack:
        """Close the last layer; ValueError with the reason if the layers are no network's."""
        stack = self
        if self.matrix is None and not self.closed:
            stack = self._diagonal()  # a scaling behind the last activation
        if stack.matrix is not None:
            stack = stack.activation("identity")
        if not stack.layers:
            raise ValueError("there is no layer of weights")
        for position, layer in enumerate(stack.layers, start=1):
            if layer.activation not in _core.ACTIVATIONS:
                raise ValueError(f"layer {position} has the activation {layer.activation}")
        return stack

    def arrays(self) -> tuple[list[tuple[NDArray[np.float64], Vector | None]], list[str]]:
        """Return W and b of each layer, and the activations, for ``Network.from_arrays``."""
        layers = self.complete().layers
        return [(layer.w, layer.b) for layer in layers], [layer.activation for layer in layers]

    def _diagonal(self) -> Stack:
        n_weights = sum(layer.w.size for layer in self.layers)
        if self.width**2 > max(DIAGONAL, 4 * n_weights):
            raise ValueError(
                f"a scaling of {self.width} outputs behind the last activation would be a layer "
                f"of {self.width**2} weights, and all others have {n_weights}: leave the scaling "
                "out of the model, and apply it to the network's outputs"
            )
        scale = np.ones(self.width) if self.scale is None else self.scale
        return Stack(self.width, self.layers, np.diag(scale), None, self.shift)


def behind_scaling(network: _core.Network, mean: ArrayLike, scale: ArrayLike) -> Stack:
    """Return (x - mean)/scale followed by the network; see ``Network.with_input_scaling``."""
    width = network.sizes[0]
    checked = []
    for name, value in (("mean", mean), ("scale", scale)):
        array = real_array(value, name).astype(np.float64)
        if array.shape not in ((), (width,)):
            raise ValueError(f"{name} must have shape ({width},), got {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite")
        checked.append(array)
    if not checked[1].all():
        raise ValueError("scale must not be 0")
    return Stack(width).affine(1 / checked[1], -checked[0] / checked[1]).follow(network)
