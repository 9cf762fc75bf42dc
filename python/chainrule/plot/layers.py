"""Activations, slopes, errors and gradients, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.activations import ACTIVATIONS
from chainrule.explain.trace import Trace, trace
from chainrule.inputs.arrays import as_batch
from chainrule.inputs.numbers import count
from chainrule.plot.canvas import (
    BLUE,
    GREEN,
    ORANGE,
    VERMILLION,
    check_network,
    figure_or_new,
    grid_of_axes,
    module,
    some_rows,
    text_colour,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase
    from numpy.typing import ArrayLike, NDArray

    from chainrule import _core

# A slope is flat below this share of the steepest: next to nothing passes back through it.
FLAT = 0.01

# Shares of the values that the marks of a distribution lie above.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

# The most bins of a histogram; fewer for few values, about the square root of their number.
BINS = 60

# Up to so many layers, panels stand side by side and every layer is named.
FEW = 8

# Up to so many, there is room for a share below each.
SOME = 40


def distributions(
    network: _core.Network,
    x: ArrayLike,
    y: ArrayLike,
    *,
    max_samples: int = 1000,
    figure: FigureBase | None = None,
) -> NDArray[Any]:
    """Draw how activations, slopes, errors and gradients are distributed in each layer.

    Four panels with a column a layer, from one ``Network.trace``:

    - the activations a^l of all neurons and samples, with the input as layer 0;
    - of each hidden layer, the share of slopes g'(z_j) that are flat, that is, below 1 % of the
      activation's steepest; and the share and number of *dead* neurons, whose slope is flat for
      every sample: a ReLU that never fires, a sigmoid that is stuck at 0 or 1;
    - the sizes |δ_j| of the errors, each of one sample's own cost, on a logarithmic scale;
    - the sizes |∂C/∂w_jk| of the gradients of the mean cost, likewise.

    Where errors and gradients sink by orders of magnitude towards layer 1 they vanish; where they
    rise, they explode. The width of a shape is the density of the values; the thin bar goes from
    the 5th to the 95th percentile, the thick one from the 25th to the 75th, the dot is the median.
    Zeros are left out of all three: their share is written below the layer.

    Parameters
    ----------
    network : Network
    x, y : array_like
        Samples and targets, as for ``Network.trace``.
    max_samples : int, default 1000
        At most so many samples are used, a random but always the same choice. Memory is some
        16 bytes (32 in float64) for each of their neurons, and a few times the parameters.
    figure : Figure or SubFigure, optional
        Where to draw; by default a new figure. A Figure without a layout engine gets the
        constrained one.

    Returns
    -------
    ndarray of Axes, of shape (4,)
        Activations, slopes, errors, gradients.
    """
    check_network(network, "trace")
    x, y, _ = as_batch(x, y, None)
    if not len(x):
        raise ValueError("distributions need at least one sample")
    rows = some_rows(len(x), count(max_samples, "max_samples"))
    traced = trace(network, x[rows], y[rows])
    layers = len(traced.z)
    columns = 2 if layers <= FEW else 1
    each = np.clip(0.75 * (layers + 1), 5.2, 7) if columns == 2 else np.clip(0.5 * layers, 8, 20)
    figure = figure_or_new(figure, float(each) * columns, 3.6 * 4 / columns)
    panels = grid_of_axes(figure, 4 // columns, columns).reshape(-1)

    activations, slopes, errors, gradients = panels
    names = ("input", *traced.activations) if layers <= FEW else ("",) * (layers + 1)
    _draw_values(activations, traced.a, names)
    _draw_slopes(slopes, traced, names[1:-1])
    _draw_sizes(errors, traced.delta, names[1:], "Errors", r"$|\delta_j|$", ORANGE)
    _draw_sizes(
        gradients,
        traced.grad_weights,
        names[1:],
        "Gradients",
        r"$|\partial C/\partial w_{jk}|$",
        GREEN,
    )
    used = f"{len(rows):,}" if len(rows) == len(x) else f"{len(rows):,} of {len(x):,}"
    figure.suptitle(f"Layer by layer, {used} samples")
    return panels


def _draw_values(ax: Axes, arrays: Sequence[NDArray[Any]], names: Sequence[str]) -> None:
    """Draw the activations of each layer, from layer 0, on a linear scale."""
    notes, marks = [], {}
    for layer, array in enumerate(arrays):
        values, note = _drawable(array)
        notes.append(note)
        if values.size:
            low, high = float(values.min()), float(values.max())
            margin = 0.0 if high > low else 0.01 * abs(high)
            edges = np.linspace(low - margin, high + margin, _bins(values) + 1)
            _draw_shape(ax, layer, np.histogram(values, edges)[0], edges, BLUE)
            marks[layer] = np.quantile(values, QUANTILES)
    _draw_marks(ax, marks)
    ax.set(title="Activations", ylabel="$a_j$")
    _label_layers(ax, 0, names, notes)


def _draw_sizes(
    ax: Axes,
    arrays: Sequence[NDArray[Any]],
    names: Sequence[str],
    title: str,
    symbol: str,
    colour: str,
) -> None:
    """Draw the absolute values of each layer, from layer 1, on a logarithmic scale."""
    notes, marks = [], {}
    ax.set_yscale("log")
    for layer, array in enumerate(arrays, start=1):
        values, note = _drawable(array)
        sizes = np.abs(values).astype(np.float64)
        notes.append(note)
        if sizes.size:
            logs = np.log10(sizes)
            edges = np.linspace(logs.min() - 0.01, logs.max() + 0.01, _bins(sizes) + 1)
            _draw_shape(ax, layer, np.histogram(logs, edges)[0], 10.0**edges, colour)
            marks[layer] = np.quantile(sizes, QUANTILES)
    _draw_marks(ax, marks)
    if len(arrays) > 1 and {1, len(arrays)} <= marks.keys():
        ratio = marks[1][2] / marks[len(arrays)][2]
        factor = f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"
        title += f": median of layer 1 is {factor} × that of layer {len(arrays)}"
    ax.set(title=title, ylabel=symbol)
    _label_layers(ax, 1, names, notes)


def _drawable(array: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """Return the numbers other than 0, and what share of the array is left out and why."""
    finite = array[np.isfinite(array)]
    values = finite[finite != 0]
    if len(finite) < array.size:
        return values, _percent(array.size - len(finite), array.size) + " not finite"
    if len(values) < array.size:
        return values, _percent(array.size - len(values), array.size) + " zero"
    return values, ""


def _bins(values: NDArray[Any]) -> int:
    return int(np.clip(np.sqrt(values.size), 8, BINS))


def _draw_slopes(ax: Axes, trace: Trace, names: Sequence[str]) -> None:
    """Draw what share of each hidden layer's slopes is flat, and of its neurons dead."""
    pairs = list(zip(trace.g_prime, trace.activations, strict=True))[:-1]
    flat = [
        np.atleast_2d(np.abs(slopes) < FLAT * ACTIVATIONS[name].steepest) for slopes, name in pairs
    ]
    dead = [layer.all(axis=0) for layer in flat]
    ax.set(title="Flat slopes and dead neurons of hidden layers", ylabel="share", ylim=(0, 1.1))
    ax.set_yticks(np.linspace(0, 1, 6))
    ax.yaxis.set_major_formatter(module("ticker").PercentFormatter(1.0))
    if pairs:
        places = np.arange(1, len(pairs) + 1)
        shares = [layer.mean() for layer in flat]
        ax.bar(places - 0.2, shares, 0.4, color="#56B4E9", label="flat slopes")
        shares = [layer.mean() for layer in dead]
        bars = ax.bar(places + 0.2, shares, 0.4, color=VERMILLION, label="dead neurons")
        of = [f" of {layer.size:,}" if any(names) else "" for layer in dead]
        counts = [f"{layer.sum():,}{rest}" for layer, rest in zip(dead, of, strict=True)]
        ax.bar_label(bars, counts, padding=1, fontsize=7)
        ax.legend()
    else:
        ax.text(0.5, 0.5, "no hidden layer", transform=ax.transAxes, ha="center", va="center")
    _label_layers(ax, 1, names, [""] * len(pairs))


def _draw_shape(
    ax: Axes,
    layer: int,
    counts: NDArray[np.int64],
    edges: NDArray[np.float64],
    colour: str,
) -> None:
    """Draw a histogram to both sides of the layer's place."""
    width = 0.4 * counts / counts.max()
    ax.stairs(
        layer + width,
        edges,
        baseline=layer - width,
        orientation="horizontal",
        fill=True,
        color=colour,
        alpha=0.4,
    )


def _draw_marks(ax: Axes, marks: dict[int, NDArray[np.float64]]) -> None:
    """Draw the quantiles of each layer as two bars and a dot."""
    if marks:
        low, first, median, third, high = np.transpose(list(marks.values()))
        ink = text_colour(ax)
        ax.vlines(list(marks), low, high, color=ink, linewidth=1)
        ax.vlines(list(marks), first, third, color=ink, linewidth=3.5)
        ax.plot(list(marks), median, "o", color=ax.get_facecolor(), ms=4, mec=ink, zorder=3)


def _percent(part: int, whole: int) -> str:
    percent = 100 * part / whole
    return "<1%" if percent < 1 else f"{percent:.0f}%"


def _label_layers(ax: Axes, first: int, names: Sequence[str], notes: Sequence[str]) -> None:
    """Name the layers below the axis, with what is left out of their drawing."""
    layers = range(first, first + len(names))
    label = "layer"
    if any(names):
        columns = zip(map(str, layers), names, notes, strict=True)
        ax.set_xticks(layers, ["\n".join(filter(None, lines)) for lines in columns])
    elif len(names) <= SOME:
        shares = [note.partition(" ")[0] for note in notes]
        pairs = zip(layers, shares, strict=True)
        ax.set_xticks(layers, [f"{layer}\n{share}" for layer, share in pairs], fontsize=8)
        if any(notes):
            label = "layer, and the share that is left out: zero or not finite"
    ax.set_xlabel(label)
    missing = max(0.0, 3 - len(names)) / 2
    ax.set_xlim(first - 0.6 - missing, first + len(names) - 0.4 + missing)
    ax.grid(axis="y", alpha=0.3)
    ax.set_axisbelow(True)
