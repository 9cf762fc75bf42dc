"""Run by test_isa.py once per ISA: prints the ISA that runs, then a digest of each result's bits.

Data come from Philox through the package and from fixed integers, never from functions of NumPy
whose bits may change with the CPU.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import _core

SIZES = [[1, 1], [5, 7, 3], [2, 33, 1], [17, 16, 15, 8], [100, 65, 40, 12], [3, 200, 2]]
HIDDEN = [g for g in _core.ACTIVATIONS if g != "softmax"]
ELEMENTARY = ["exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "erf", "gelu", "silu"]
OPTIMIZERS = {
    "SGD": lambda: cr.SGD(0.05),
    "momentum": lambda: cr.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda: cr.Adam(0.01, weight_decay=0.01),
}


def digest(*arrays: Any) -> str:
    total = hashlib.sha256()
    for array in arrays:
        array = np.array(array, copy=True)
        array[np.isnan(array)] = np.nan  # the payload and sign of a NaN are excluded
        total.update(array.tobytes())
    return total.hexdigest()


def uniform(n: int, width: int, dtype: str, seed: int) -> np.ndarray:
    """n rows of `width` numbers in about [-1, 1]: the initial weights of a network."""
    return np.ascontiguousarray(cr.Network([width, n], dtype=dtype, seed=seed).weights[0]) * 8


def elementary(dtype: str) -> Iterator[tuple[str, str]]:
    x = np.concatenate(
        [
            np.arange(-4000, 4000, dtype=dtype) / 37,
            np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 1e30, -1e30, 88.5, -104.0], dtype),
        ]
    )
    for name in ELEMENTARY:
        part = np.abs(x) if name.startswith("log") else x
        yield name, digest(_core.elementary(name, part))


def networks(dtype: str) -> Iterator[tuple[str, str]]:
    for i, sizes in enumerate(SIZES):
        for j, name in enumerate([*HIDDEN, "softmax"]):
            hidden = [HIDDEN[(i + j + k) % len(HIDDEN)] for k in range(len(sizes) - 2)]
            for loss in ("huber", "cross_entropy") if name == "softmax" else ("mse",):
                net = cr.Network(sizes, [*hidden, name], loss, dtype=dtype, seed=i)
                x, y = uniform(37, sizes[0], dtype, 1), np.abs(uniform(37, sizes[-1], dtype, 2))
                a, pullback = net.vjp(x)
                sums, dC_dx = pullback(y)
                gradients = net.gradients(x, y, np.arange(1, 38))
                yield (
                    f"{sizes} {name} {loss}",
                    digest(
                        net.predict(x),
                        net.predict(x[3]),
                        a,
                        dC_dx,
                        sums.flatten(),
                        gradients.flatten(),
                        gradients.cost,
                    ),
                )


def training(dtype: str) -> Iterator[tuple[str, str]]:
    for name, make in OPTIMIZERS.items():
        for batch_size in (1, 7, 32, None):
            for sizes in ([5, 7, 3], [40, 33, 10]):
                net = cr.Network(sizes, ["tanh", "softmax"], "cross_entropy", dtype=dtype, seed=3)
                x, y = uniform(300, sizes[0], dtype, 4), np.arange(300) % sizes[-1]
                history = net.fit(x, y, epochs=2, batch_size=batch_size, optimizer=make())
                yield f"{name} {batch_size} {sizes}", digest(net.get_parameters(), history.cost)


if __name__ == "__main__":
    print(_core.config()["isa"])
    for dtype in ("float32", "float64"):
        for part in (elementary, networks, training):
            for label, value in part(dtype):
                print(f"{part.__name__} {dtype} {label}: {value}")
