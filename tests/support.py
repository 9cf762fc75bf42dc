"""What several test modules share: comparisons, random problems, fresh interpreters."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

import chainrule as cr
import reference
from chainrule.bench import processes

TESTS = Path(__file__).parent

HIDDEN = [name for name in reference.ACTIVATIONS if name != "softmax"]

#: Every (output activation, loss) that the constructor accepts.
OUTPUT_PAIRS = [
    (output, loss)
    for output in reference.ACTIVATIONS
    for loss in reference.permitted_losses(output)
]

#: The numbers that a bounded activation can give, its minimum rounded up; None: without a bound.
OUTPUT_RANGES = {
    "sigmoid": (0, 1),
    "softmax": (0, 1),
    "tanh": (-1, 1),
    "relu": (0, None),
    "softplus": (0, None),
    "elu": (-1, None),
    "selu": (-1.758099, None),
    "silu": (-0.278464, None),
    "gelu": (-0.169971, None),
    "hardswish": (-0.375, None),
}

#: The rule that excludes kinks: no pre-activation of relu, leaky_relu, elu or selu within this
#: distance of 0, no residual of mae within it of 0, none of huber within it of -1 or 1.
MARGIN = 1e-3


# --- comparisons ------------------------------------------------------------------------------


def bits(*arrays: ArrayLike) -> bytes:
    return b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)


def assert_same_bits(actual: Any, expected: Any) -> None:
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    if bits(actual) != bits(expected):
        differ = np.argwhere(actual != expected)
        raise AssertionError(f"{len(differ)} of {actual.size} elements differ: {differ[:5]}")


def relative(actual: ArrayLike, expected: ArrayLike) -> float:
    """||actual - expected|| / ||expected||, or the absolute norm where the expected one is 0."""
    actual, expected = np.asarray(actual, float).ravel(), np.asarray(expected, float).ravel()
    assert actual.shape == expected.shape
    scale = np.linalg.norm(expected)
    return float(np.linalg.norm(actual - expected) / (scale if scale > 0 else 1.0))


def flat(gradients: Any) -> np.ndarray:
    """W^1 row-major, b^1, W^2, ... in float64 from anything with `weights` and `biases`."""
    return np.concatenate([g.ravel() for g in reference.interleave(gradients)])


def says(*parts: object) -> str:
    """A pattern for pytest.raises: the message holds every part, in any order and any case."""
    return "(?is)" + "".join(f"(?=.*{re.escape(str(part))})" for part in parts)


@contextmanager
def unchanged(net: Any) -> Iterator[None]:
    """Nothing in the block may change the parameters of the network."""
    before = net.get_parameters()
    yield
    assert_same_bits(net.get_parameters(), before)


# --- random problems --------------------------------------------------------------------------


def random_network(
    rng: np.random.Generator,
    sizes: Sequence[int],
    activations: Any = None,
    loss: str = "half_mse",
    *,
    dtype: str = "float64",
    bias: bool = True,
    gain: float = 1.0,
) -> cr.Network:
    """A network with every parameter drawn by NumPy, biases too; tanh, and an identity output."""
    if activations is None:
        activations = [*["tanh"] * (len(sizes) - 2), "identity"]
    net = cr.Network(sizes, activations, loss, dtype=dtype, bias=bias, seed=0)
    for w in net.weights:
        w[...] = rng.normal(0, gain / np.sqrt(w.shape[1]), w.shape)
    for b in net.biases:
        b[...] = rng.normal(0, 0.5, b.shape)
    return net


def random_targets(
    rng: np.random.Generator, n: int, width: int, loss: str, output: str = "identity"
) -> np.ndarray:
    """Targets that the output activation can give; without one, that the loss takes."""
    if loss == "cross_entropy":
        return rng.dirichlet(np.ones(width), n)
    if loss == "binary_cross_entropy":
        return rng.random((n, width))
    low, high = OUTPUT_RANGES.get(output, (None, None))
    if high is not None:
        return rng.uniform(low, high, (n, width))
    y = rng.normal(0, 1.5, (n, width))
    return y if low is None else low + np.abs(y)


def smooth_problem(
    seed: int,
    sizes: Sequence[int],
    activations: Sequence[str],
    loss: str,
    n: int,
    **options: Any,
) -> tuple[cr.Network, np.ndarray, np.ndarray]:
    """The first network and data, of a fixed sequence of draws, that keep MARGIN to every kink
    and whose gradient is not (nearly) zero, as that of dead units would be."""
    for attempt in range(10_000):
        rng = np.random.default_rng([seed, attempt])
        net = random_network(rng, sizes, activations, loss, **options)
        x = rng.normal(size=(n, sizes[0])).astype(net.dtype)
        y = random_targets(rng, n, sizes[-1], loss, activations[-1]).astype(net.dtype)
        twin = reference.Net.of(net)
        if twin.margin(x, y) >= MARGIN and np.linalg.norm(flat(twin.gradients(x, y))) >= 1e-3:
            return net, x, y
    raise AssertionError("no draw keeps the margin: make the network smaller")


# --- runs -------------------------------------------------------------------------------------


def history(epochs: Sequence[int] = (1, 2, 3), **columns: Any) -> cr.History:
    """A History with these columns; the cost is 1/epoch."""
    result = cr.History()
    result.epochs = list(epochs)
    result.cost = [1 / e for e in epochs]
    result.learning_rate = [0.1] * len(result.epochs)
    result.seconds = [2.0] * len(result.epochs)
    for name, values in columns.items():
        setattr(result, name, values)
    return result


# --- fresh interpreters -----------------------------------------------------------------------


def run_python(*arguments: str, timeout: float = 120, **environment: str) -> str:
    """Run a fresh interpreter to success and return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        text=True,
        timeout=timeout,
    )
    if done.returncode != 0:
        pytest.fail(f"exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def run_bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run ``python -m chainrule bench`` with one thread, whatever comes of it."""
    return subprocess.run(
        [sys.executable, "-m", "chainrule", "bench", *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
        encoding="utf-8",
        env={**processes.environment(1), "PYTHONIOENCODING": "utf-8"},
        timeout=120,
    )
