"""One call of a predictor for many requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


def predict_together(
    predictor: Callable[[NDArray[Any]], NDArray[Any]], xs: Sequence[NDArray[Any]]
) -> list[NDArray[Any]]:
    """Return ``[predictor(x) for x in xs]`` by one call; each x is (n_0,) or (n, n_0)."""
    if len(xs) == 1:
        return [predictor(xs[0])]
    n_inputs = xs[0].shape[-1]
    outputs = predictor(np.concatenate([x.reshape(-1) for x in xs]).reshape(-1, n_inputs))
    results, end = [], 0
    for x in xs:
        begin, end = end, end + x.size // n_inputs
        # A copy: a view would keep the outputs of all the others alive.
        results.append(outputs[begin if x.ndim == 1 else slice(begin, end)].copy())
    return results
