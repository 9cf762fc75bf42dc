"""Run by test_allocations.py under malloc_counter: prints allocations of N and 10 N calls or steps.

Every count is the fewest of several runs after a longer warm-up, so that what Python and NumPy
allocate now and then (arenas, free lists, caches) is left out; what every call or step allocates
stays in, ten times in the longer run.
"""

from __future__ import annotations

import ctypes
import gc
import json
from collections.abc import Callable

import numpy as np

import chainrule as cr

N = 10
RUNS = 5

malloc_calls = ctypes.CDLL(None).malloc_calls
malloc_calls.restype = ctypes.c_ulong


def count(work: Callable[[int], object]) -> tuple[int, int]:
    def fewest(n: int) -> int:
        counts = []
        for _ in range(RUNS):
            before = malloc_calls()
            work(n)
            counts.append(malloc_calls() - before)
        return min(counts)

    work(20 * N)
    return fewest(N), fewest(10 * N)


def repeated(call: Callable[[], object]) -> Callable[[int], None]:
    def work(n: int) -> None:
        for _ in range(n):
            call()

    return work


def predictions() -> dict[str, Callable[[int], object]]:
    rng = np.random.default_rng(0)
    small = cr.Network([5, 7, 3], ["tanh", "softmax"], "cross_entropy", seed=0)
    large = cr.Network([200, 300, 100, 10], "gelu", seed=0)
    cases: dict[str, Callable[[int], object]] = {}

    def add(name: str, call: Callable[..., object], x: np.ndarray, width: int, **options) -> None:
        out = np.empty((len(x), width) if x.ndim == 2 else width, np.float32)
        cases[name] = repeated(lambda: call(x, out=out, **options))

    x = rng.normal(size=(64, 5)).astype(np.float32)
    wide = rng.normal(size=(200, 200)).astype(np.float32)
    add("predict of a vector", small.predict, x[0], 3)
    add("predict of one row", small.predict, x[:1], 3)
    add("predict of a batch", small.predict, x, 3)
    add("predict of every second row", small.predict, x[::2], 3)
    add("predict of reversed rows", small.predict, x[::-1], 3)
    add("predict of columns of a wider array", small.predict, np.hstack([x, x])[:, :5], 3)
    add("call", small, x, 3)
    add("call of a predictor", small.freeze(), x, 3)
    add("predict of one wide row", large.predict, wide[:1], 10)
    add("predict of a large batch", large.predict, wide, 10, threads=1)
    add("predict in two threads", large.predict, wide, 10, threads=2)
    add("call of a large predictor", large.freeze(), wide, 10)
    cases["predict without out"] = repeated(lambda: large.predict(wide))
    return cases


def fits() -> dict[str, Callable[[int], object]]:
    rng = np.random.default_rng(0)
    cases: dict[str, Callable[[int], object]] = {}

    def add(name: str, sizes: list[int], batch: int, dtype: str = "float32", **options) -> None:
        rows = 20 * N * batch
        x = rng.integers(0, 2, (rows, sizes[0])).astype(dtype)
        y = rng.integers(0, sizes[-1], rows)
        if options.pop("values", False):
            y = np.eye(sizes[-1], dtype=np.float32)[y]
        activations = ["relu"] * (len(sizes) - 2) + ["softmax"]
        net = cr.Network(sizes, activations, "cross_entropy", seed=0)
        if "optimizer" not in options:
            options["learning_rate"] = 1e-3

        def work(n: int) -> None:
            net.fit(x[: n * batch], y[: n * batch], batch_size=batch, **options)

        cases[name] = work

    add("fit, batch 1", [5, 7, 3], 1)
    add("fit, batch 32", [5, 7, 3], 32)
    add("fit, batch 32, in order", [5, 7, 3], 32, shuffle=False)
    add("fit, batch 32, values", [5, 7, 3], 32, values=True)
    add("fit, batch 32, uint8", [5, 7, 3], 32, "uint8")
    add("fit, batch 32, float64 input", [5, 7, 3], 32, "float64")
    add("fit, batch 32, momentum", [5, 7, 3], 32, optimizer=cr.SGD(1e-3, momentum=0.9))
    add("fit, batch 32, Adam", [5, 7, 3], 32, optimizer=cr.Adam())
    add("fit, batch 32, dropout", [5, 7, 3], 32, dropout=0.5, label_smoothing=0.1)
    add("fit, batch 700", [20, 16, 4], 700)
    add("fit, two threads", [100, 120, 10], 64, threads=2)
    return cases


if __name__ == "__main__":
    gc.disable()
    print(json.dumps({name: count(work) for name, work in (predictions() | fits()).items()}))
