"""Costs and metrics over the epochs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from chainrule.plot.canvas import BLUE, ORANGE, checked_axes, module, new_figure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# Title and label of the y axis, where the name alone does not say it.
LABELS = {
    "cost": ("Cost", "mean cost of a sample"),
    "accuracy": ("Accuracy", "share of right answers"),
    "mae": ("Mean absolute error", "mean |a − y|"),
    "r2": ("R²", "R²"),
    "learning_rate": ("Learning rate", "learning rate η"),
    "seconds": ("Time", "training, seconds an epoch"),
}

# Quantities that are shown in percent.
SHARES = ("accuracy", "balanced_accuracy", "top_k_accuracy")

# Up to so many epochs, each is marked with a point.
MARKED = 40


class _Curve(NamedTuple):
    """One quantity: its values in training and in validation, empty where not recorded."""

    training: list[float]
    validation: list[float]


class Epochs(Protocol):
    """The part of a History that is drawn."""

    epochs: list[int]
    cost: list[float]
    metrics: dict[str, list[float]]
    validation_cost: list[float]
    validation_metrics: dict[str, list[float]]
    learning_rate: list[float]
    seconds: list[float]
    best_epoch: int | None

    def __len__(self) -> int: ...


def learning_curves(
    history: Epochs,
    names: str | Iterable[str] | None = None,
    *,
    ax: Axes | Sequence[Axes] | None = None,
    label: str | None = None,
    color: str | None = None,
) -> NDArray[Any]:
    """Draw costs and metrics over the epochs, a panel each.

    The cost of training is the mean over the epoch, each batch taken before its update; that of
    validation is taken after the epoch. So validation may well be the lower one at first.

    Parameters
    ----------
    history : History
        What ``Network.fit`` returned, or a ``DivergenceError`` holds.
    names : str or iterable of str, optional
        What to draw: "cost", a metric, "learning_rate" or "seconds". By default the cost and every
        metric; in a single given `ax` the cost alone.
    ax : Axes or sequence of Axes, optional
        Where to draw, one for each name. By default a new figure, with panels side by side.
    label : str, optional
        Goes before "training" and "validation" in the legend, to compare runs in the same axes.
    color : str, optional
        One colour for both curves, for the same purpose; training is solid, validation dashed.

    Returns
    -------
    ndarray of Axes, of shape (number of names,)

    Raises
    ------
    ValueError
        If the history is empty, or does not hold a name; the message lists what it holds.

    Examples
    --------
    >>> axes = learning_curves(history, "cost")  # doctest: +SKIP
    >>> axes[0].set_yscale("log")  # doctest: +SKIP
    """
    curves = _curves(history)
    if names is None:
        chosen = [name for name in curves if name not in ("learning_rate", "seconds")]
        if ax is not None and not _is_sequence(ax):
            chosen = ["cost"]
    else:
        chosen = [names] if isinstance(names, str) else list(names)
    for name in chosen:
        if name not in curves:
            raise ValueError(f"the history holds {', '.join(curves)}, not {name!r}")
    panels = _panels(ax, chosen)
    for panel, name in zip(panels, chosen, strict=True):
        _draw(panel, name, curves[name], history, label, color)
    return np.array(panels, dtype=object)


def _curves(history: Epochs) -> dict[str, _Curve]:
    """Return everything the history holds, by name; ValueError if there is no epoch."""
    if not hasattr(history, "validation_cost"):
        raise TypeError(f"history must be what fit returned, got {type(history).__name__}")
    if not len(history):
        raise ValueError("the history has no epochs: call fit with epochs=1 or more")
    training, validation = history.metrics, history.validation_metrics
    return {
        "cost": _Curve(history.cost, history.validation_cost),
        **{
            name: _Curve(training.get(name, []), validation.get(name, []))
            for name in {**training, **validation}
        },
        "learning_rate": _Curve(history.learning_rate, []),
        "seconds": _Curve(history.seconds, []),
    }


def _is_sequence(ax: object) -> bool:
    return isinstance(ax, (list, tuple, np.ndarray))


def _panels(ax: Any, names: list[str]) -> list[Axes]:
    if not names:
        raise ValueError("names is empty: name at least one quantity")
    if ax is None:
        usual = module("pyplot").rcParams["figure.figsize"]
        columns = len(names) if len(names) <= 3 else math.ceil(math.sqrt(len(names)))
        rows = -(-len(names) // columns)
        figure = new_figure(usual[0] * (0.4 + 0.6 * columns), usual[1] * rows * 0.85)
        grid = figure.subplots(rows, columns, squeeze=False)
        for spare in grid.flat[len(names) :]:
            spare.remove()
        return list(grid.flat[: len(names)])
    panels = [checked_axes(one) for one in (np.ravel(ax) if _is_sequence(ax) else [ax])]
    if len(panels) != len(names):
        raise ValueError(f"ax must hold one Axes for each of {', '.join(names)}, got {len(panels)}")
    return panels


def _draw(
    ax: Axes, name: str, curve: _Curve, history: Epochs, label: str | None, color: str | None
) -> None:
    before = f"{label}, " if label else ""
    single = name in ("learning_rate", "seconds")
    for kind, values, usual, style, marker in (
        ("training", curve.training, BLUE, "-", "o"),
        ("validation", curve.validation, ORANGE, "--", "s"),
    ):
        if values:
            # A fit that was interrupted may have trained an epoch that it did not evaluate.
            ax.plot(
                history.epochs[: len(values)],
                values,
                color=color or usual,
                linestyle=style,
                marker=marker if len(values) <= MARKED else "",
                markersize=4,
                label=label or "" if single else before + kind,
            )
    if name == "cost" and history.best_epoch is not None:
        ax.axvline(
            history.best_epoch,
            color=color or "0.5",
            linestyle=":",
            zorder=1,
            label=f"{before}best epoch ({history.best_epoch})",
        )
    title, y_label = LABELS.get(name, (name.replace("_", " ").capitalize(), name))
    ax.set(title=title, xlabel="epoch", ylabel=y_label)
    ax.xaxis.set_major_locator(module("ticker").MaxNLocator(integer=True, min_n_ticks=1))
    if name in SHARES:
        ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    ax.grid(alpha=0.3)
    if not single or label:
        ax.legend()
