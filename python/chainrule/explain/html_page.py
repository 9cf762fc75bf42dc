"""A trace as one self-contained page: drawn, animated, explained term by term."""

from __future__ import annotations

import base64
import json
import os
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.activations import ACTIVATIONS
from chainrule.explain.formulas import LOSSES
from chainrule.explain.quantities import Quantities
from chainrule.files.safetensors import replace_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SCRIPTS = (
    "arithmetic.js",
    "notation.js",
    "model.js",
    "steps.js",
    "drawing.js",
    "formulas.js",
    "descent.js",
    "page.js",
)

# What a page holds at most: bytes of parameters, samples, and bytes of them. And multiply-adds of a
# pass over all its samples, so that it answers at once.
PARAMETER_BYTES, SAMPLES, SAMPLE_BYTES, PASS_SIZE = 2**20, 1000, 2**18, 2**22

# Neurons of a wide layer whose weights an excerpt keeps: at either end, where they are drawn, and
# those with the largest activations, and errors.
ENDS, STRONGEST = 3, 16


def to_html(
    trace: Quantities,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> str:
    """Write the page of `trace`; see ``Trace.to_html``."""
    sizes = [trace.a[0].shape[-1], *(w.shape[0] for w in trace.weights)]
    x, y = np.atleast_2d(trace.a[0]), np.atleast_2d(trace.y)
    title = "Back-propagation, term by term" if title is None else str(title)
    parameters = [*trace.weights, *trace.biases]
    complete = sum(p.nbytes for p in parameters) <= PARAMETER_BYTES
    numbers = sizes[0] + sizes[-1] + (0 if complete else 5 * sum(sizes[1:]))
    n = min(
        len(x),
        SAMPLES,
        max(1, SAMPLE_BYTES // (numbers * x.itemsize)),
        max(1, PASS_SIZE // sum(p.size for p in parameters)) if complete else len(x),
    )
    data = {
        "sizes": sizes,
        "activations": trace.activations,
        "loss": trace.loss,
        "bias": bool(trace.biases),
        "dtype": x.dtype.name,
        "n": len(x),
        "formulas": _formulas(trace),
        "inputNames": _names("input_names", input_names, sizes[0]),
        "outputNames": _names("output_names", output_names, sizes[-1]),
        "x": _encoded(x[:n]),
        "y": _encoded(y[:n]),
        **(_whole(trace) if complete else _excerpt(trace, sizes, n)),
    }
    page = files("chainrule.explain") / "page"
    scripts = (page.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)
    text = Template(page.joinpath("trace.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        style=page.joinpath("trace.css").read_text(encoding="utf-8"),
        data=_json(data),
        scripts="\n".join(f"<script>\n{script}</script>" for script in scripts),
    )
    name = os.fsdecode(path)
    replace_file(name, text.encode())
    return name


def _formulas(trace: Quantities) -> dict[str, Any]:
    """Return the formulas of this network in print."""
    loss = LOSSES[trace.loss]
    return {
        "g": [ACTIVATIONS[name].formula for name in trace.activations],
        "slope": [ACTIVATIONS[name].slope for name in trace.activations],
        "cost": loss.cost,
        "dCda": loss.slope,
        "fused": loss.fused,
    }


def _whole(trace: Quantities) -> dict[str, Any]:
    return {"parameters": _encoded(_flat(trace.weights, trace.biases))}


def _excerpt(trace: Quantities, sizes: Sequence[int], n: int) -> dict[str, Any]:
    """Return the numbers of n samples, and the weights between the neurons of `_kept`."""
    quantities = {
        "a": trace.a[1:],
        "z": trace.z,
        "gPrime": trace.g_prime,
        "dCda": trace.dC_da,
        "delta": trace.delta,
    }
    rows = {
        name: [np.atleast_2d(array)[:n] for array in arrays] for name, arrays in quantities.items()
    }
    activity = [np.atleast_2d(trace.a[0])[:n], *rows["a"]]
    error = [np.zeros_like(activity[0]), *rows["delta"]]
    kept = [_kept(a, d) for a, d in zip(activity, error, strict=True)]
    weights = [w[np.ix_(kept[i + 1], kept[i])] for i, w in enumerate(trace.weights)]
    biases = [b[kept[i + 1]] for i, b in enumerate(trace.biases)]
    return {
        "kept": [neurons.tolist() for neurons in kept],
        "parameters": _encoded(_flat(weights, biases)),
        "traces": {name: _encoded(np.concatenate(arrays, axis=1)) for name, arrays in rows.items()},
    }


def _kept(a: NDArray[Any], delta: NDArray[Any]) -> NDArray[Any]:
    """Return the neurons of a layer at its ends, which are drawn, and those with most to say."""
    n = a.shape[1]
    if n <= 2 * ENDS + 2 * STRONGEST:
        return np.arange(n)
    strongest = [
        np.argsort(-np.abs(rows).sum(axis=0), kind="stable")[:STRONGEST] for rows in (a, delta)
    ]
    return np.unique(np.concatenate([np.arange(ENDS), np.arange(n - ENDS, n), *strongest]))


def _flat(weights: Sequence[NDArray[Any]], biases: Sequence[NDArray[Any]]) -> NDArray[Any]:
    parts: list[NDArray[Any]] = []
    for i, w in enumerate(weights):
        parts += [w.ravel(), *biases[i : i + 1]]
    return np.concatenate(parts)


def _names(name: str, names: Sequence[str] | None, n: int) -> list[str] | None:
    if names is None:
        return None
    if isinstance(names, str) or len(names) != n:
        raise ValueError(f"{name} must be a sequence of {n} names, got {names!r}")
    return [str(one) for one in names]


def _encoded(array: NDArray[Any]) -> dict[str, str]:
    """Return the bytes of an array, little-endian: exact, and NaN and infinities too."""
    raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return {"type": array.dtype.name, "data": base64.b64encode(raw).decode("ascii")}


def _json(data: dict[str, Any]) -> str:
    """Return JSON that no browser can take for the end of its script element."""
    return json.dumps(data).replace("<", "\\u003c")
