"""What the pictures share: where they are drawn, their colours, and which samples are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core
from chainrule.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase
    from numpy.typing import NDArray

# Okabe and Ito (2008): told apart with every common kind of colour blindness.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PALETTE = (BLUE, ORANGE, GREEN, "#CC79A7", VERMILLION, "#56B4E9", "#F0E442", "#666666")
MARKERS = "os^DvPX*"


def module(name: str) -> Any:
    """Import a module of matplotlib, or say which pip command brings it."""
    return require(f"matplotlib.{name}", "plot")


def new_figure(width: float | None = None, height: float | None = None) -> FigureBase:
    """Return a new figure of pyplot, of its usual size where none is given, in inches."""
    pyplot = module("pyplot")
    usual = pyplot.rcParams["figure.figsize"]
    figure: FigureBase = pyplot.figure(
        figsize=(width or usual[0], height or usual[1]), layout="constrained"
    )
    return figure


def checked_axes(ax: object) -> Axes:
    """Return `ax` if it is an Axes, else raise TypeError."""
    axes = module("axes").Axes
    if not isinstance(ax, axes):
        raise TypeError(f"ax must be a matplotlib Axes, got {type(ax).__name__}")
    result: Axes = ax
    return result


def axes_or_new(ax: Axes | None, width: float | None = None, height: float | None = None) -> Axes:
    """Return `ax`, or the only Axes of a new figure."""
    if ax is not None:
        return checked_axes(ax)
    result: Axes = new_figure(width, height).subplots()
    return result


def figure_or_new(figure: FigureBase | None, width: float, height: float) -> FigureBase:
    """Return `figure` (a Figure or SubFigure), or a new one."""
    if figure is None:
        return new_figure(width, height)
    kind = module("figure").FigureBase
    if not isinstance(figure, kind):
        raise TypeError(f"figure must be a Figure or SubFigure, got {type(figure).__name__}")
    result: FigureBase = figure
    return result


def grid_of_axes(figure: FigureBase, rows: int, columns: int, **shared: Any) -> NDArray[Any]:
    """Return `rows` times `columns` Axes, with room for their labels if nobody cares for that."""
    layout = getattr(figure, "get_layout_engine", None)
    if layout is not None and layout() is None and hasattr(figure, "set_layout_engine"):
        figure.set_layout_engine("constrained")
    axes: NDArray[Any] = figure.subplots(rows, columns, squeeze=False, **shared)
    return axes


def check_network(network: object, method: str = "predict") -> None:
    """Raise TypeError unless `network` has `method` (or attribute), as networks of ours have."""
    if not hasattr(network, method) or not hasattr(network, "sizes"):
        wanted = "Network or Predictor" if method == "predict" else "Network"
        hint = ": pass its network_" if hasattr(network, "network_") else ""
        raise TypeError(f"network must be a {wanted}, got {type(network).__name__}{hint}")


def some_rows(n: int, limit: int) -> NDArray[np.int64]:
    """Return all of n rows in order, or `limit` of them at random: always the same ones."""
    if n <= limit:
        return np.arange(n)
    return np.sort(_core.permutation(0, 0, n)[:limit])


def text_colour(ax: Axes) -> Any:
    """Return the colour of the text around `ax`, which is seen on its background, light or dark."""
    return ax.xaxis.label.get_color()


def colours_of(n: int) -> list[str]:
    """Return n colours; beyond the palette they repeat, and markers tell them apart."""
    return [PALETTE[i % len(PALETTE)] for i in range(n)]


def markers_of(n: int) -> list[str]:
    """Return n markers; with ``colours_of`` the first 64 pairs differ."""
    return [MARKERS[(i + i // len(PALETTE)) % len(MARKERS)] for i in range(n)]
