"""Weights of classes, which become weights of samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.inputs.arrays import real_array, row_slices

SHOWN = 16  # weights in a message

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule import _core


class ClassWeight:
    """A weight for each class.

    Parameters
    ----------
    network : Network
        With cross_entropy, whose outputs are the classes; or binary_cross_entropy and one output:
        classes 0 and 1.
    value : "balanced", dict or sequence
        See ``Network.fit``.
    y : ndarray, optional
        The targets that "balanced" counts.
    """

    def __init__(self, network: _core.Network, value: Any, y: NDArray[Any] | None = None) -> None:
        self.n = _n_classes(network)
        self.binary = network.loss == "binary_cross_entropy"
        if isinstance(value, str):
            self.weights = self._balanced(value, y)
        elif isinstance(value, Mapping):
            self.weights = self._from_mapping(value)
        else:
            listed = list(value) if hasattr(value, "__iter__") else value
            self.weights = np.array(real_array(listed, "class_weight"), np.float64)
        if self.weights.shape != (self.n,):
            raise ValueError(
                f"class_weight must have one weight a class, {self.n}, "
                f"got shape {self.weights.shape}"
            )
        if not (np.isfinite(self.weights).all() and (self.weights >= 0).all()):
            raise ValueError(f"weights of classes must be finite and >= 0, got {self.weights}")

    def __str__(self) -> str:
        """Return the weights, or of many a SHA-256."""
        import hashlib

        if self.n <= SHOWN:
            return str(self.weights.tolist())
        return f"{self.n} weights, SHA-256 {hashlib.sha256(self.weights.data).hexdigest()[:32]}"

    def times(self, y: NDArray[Any], weight: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Return the weights of samples with targets y, times those they have."""
        result = np.empty(len(y))
        for part in row_slices(len(y), 1 if y.ndim == 1 else y.shape[1]):
            result[part] = self.weights[self._classes(y[part])]
        return result if weight is None else result * weight

    def _balanced(self, value: str, y: NDArray[Any] | None) -> NDArray[np.float64]:
        if value != "balanced":
            raise ValueError(
                f"class_weight must be 'balanced', a dict or a sequence, got {value!r}"
            )
        if y is None:
            raise ValueError(
                "class_weight='balanced' has to count the classes beforehand, which a stream does "
                "not allow: give a dict or a sequence"
            )
        counts = np.zeros(self.n)
        for part in row_slices(len(y), 1 if y.ndim == 1 else y.shape[1]):
            counts += np.bincount(self._classes(y[part]), minlength=self.n)
        # A class without samples is not counted; its weight is never used.
        return len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1))

    def _from_mapping(self, value: Mapping[Any, Any]) -> NDArray[np.float64]:
        weights = np.ones(self.n)
        for label, weight in value.items():
            if isinstance(label, bool) or not hasattr(label, "__index__"):
                raise TypeError(f"class_weight's keys must be integers, got {label!r}")
            if not 0 <= label.__index__() < self.n:
                raise ValueError(
                    f"class_weight has the class {label}, expected one of 0 … {self.n - 1}"
                )
            if np.ndim(weight) or np.asarray(weight).dtype.kind not in "biuf":
                raise TypeError(f"weights of classes must be numbers, got {weight!r}")
            weights[label.__index__()] = weight
        return weights

    def _classes(self, y: NDArray[Any]) -> NDArray[np.intp]:
        """Return each sample's class, from its label or its row of targets."""
        if self.binary:
            return (y.reshape(len(y)) >= 0.5).astype(np.intp)
        return y.astype(np.intp) if y.ndim == 1 else y.argmax(axis=1)


def _n_classes(network: _core.Network) -> int:
    n_outputs = network.sizes[-1]
    if network.loss == "cross_entropy":
        return n_outputs
    if network.loss == "binary_cross_entropy" and n_outputs == 1:
        return 2
    raise ValueError(
        "class_weight needs classes: the loss cross_entropy, or binary_cross_entropy with one "
        f"output; the loss is {network.loss} with {n_outputs} outputs: give sample_weight"
    )
