"""The arrays of one pass forward and back, which a trace prints and a page draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[Any], ...]


@dataclass(frozen=True, eq=False, repr=False)
class Quantities:
    """The attributes of a ``Trace``, which says what they are."""

    a: Arrays
    z: Arrays
    g_prime: Arrays
    delta: Arrays
    grad_weights: Arrays
    grad_biases: Arrays
    cost: float
    y: NDArray[Any]
    dC_da: Arrays
    weights: Arrays
    biases: Arrays
    activations: tuple[str, ...]
    loss: str
