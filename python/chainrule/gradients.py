"""Gradients of a cost, and the flat order of all parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def flatten(weights: Sequence[NDArray[Any]], biases: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Copy W¹ row-major, b¹, W², b², … into one vector (without the b if there are none)."""
    layers = zip(weights, biases, strict=True) if biases else ((w,) for w in weights)
    parts = [part for layer in layers for part in layer]
    flat = np.empty(sum(part.size for part in parts), parts[0].dtype)
    start = 0
    for part in parts:
        flat[start : start + part.size].reshape(part.shape)[...] = part
        start += part.size
    return flat


class Gradients:
    """Derivatives of a cost with respect to every parameter; immutable.

    Attributes
    ----------
    cost : float or None
        The cost itself; None where it is not known, as after ``Network.vjp``.
    weights, biases : tuple of ndarray
        ∇W^l and ∇b^l, with the shapes of ``Network.weights`` and ``Network.biases``.
    """

    __slots__ = ("_biases", "_cost", "_weights")

    def __init__(
        self,
        cost: float | None,
        weights: Sequence[NDArray[Any]],
        biases: Sequence[NDArray[Any]],
    ) -> None:
        self._cost = cost
        self._weights = tuple(weights)
        self._biases = tuple(biases)

    @property
    def cost(self) -> float | None:
        """The cost, or None where it is not known."""
        return self._cost

    @property
    def weights(self) -> tuple[NDArray[Any], ...]:
        """∇W^l of layer l = 1..L at index l - 1, shape (n_l, n_{l-1})."""
        return self._weights

    @property
    def biases(self) -> tuple[NDArray[Any], ...]:
        """∇b^l of layer l = 1..L at index l - 1, shape (n_l,); () for a network without."""
        return self._biases

    def flatten(self) -> NDArray[Any]:
        """Copy all gradients into one vector, in the order of ``Network.get_parameters``."""
        return flatten(self._weights, self._biases)

    def __repr__(self) -> str:
        shapes = ", ".join("x".join(map(str, w.shape)) for w in self._weights)
        biases = ", with biases" if self._biases else ""
        return f"Gradients(cost={self._cost}, weights=[{shapes}]{biases})"
