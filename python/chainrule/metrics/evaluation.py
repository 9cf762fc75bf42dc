"""Metrics of a network on data, and what their names mean to ``fit`` and ``evaluate``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core
from chainrule.inputs.arrays import as_samples, row_slices
from chainrule.inputs.targets import joined
from chainrule.metrics.functions import roc_auc
from chainrule.metrics.tallies import ChunkedSum, Classes, Errors, Tally, TopK

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from chainrule.inputs.targets import Found
    from chainrule.protocols import Sparse

Metric = str | Callable[[Any, Any], float]

KNOWN = (*Classes.names, "roc_auc", *Errors.names)

# The metrics that rise as a network gets better; of the others, less is better.
RISING = {"accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "r2"}

TOP_K = re.compile(r"top_([1-9][0-9]*)_accuracy")


def evaluate(
    network: _core.Network,
    x: ArrayLike | Sparse,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    metrics: Iterable[Metric] = (),
) -> tuple[dict[str, float], Found | None]:
    """Return the cost and metrics, and what is doubtful in y; see ``Network.evaluate``."""
    chosen = resolve(network, metrics)
    tallies = {name: tally for tally in _tallies(network, chosen) for name in tally.names}
    functions = {name: metric for name, metric in chosen.items() if name not in tallies}
    samples, y, weight = as_samples(x, y, sample_weight)
    outputs = np.empty((len(samples), network.sizes[-1]), network.dtype) if functions else None
    costs, weights = ChunkedSum(), ChunkedSum()
    found = None
    for part in row_slices(len(samples), max(network.sizes)):
        w = np.ones(part.stop - part.start) if weight is None else weight[part]
        weights.add(w)
        if w.any():
            of_part, in_part = _core.sample_costs(network, samples[part], y[part], part.start)
            found = joined(found, in_part)
            costs.add(w * of_part)
        else:
            costs.add(w)
            if outputs is None:
                continue
        a = network.predict(samples[part])
        if outputs is not None:
            outputs[part] = a
        if w.any():
            a = a.astype(np.float64, copy=False)
            for tally in dict.fromkeys(tallies.values()):
                tally.add(a, y[part], w)
    total = weights.total()
    if not total:
        raise ValueError("evaluate needs at least one sample")
    results = {name: tally.results()[name] for name, tally in tallies.items()}
    for name, function in functions.items():
        assert outputs is not None and callable(function)
        results[name] = _number(name, function(y, outputs))
    return {"cost": costs.total() / total, **{name: results[name] for name in chosen}}, found


def resolve(network: _core.Network, metrics: Iterable[Metric]) -> dict[str, Metric]:
    """Return the metrics by name; those that fit the loss where there are none.

    Raises ValueError for a name that is unknown or twice there, TypeError for what is neither a
    name nor a function.
    """
    listed = (metrics,) if isinstance(metrics, str) or callable(metrics) else tuple(metrics)
    if not listed:
        listed = ("accuracy",) if "cross_entropy" in network.loss else ("mae", "r2")
    chosen: dict[str, Metric] = {}
    for metric in listed:
        name = metric if isinstance(metric, str) else _name_of(metric)
        if name in chosen or name == "cost":
            raise ValueError(f"two metrics have the name {name!r}: give each its own __name__")
        if metric == "roc_auc":
            metric = roc_auc
        elif isinstance(metric, str) and name not in KNOWN and not TOP_K.fullmatch(name):
            raise ValueError(
                f"unknown metric {name!r}, expected one of {', '.join(KNOWN)}, top_5_accuracy "
                "(or another k), or a function (y, a) -> float"
            )
        chosen[name] = metric
    return chosen


def rises(name: str) -> bool | None:
    """Tell whether more is better of what `fit` monitors; None where that is not known."""
    name = name.removeprefix("validation_")
    if name in RISING or TOP_K.fullmatch(name):
        return True
    return False if name in {*KNOWN, "cost"} else None


def _name_of(metric: object) -> str:
    if not callable(metric):
        raise TypeError(f"a metric must be a name or a function (y, a) -> float, got {metric!r}")
    while isinstance(metric, partial):
        metric = metric.func
    return str(getattr(metric, "__name__", type(metric).__name__))


def _number(name: str, value: Any) -> float:
    if np.ndim(value) or np.asarray(value).dtype.kind not in "biuf":
        raise TypeError(f"the metric {name} must return a real number, got {value!r}")
    return float(value)


def _tallies(network: _core.Network, names: Iterable[str]) -> Iterable[Tally]:
    """Return what computes the metrics of these names, other than functions."""
    multilabel = network.loss == "binary_cross_entropy" and network.sizes[-1] > 1
    names = set(names)
    kinds: list[Tally] = [Classes(multilabel), Errors()]
    kinds += [TopK(int(found[1])) for found in map(TOP_K.fullmatch, sorted(names)) if found]
    for kind in kinds:
        wanted = tuple(name for name in kind.names if name in names)
        if wanted:
            kind.names = wanted
            yield kind
