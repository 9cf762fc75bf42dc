"""Weights and biases that came from elsewhere, as one list of layers in one orientation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.inputs.arrays import real_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    # W of shape (n_out, n_in), b of shape (n_out,)
    Layer = tuple[NDArray[Any], NDArray[Any] | None]

ROWS = ("outputs", "inputs")


def layers_of(pairs: Iterable[Any], rows: str | None) -> list[Layer]:
    """Return W of shape (n_out, n_in) and b of each layer.

    `rows` says what a row of every given W belongs to: "outputs" for shape (n_out, n_in),
    "inputs" for (n_in, n_out), None for what the chain of widths and the biases decide.

    Raises
    ------
    ValueError, TypeError
        If a pair is none, widths do not follow one another, or both orientations fit.
    """
    if rows is not None and rows not in ROWS:
        raise ValueError(f"rows must be 'outputs', 'inputs' or None, got {rows!r}")
    given = [_pair(number, pair) for number, pair in enumerate(pairs, start=1)]
    if not given:
        raise ValueError("there are no weights: give one (W, b) per layer")
    faults = {way: _fault(given, way) for way in ROWS if rows in (None, way)}
    fitting = [way for way, fault in faults.items() if fault is None]
    if not fitting:
        ways = "; ".join(f"with rows={way!r}, {fault}" for way, fault in faults.items())
        raise ValueError(f"the weights do not follow one another: {ways}")
    if len(fitting) == 2 and any(not np.array_equal(w, w.T) for w, _ in given):
        shapes = ", ".join(str(w.shape) for w, _ in given)
        raise ValueError(
            f"weights of shapes {shapes} fit in both orientations: pass rows='outputs' if a row "
            "of W belongs to an output, as in PyTorch, rows='inputs' if it belongs to an input, "
            "as in Keras, Flax and scikit-learn"
        )
    return [(w if fitting[0] == "outputs" else w.T, b) for w, b in given]


def _pair(number: int, pair: Any) -> Layer:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"layer {number} must be (W, b), with None for no bias, got {pair!r:.80}")
    w, b = pair
    w = real_array(w, f"W of layer {number}")
    b = None if b is None else real_array(b, f"b of layer {number}")
    if w.ndim != 2 or 0 in w.shape:
        raise ValueError(f"W of layer {number} must be a matrix, got shape {w.shape}")
    if b is not None and b.ndim != 1:
        raise ValueError(f"b of layer {number} must have one axis, got shape {b.shape}")
    return w, b


def _fault(layers: Sequence[Layer], way: str) -> str | None:
    """Return what does not fit if rows belong to outputs, or inputs; None where all does."""
    width = None
    for number, (w, b) in enumerate(layers, start=1):
        n_out, n_in = w.shape if way == "outputs" else w.shape[::-1]
        if width is not None and n_in != width:
            return f"layer {number} has {n_in} inputs, and layer {number - 1} {width} outputs"
        if b is not None and len(b) != n_out:
            return f"layer {number} has {n_out} outputs and {len(b)} biases"
        width = n_out
    return None
