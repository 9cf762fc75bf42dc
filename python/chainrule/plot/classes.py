"""Classes of samples: what the targets say, and what a network answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.inputs.arrays import row_slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule._core import Network, Predictor

# One output says which of two classes: on which side of this it is.
THRESHOLDS = {"sigmoid": 0.5, "tanh": 0.0}


def threshold_of(network: Network | Predictor) -> float | None:
    """Return the border between two classes of a single output; None if it gives values."""
    return THRESHOLDS.get(network.activations[-1]) if network.sizes[-1] == 1 else None


def number_of_classes(network: Network | Predictor) -> int:
    """Return 2 for a single sigmoid or tanh output, else the number of outputs.

    Raises ValueError for a single output of any other kind, which gives values.
    """
    if network.sizes[-1] > 1:
        return network.sizes[-1]
    if threshold_of(network) is None:
        raise ValueError(
            f"a single output of {network.activations[-1]} gives values, not classes: "
            "use several outputs, or a sigmoid or tanh"
        )
    return 2


def predicted_classes(network: Network | Predictor, x: NDArray[Any]) -> NDArray[np.intp]:
    """Return the class of each row that `network` answers, in bounded memory."""
    threshold = threshold_of(network)
    classes = np.empty(len(x), np.intp)
    for part in row_slices(len(x), max(network.sizes)):
        a = network.predict(x[part])
        lost = ~np.isfinite(a).all(axis=1)
        if lost.any():
            row = part.start + int(lost.argmax())
            raise ValueError(f"the network's outputs for row {row} are not finite")
        classes[part] = a.argmax(axis=1) if threshold is None else a[:, 0] >= threshold
    return classes


def target_classes(network: Network | Predictor, y: NDArray[Any]) -> NDArray[np.intp]:
    """Return the class of each target: labels, or rows whose largest entry names it."""
    outputs, n = network.sizes[-1], number_of_classes(network)
    if outputs == 1 and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if outputs == 1 and y.ndim == 1:
        border = THRESHOLDS[network.activations[-1]]
        if border == 0 and len(y) and not (np.abs(y) == 1).all():
            raise ValueError("targets of a single tanh output must be -1 or 1 to name a class")
        return (y >= border).astype(np.intp)
    if y.ndim == 1 and y.dtype.kind in "biu":
        if len(y) and not (y.min() >= 0 and y.max() < n):
            raise ValueError(f"labels must be 0 to {n - 1}, got {y.min()} to {y.max()}")
        return y.astype(np.intp)
    if y.shape != (len(y), outputs):
        raise ValueError(
            f"y must be integer labels of shape ({len(y)},) or rows of shape "
            f"({len(y)}, {outputs}), got {y.dtype} of shape {y.shape}"
        )
    largest = y == y.max(axis=1, keepdims=True)
    several = largest.sum(axis=1) != 1
    if several.any():
        raise ValueError(
            f"y must name one class a sample, but row {int(several.argmax())} has no single "
            "largest entry"
        )
    classes: NDArray[np.intp] = largest.argmax(axis=1)
    return classes


def checked_names(names: Sequence[object] | None, n: int) -> list[str]:
    """Return `names` as n strings, or the numbers of the classes."""
    if names is None:
        return [str(i) for i in range(n)]
    if isinstance(names, str) or len(names) != n:
        raise ValueError(f"class_names must hold {n} names, one a class, got {names!r}")
    return [str(name) for name in names]
