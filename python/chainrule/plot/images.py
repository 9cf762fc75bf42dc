"""What the neurons of the first layer look for, as images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.inputs.numbers import count
from chainrule.plot.canvas import check_network, figure_or_new, grid_of_axes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.figure import FigureBase
    from numpy.typing import NDArray

    from chainrule import _core


def weight_images(
    network: _core.Network,
    shape: Sequence[int] = (28, 28),
    *,
    units: Iterable[int] | None = None,
    max_images: int = 64,
    figure: FigureBase | None = None,
) -> NDArray[Any]:
    """Draw the weights of neurons of layer 1 as images: row j of W¹ in the shape of the input.

    All share one scale, symmetric about 0: red raises z_j, blue lowers it, white is 0. It ends at
    the 99th percentile of the drawn |w_jk|, so that a few large weights do not make the others
    pale. Where the input has three colours, grey is 0 and each colour is its own channel.

    Parameters
    ----------
    network : Network
    shape : (height, width) or (height, width, 3), default (28, 28)
        Shape of an input, in the order in which its n_0 numbers come.
    units : iterable of int, optional
        Which neurons j to draw, counted from 0; by default those with the largest ‖w_j‖, in order
        of j.
    max_images : int, default 64
        How many are drawn where `units` does not say which.
    figure : Figure or SubFigure, optional
        Where to draw; by default a new figure. A Figure without a layout engine gets the
        constrained one.

    Returns
    -------
    ndarray of Axes, of shape (rows, columns)
        Axes beyond the last neuron are invisible.

    Raises
    ------
    ValueError, TypeError
        If the shape does not have n_0 numbers, or there is no such neuron.
    """
    check_network(network, "weights")
    shape, w = _checked_shape(shape, network.sizes[0]), network.weights[0]
    chosen = _chosen(w, units, count(max_images, "max_images"))
    columns = math.ceil(math.sqrt(len(chosen)))
    rows = math.ceil(len(chosen) / columns)
    size = min(1.1, 12 / columns)
    figure = figure_or_new(figure, max(4.0, columns * size + 1), max(3.2, rows * size + 0.8))
    axes = grid_of_axes(figure, rows, columns)
    limit = float(np.quantile(np.abs(w[chosen]), 0.99)) or 1.0
    image = None
    for ax, j in zip(axes.flat, chosen, strict=False):
        picture = np.asarray(w[j], np.float64).reshape(shape)
        if len(shape) == 3:
            picture = np.clip(0.5 + picture / (2 * limit), 0, 1)
        image = ax.imshow(picture, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(str(j), fontsize=7, pad=2)
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in axes.flat[len(chosen) :]:
        ax.set_visible(False)
    if len(shape) == 2 and image is not None:
        bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="both")
        bar.set_label("weight $w_{jk}$")
    figure.suptitle(f"Weights into layer 1: {len(chosen)} of {len(w)} neurons j")
    return axes


def _checked_shape(shape: Sequence[int], n_inputs: int) -> tuple[int, ...]:
    try:
        sizes = tuple(count(size, "every size in shape") for size in shape)
    except TypeError:
        raise TypeError(f"shape must be (height, width), got {shape!r}") from None
    if len(sizes) not in (2, 3) or len(sizes) == 3 and sizes[2] != 3:
        raise ValueError(f"shape must be (height, width) or (height, width, 3), got {shape!r}")
    if math.prod(sizes) != n_inputs:
        product = " x ".join(map(str, sizes))
        raise ValueError(
            f"shape must hold the network's {n_inputs} inputs, {product} is {math.prod(sizes)}"
        )
    return sizes


def _chosen(w: NDArray[Any], units: Iterable[int] | None, limit: int) -> list[int]:
    """Return the rows of W¹ to draw."""
    if units is None:
        norms = np.linalg.norm(w.astype(np.float64), axis=1)
        return sorted(np.argsort(-norms, kind="stable")[:limit].tolist())
    chosen = list(units)
    for j in chosen:
        if isinstance(j, bool) or not isinstance(j, (int, np.integer)):
            raise TypeError(f"units must be integers, got {j!r}")
        if not 0 <= j < len(w):
            raise ValueError(f"units must be from 0 to {len(w) - 1}, got {j}")
    if not chosen:
        raise ValueError("units is empty: name at least one neuron")
    return [int(j) for j in chosen]
