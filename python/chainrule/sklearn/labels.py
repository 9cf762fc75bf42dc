"""Class labels on their way to the network's targets and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, issparse
from sklearn.utils.multiclass import type_of_target, unique_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Labels:
    """What the classes are, and how the outputs stand for them.

    Attributes
    ----------
    kind : {"binary", "multiclass", "multilabel"}
        One sigmoid output for the second of two classes, a softmax output a class, or a sigmoid
        output a label.
    classes : ndarray
        The labels, sorted; of a multi-label target the columns' numbers.
    n_outputs : int
    """

    def __init__(self, kind: str, classes: NDArray[Any], sparse: bool = False) -> None:
        self.kind = kind
        self.classes = classes
        self.sparse = sparse  # multi-label answers are then sparse, too
        self.n_outputs = 1 if kind == "binary" else len(classes)

    @classmethod
    def of(cls, y: Any, classes: ArrayLike | None = None) -> Labels:
        """Return the labels of a target, or those that `classes` lists."""
        target = type_of_target(y, input_name="y")
        if target == "multilabel-indicator":
            return cls("multilabel", np.arange(y.shape[1]), issparse(y))
        if target == "multiclass-multioutput":
            raise ValueError(
                f"y of shape {y.shape} holds several multi-class targets. Expected one label a "
                "sample, or a matrix of 0 and 1 (multi-label): fit one classifier a target, "
                "with sklearn.multioutput.MultiOutputClassifier for instance"
            )
        if target not in ("binary", "multiclass"):
            raise ValueError(
                f"Unknown label type: {target}. Expected classes, not numbers of a scale: take "
                "MLPRegressor for those, or make classes of them"
            )
        known = np.unique(y) if classes is None else unique_labels(classes)
        return cls("multiclass" if len(known) > 2 else "binary", known)

    def unknown(self, y: Any) -> NDArray[Any]:
        """Return the labels in `y` that are not among the classes."""
        if self.kind == "multilabel":
            columns = np.arange(y.shape[1] if y.ndim == 2 else 1)
            return np.setdiff1d(columns, self.classes)
        return np.setdiff1d(y, self.classes)

    def differ(self, y: Any) -> bool:
        """Tell whether `y` has other classes than these."""
        other = Labels.of(y)
        return other.kind != self.kind or not np.array_equal(other.classes, self.classes)

    def indices(self, y: Any) -> Any:
        """Return the classes' numbers, shape (n,); of a multi-label target the matrix of bools."""
        if self.kind == "multilabel":
            return np.asarray(y.toarray() if issparse(y) else y).astype(bool)
        return np.searchsorted(self.classes, y)

    def targets(self, indices: Any, one_hot: bool) -> Any:
        """Return what the network is trained on: numbers of classes, or an output's 0 and 1."""
        if self.kind == "binary":
            return indices > 0
        if self.kind == "multiclass" and one_hot:
            return indices[:, None] == np.arange(len(self.classes))
        return indices

    def decide(self, outputs: NDArray[Any]) -> Any:
        """Return the most probable answers to the network's outputs, as ``indices`` does."""
        if self.kind == "multiclass":
            return outputs.argmax(axis=1)
        likely = outputs > 0.5
        return likely if self.kind == "multilabel" else likely[:, 0].astype(np.intp)

    def decode(self, indices: Any) -> Any:
        """Return the labels of what ``decide`` returned."""
        if self.kind == "multilabel":
            matrix = indices.astype(int)
            return csr_matrix(matrix) if self.sparse else matrix
        # A binary target of one class alone: its only output has learnt to say no.
        return self.classes[np.minimum(indices, len(self.classes) - 1)]
