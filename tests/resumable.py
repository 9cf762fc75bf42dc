"""Runs that can be killed and resumed: what test_resume.py compares, and a script to be killed.

    python tests/resumable.py CASE CHECKPOINT [THREADS]

trains CASE until it is done, resuming from CHECKPOINT if that exists; prints "training" before the
first step.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import chainrule as cr

N = 1100
EPOCHS = 6


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, N)
    x = rng.normal(0, 1.5, (N, 5)) + 2 * np.eye(3, 5)[y]
    return x.astype(np.float32), y


def network(seed: int = 7) -> cr.Network:
    return cr.Network([5, 16, 3], ["tanh", "softmax"], "cross_entropy", seed=seed)


class Slow:
    """Makes a run long enough to be killed within: it sleeps after some steps."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_batch_end(self, network: cr.Network, epoch: int, step: int, cost: float) -> None:
        if step % 5 == 0:
            time.sleep(self.seconds)


class Halving:
    """Halves the optimiser's rate after every second epoch, and counts them."""

    def __init__(self, optimizer: cr.SGD) -> None:
        self.optimizer, self.epochs = optimizer, 0

    def on_epoch_end(self, network: cr.Network, history: cr.History) -> None:
        self.epochs += 1
        if self.epochs % 2 == 0:
            self.optimizer.learning_rate /= 2

    def state_dict(self) -> dict[str, int]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epochs = state["epochs"]


def batches() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    x, y = data()
    weight = np.random.default_rng(1).random(N)
    for start in range(0, N, 50):
        rows = slice(start, start + 50)
        yield x[rows], y[rows], weight[rows]


def falling(step: int) -> float:
    return 0.05 / (1 + step / 50)


def adam() -> dict[str, Any]:
    x, y = data()
    return {"X": x, "Y": y, "batch_size": 32, "optimizer": cr.Adam(0.01)}


def stochastic() -> dict[str, Any]:
    x, y = data()
    return {"X": x, "Y": y, "batch_size": 1, "learning_rate": falling}


def momentum() -> dict[str, Any]:
    """Everything that has a state, on data that the core cannot read where they lie."""
    x, y = data()
    optimizer = cr.SGD(0.05, momentum=0.9, nesterov=True)
    return {
        "X": x.astype(np.float16),
        "Y": y,
        "batch_size": 37,
        "optimizer": optimizer,
        "sample_weight": np.random.default_rng(1).random(N),
        "class_weight": "balanced",
        "dropout": 0.1,
        "validation_split": 0.2,
        "metrics": ["accuracy", "f1"],
        "early_stopping": cr.EarlyStopping(patience=50, monitor="f1"),
        "callbacks": [Halving(optimizer)],
    }


def stops_early() -> dict[str, Any]:
    x, y = data()
    return {
        "X": x,
        "Y": y,
        "batch_size": 16,
        "optimizer": cr.Adam(0.5),
        "validation_data": data(),
        "early_stopping": cr.EarlyStopping(patience=1),
    }


def stream() -> dict[str, Any]:
    return {"X": batches, "optimizer": cr.Adam(0.01), "dropout": 0.2}


def dropout() -> dict[str, Any]:
    return {**adam(), "dropout": [0.3], "label_smoothing": 0.1}


def plateau() -> dict[str, Any]:
    """A rate that halves after every epoch that is not much better than the best one."""
    x, y = data()
    rate = cr.schedules.ReduceOnPlateau(0.5, factor=0.5, patience=0, threshold=0.2)
    return {"X": x, "Y": y, "batch_size": 32, "optimizer": cr.RMSprop(rate)}


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "adam": adam,
    "stochastic": stochastic,
    "momentum": momentum,
    "stops early": stops_early,
    "stream": stream,
    "dropout": dropout,
    "plateau": plateau,
}


def train(case: str, net: cr.Network, slow: float = 0.0, **options: Any) -> tuple[Any, Any]:
    """Return the history and the optimiser (or None) of a run of a case."""
    arguments = {"epochs": EPOCHS, **CASES[case](), **options}
    if slow:
        arguments["callbacks"] = [*arguments.get("callbacks", []), Slow(slow)]
    return net.fit(**arguments), arguments.get("optimizer")


if __name__ == "__main__":
    # A shell starts what runs in the background to ignore it, and so do its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    case, path, *threads = sys.argv[1:]
    data()  # loads numpy.random, whose import loses a KeyboardInterrupt that comes within it
    print("training", flush=True)
    train(
        case,
        network(),
        slow=1e-2,
        checkpoint=cr.Checkpoint(path, every_seconds=5e-3),
        resume=True,
        threads=int(threads[0]) if threads else None,
    )
