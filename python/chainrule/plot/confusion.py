"""Which classes a network takes for which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.inputs.arrays import as_batch
from chainrule.plot.canvas import axes_or_new, check_network
from chainrule.plot.classes import (
    checked_names,
    number_of_classes,
    predicted_classes,
    target_classes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from chainrule._core import Network, Predictor

# Text in points: the largest, and what is too small to read.
USUAL_TEXT = 10.0
SMALLEST_TEXT = 4.0


def confusion_matrix(
    network: Network | Predictor,
    x: ArrayLike,
    y: ArrayLike,
    class_names: Sequence[object] | None = None,
    *,
    shares: bool = False,
    colorbar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw how many samples of each class the network takes for which class.

    A row is a true class, a column an answer. The colour is the share of the true class's samples,
    so that rare classes are seen as well as frequent ones; the numbers are counts. A cell without
    samples stays empty, and so do all where they are too small for numbers.

    Parameters
    ----------
    network : Network or Predictor
        With several outputs, of which the largest is the answer; or with one output, a sigmoid
        (class 1 from 1/2 on) or tanh (class 1 from 0 on).
    x : array_like of shape (n, n_0)
        Inputs. They go through the network in slices, so memory is bounded.
    y : array_like
        Integer labels of shape (n,), or rows of shape (n, n_L) whose largest entry is the class;
        with one output, targets of shape (n,) or (n, 1).
    class_names : sequence of str, optional
        One a class; by default 0, 1, 2, ….
    shares : bool, default False
        Write percentages of the true class in place of counts.
    colorbar : bool, default True
        Explain the colours with a bar beside the matrix.
    ax : Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If shapes or labels do not fit the network, a target names no single class, or an output
        is not finite.
    """
    check_network(network)
    x, y, _ = as_batch(x, y, None)
    n = number_of_classes(network)
    names = checked_names(class_names, n)
    if not len(x):
        raise ValueError("a confusion matrix needs at least one sample")
    counts = _counts(target_classes(network, y), predicted_classes(network, x), n)
    right, total = int(counts.trace()), int(counts.sum())
    portions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    side = float(np.clip(0.45 * n + 1.5, 4.5, 12))
    ax = axes_or_new(ax, side * 1.2, side)
    image = ax.imshow(portions, cmap="Blues", vmin=0, vmax=1)
    cell = _cell_size(ax, n)
    _name_classes(ax, names, cell)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.set_title(f"Confusion matrix: {right:,} of {total:,} right ({right / total:.1%})")
    _write(ax, counts, portions, shares, cell)
    if colorbar:
        bar = ax.figure.colorbar(image, ax=ax, shrink=0.8)
        bar.set_label("share of the true class")
    return ax


def _counts(true: NDArray[np.intp], predicted: NDArray[np.intp], n: int) -> NDArray[np.int64]:
    return np.bincount(true * n + predicted, minlength=n * n).reshape(n, n)


def _cell_size(ax: Axes, n: int) -> float:
    """Return about how many points a cell is wide and high, with room for labels and bar."""
    box = ax.get_window_extent()
    return 0.8 * min(box.width, box.height) / n * 72 / ax.figure.dpi


def _name_classes(ax: Axes, names: list[str], cell: float) -> None:
    """Write the names along both axes, aslant if they are long, smaller if cells are small."""
    every = range(len(names))
    if cell < USUAL_TEXT:
        ax.set_xticks(every, names, rotation=90, fontsize=0.8 * cell)
        ax.set_yticks(every, names, fontsize=0.8 * cell)
        return
    ax.set_yticks(every, names)
    if max(map(len, names)) > 3:
        ax.set_xticks(every, names, rotation=45, ha="right", rotation_mode="anchor")
    else:
        ax.set_xticks(every, names)


def _write(
    ax: Axes, counts: NDArray[Any], portions: NDArray[Any], shares: bool, cell: float
) -> None:
    """Write a number into each cell with samples, as large as fits; none where that is tiny."""
    places = np.argwhere(counts)
    texts = [f"{portions[i, j]:.0%}" if shares else f"{counts[i, j]:d}" for i, j in places]
    size = min(USUAL_TEXT, 0.6 * cell, cell / (0.65 * max(map(len, texts))))
    if size < SMALLEST_TEXT:
        return
    for (i, j), text in zip(places, texts, strict=True):
        colour = "white" if portions[i, j] > 0.55 else "black"
        ax.text(j, i, text, ha="center", va="center", fontsize=size, color=colour)
