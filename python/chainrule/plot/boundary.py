"""What a network of two inputs answers over the plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.inputs.arrays import as_batch, real_array, row_slices
from chainrule.inputs.numbers import count
from chainrule.plot.canvas import (
    axes_or_new,
    check_network,
    colours_of,
    markers_of,
    module,
    some_rows,
    text_colour,
)
from chainrule.plot.classes import checked_names, predicted_classes, target_classes, threshold_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

    from chainrule._core import Network, Predictor

# Part of its colour that a region has where the network is undecided, and where it is sure.
FAINT, STRONG = 0.12, 0.5

# Entries of a legend that still find room inside.
INSIDE = 7


def decision_boundary(
    network: Network | Predictor,
    x: ArrayLike,
    y: ArrayLike | None = None,
    class_names: Sequence[object] | None = None,
    *,
    resolution: int = 200,
    max_points: int = 2000,
    ax: Axes | None = None,
) -> Axes:
    """Draw the answers of a network with two inputs over the plane, and samples on top.

    With several outputs, or one that is a sigmoid or tanh, each region has the colour of its class,
    the stronger the further the largest output is ahead of the next, and lines are the
    boundaries. Samples whose class the network misses have a black edge. One output of another
    kind gives values: they are drawn as a surface with a colour bar, and samples as points on the
    same scale.

    Parameters
    ----------
    network : Network or Predictor
        With n_0 = 2.
    x : array_like of shape (n, 2)
        Samples; they fix the part of the plane that is drawn.
    y : array_like, optional
        Their targets, as for ``confusion_matrix`` (or values, for a surface); without them the
        plane alone is drawn.
    class_names : sequence of str, optional
        One a class; by default 0, 1, 2, ….
    resolution : int, default 200
        Points of the grid along each axis, at most 1000; memory is n_L numbers a point.
    max_points : int, default 2000
        At most so many samples are drawn, a random but always the same choice. Those that the
        network misses count as any others.
    ax : Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the network has not two inputs, or shapes, labels or numbers do not fit.
    """
    check_network(network)
    if network.sizes[0] != 2:
        raise ValueError(
            f"a decision boundary needs a network of 2 inputs, this one has {network.sizes[0]}"
        )
    resolution, max_points = count(resolution, "resolution"), count(max_points, "max_points")
    if not 2 <= resolution <= 1000:
        raise ValueError(f"resolution must be from 2 to 1000, got {resolution}")
    x, targets = _samples(x, y)
    threshold = threshold_of(network)
    values = network.sizes[-1] == 1 and threshold is None
    if values and class_names is not None:
        raise ValueError(f"an output of {network.activations[-1]} has no classes to name")
    rows = some_rows(len(x), max_points)
    first, second = (_range(x[:, i], resolution) for i in (0, 1))
    plane = _answers(network, first, second)
    shown = x[rows]
    if values:
        ax = axes_or_new(ax)
        _draw_surface(ax, first, second, plane[..., 0], shown, _values(targets, rows))
    else:
        names = checked_names(class_names, max(2, network.sizes[-1]))
        classes = None if targets is None else target_classes(network, targets)[rows]
        ax = axes_or_new(ax)
        _draw_regions(ax, first, second, *_strengths(network, plane))
        if classes is not None:
            missed = predicted_classes(network, shown) != classes
            _draw_classes(ax, shown, classes, missed, names)
    ax.set(xlim=first[[0, -1]], ylim=second[[0, -1]], xlabel="$x_0$", ylabel="$x_1$")
    ax.set_title("Output over the plane" if values else "Decision boundary")
    return ax


def _samples(x: ArrayLike, y: ArrayLike | None) -> tuple[NDArray[Any], NDArray[Any] | None]:
    if y is None:
        x, targets = np.atleast_2d(real_array(x, "x")), None
    else:
        x, targets, _ = as_batch(x, y, None)
    if x.ndim != 2 or x.shape[1] != 2 or not len(x):
        raise ValueError(f"x must have shape (n, 2) with n of at least 1, got {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("x must hold finite numbers")
    return x, targets


def _values(targets: NDArray[Any] | None, rows: NDArray[np.int64]) -> NDArray[Any] | None:
    if targets is None:
        return None
    if targets.size != len(targets):
        raise ValueError(f"y must hold one value a sample, got shape {targets.shape}")
    return targets.reshape(-1)[rows]


def _range(x: NDArray[Any], resolution: int) -> NDArray[np.float64]:
    """Return grid points over the range of `x` and a margin."""
    low, high = float(x.min()), float(x.max())
    margin = 0.08 * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, resolution)


def _answers(
    network: Network | Predictor, first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[Any]:
    """Return the outputs at every grid point: shape (second, first, n_L)."""
    plane = np.empty((len(second), len(first), network.sizes[-1]), network.dtype)
    flat = plane.reshape(-1, network.sizes[-1])
    for part in row_slices(len(flat), max(network.sizes)):
        i, j = np.divmod(np.arange(part.start, part.stop), len(first))
        flat[part] = network.predict(np.stack([first[j], second[i]], axis=1))
    if not np.isfinite(plane).all():
        raise ValueError("the network's outputs over the plane are not finite")
    return plane


def _strengths(network: Network | Predictor, plane: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Return one strength a class, and the largest lead that one may have over the next."""
    output = network.activations[-1]
    if network.sizes[-1] == 1:
        share = plane if output == "sigmoid" else (plane + 1) / 2
        return np.concatenate([1 - share, share], axis=-1), 1.0
    return plane, {"softmax": 1.0, "sigmoid": 1.0, "tanh": 2.0}.get(output, np.inf)


def _draw_regions(
    ax: Axes,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    strengths: NDArray[Any],
    largest: float,
) -> None:
    """Colour each class's region, and draw the lines between them."""
    n = strengths.shape[-1]
    ordered = np.partition(strengths, n - 2, axis=-1)
    lead = ordered[..., -1] - ordered[..., -2]
    lead = lead / (largest if np.isfinite(largest) else lead.max() or 1.0)
    colours = np.array([module("colors").to_rgb(colour) for colour in colours_of(n)])
    part = (FAINT + (STRONG - FAINT) * lead)[..., None]
    ax.imshow(
        1 - part * (1 - colours[strengths.argmax(axis=-1)]),
        extent=_extent(first, second),
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
        zorder=0,
    )
    # The border of class c is where it leads by 0 over the best of the others.
    for c in range(n if n > 2 else 1):
        ahead = strengths[..., c] - np.delete(strengths, c, axis=-1).max(axis=-1)
        if ahead.min() < 0 < ahead.max():
            ax.contour(first, second, ahead, levels=[0], colors="0.25", linewidths=1.2)


def _extent(first: NDArray[Any], second: NDArray[Any]) -> tuple[float, float, float, float]:
    """Return the edges of the outer cells, whose centres are the outer grid points."""
    dx, dy = (first[1] - first[0]) / 2, (second[1] - second[0]) / 2
    return first[0] - dx, first[-1] + dx, second[0] - dy, second[-1] + dy


def _draw_classes(
    ax: Axes,
    x: NDArray[Any],
    classes: NDArray[np.intp],
    missed: NDArray[np.bool_],
    names: list[str],
) -> None:
    """Draw the samples, a colour and a marker a class, with a black edge where missed."""
    line, handles = module("lines").Line2D, []
    looks = zip(names, colours_of(len(names)), markers_of(len(names)), strict=True)
    for c, (name, colour, marker) in enumerate(looks):
        mine = classes == c
        # Missed samples last, so that no other hides them.
        order = np.flatnonzero(mine)[np.argsort(missed[mine], kind="stable")]
        ax.scatter(
            x[order, 0],
            x[order, 1],
            s=30,
            color=colour,
            marker=marker,
            edgecolors=np.where(missed[order], "black", "white").tolist(),
            linewidths=np.where(missed[order], 1.4, 0.5).tolist(),
            label=name,
        )
        handles.append(line([], [], color=colour, marker=marker, linewidth=0, label=name))
    handles.append(
        line(
            [],
            [],
            color="none",
            marker="o",
            markeredgecolor=text_colour(ax),
            markeredgewidth=1.4,
            label=f"missed: {int(missed.sum())} of {len(missed)}",
        )
    )
    if len(handles) > INSIDE:
        ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5))
    else:
        ax.legend(handles=handles)


def _draw_surface(
    ax: Axes,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    plane: NDArray[Any],
    x: NDArray[Any],
    targets: NDArray[Any] | None,
) -> None:
    """Draw an output as colour with contour lines, and the samples' targets on the same scale."""
    every = plane if targets is None else np.append(plane, targets)
    norm = module("colors").Normalize(float(every.min()), float(every.max()))
    image = ax.imshow(
        plane,
        extent=_extent(first, second),
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
        norm=norm,
        cmap="cividis",
        zorder=0,
    )
    if plane.min() < plane.max():
        lines = ax.contour(first, second, plane, colors="white", linewidths=0.7, alpha=0.8)
        ax.clabel(lines, fontsize=7)
    if targets is not None:
        ax.scatter(
            x[:, 0],
            x[:, 1],
            c=targets,
            s=30,
            norm=norm,
            cmap="cividis",
            edgecolors="white",
            linewidths=0.6,
            label="targets y",
        )
        ax.legend()
    ax.figure.colorbar(image, ax=ax).set_label("output a, and targets y")
