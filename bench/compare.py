"""Compare chainrule with NumPy and, where installed, PyTorch: ``python bench/compare.py``.

Every system computes the same function of the same weights on one thread. Its result is checked
against float64 NumPy before a time counts. Rounds are interleaved, so that a machine whose speed
drifts slows all systems alike; the table gives medians and the ratio to chainrule.
"""

# ruff: noqa: E402, libraries read the number of threads when they are imported

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import statistics
import timeit
from collections.abc import Callable

import chainrule as cr
import numpy as np

ROUNDS = 15
SECONDS_A_ROUND = 0.02

# sizes, batch; the hidden layers are tanh, the output is linear with half_mse.
CELLS = [
    ([5, 7, 3], 1),
    ([48, 64, 64, 12], 1),
    ([784, 100, 10], 1),
    ([784, 100, 10], 64),
    ([300, 500, 200, 1], 100),
    ([1000, 3000, 1000], 256),
]

Systems = dict[str, Callable[[], object]]


def numpy_forward(net: cr.Network, x: np.ndarray) -> np.ndarray:
    """Return a^L as NumPy computes it, in the dtype of x."""
    last = len(net.weights) - 1
    for i, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        x = x @ w.T.astype(x.dtype) + b.astype(x.dtype)
        x = x if i == last else np.tanh(x)
    return x


def inference(net: cr.Network, x: np.ndarray) -> Systems:
    """Return one callable a system, each giving a^L."""
    weights = [np.ascontiguousarray(w.T) for w in net.weights]
    biases = [b.copy() for b in net.biases]
    buffers = [np.empty((len(x), w.shape[1]), x.dtype) for w in weights]
    out = np.empty((len(x), net.sizes[-1]), x.dtype)

    def with_numpy() -> np.ndarray:
        a = x
        for i, (w, b, z) in enumerate(zip(weights, biases, buffers, strict=True)):
            np.dot(a, w, out=z)
            np.add(z, b, out=z)
            a = z if i == len(weights) - 1 else np.tanh(z, out=z)
        return a

    systems: Systems = {"chainrule": lambda: net.predict(x, out), "numpy": with_numpy}
    try:
        import torch
    except ModuleNotFoundError:
        return systems
    torch.set_num_threads(1)
    model = as_torch(net)
    tensor = torch.from_numpy(x)

    @torch.inference_mode()
    def with_torch() -> np.ndarray:
        return model(tensor).numpy()

    return systems | {"torch": with_torch}


def training(net: cr.Network, x: np.ndarray, y: np.ndarray) -> Systems:
    """Return one callable a system, each doing one step of gradient descent of rate 0."""
    sgd = cr.SGD(0.0)
    weights = [w.copy() for w in net.weights]
    biases = [b.copy() for b in net.biases]

    def with_numpy() -> None:
        a = [x]
        for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
            z = a[-1] @ w.T
            z += b
            a.append(z if i == len(weights) - 1 else np.tanh(z, out=z))
        delta = (a[-1] - y) / np.float32(y.size)
        for i in reversed(range(len(weights))):
            dw, db = delta.T @ a[i], delta.sum(axis=0)
            if i > 0:
                delta = delta @ weights[i]
                delta *= 1 - a[i] * a[i]
            weights[i] -= np.float32(0) * dw
            biases[i] -= np.float32(0) * db

    systems: Systems = {
        "chainrule": lambda: net.train_step(x, y, optimizer=sgd),
        "numpy": with_numpy,
    }
    try:
        import torch
    except ModuleNotFoundError:
        return systems
    model = as_torch(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)

    def with_torch() -> None:
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()

    return systems | {"torch": with_torch}


def as_torch(net: cr.Network):
    """Return the same network as a torch.nn.Sequential."""
    import torch

    layers: list[torch.nn.Module] = []
    for w, b in zip(net.weights, net.biases, strict=True):
        linear = torch.nn.Linear(w.shape[1], w.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(w)))
            linear.bias.copy_(torch.from_numpy(b.copy()))
        layers += [linear, torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def medians(systems: Systems) -> dict[str, float]:
    """Return the median seconds a call over interleaved rounds."""
    timers = {name: timeit.Timer(call) for name, call in systems.items()}
    calls = {}
    for name, timer in timers.items():
        timer.timeit(2)
        calls[name] = max(1, int(SECONDS_A_ROUND / timer.timeit(1)))
    rounds: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(ROUNDS):
        for name, timer in timers.items():
            rounds[name].append(timer.timeit(calls[name]) / calls[name])
    return {name: statistics.median(times) for name, times in rounds.items()}


def report(kind: str, sizes: list[int], batch: int, times: dict[str, float]) -> None:
    """Print one line of the table."""
    cells = [
        f"{name} {seconds * 1e6:10.2f} µs ({seconds / times['chainrule']:5.2f}x)"
        for name, seconds in times.items()
    ]
    print(f"{kind:<9} {'-'.join(map(str, sizes)):<15} {batch:>4}  " + "  ".join(cells), flush=True)


def main() -> None:
    """Run all cells."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    cr.set_num_threads(1)
    cr.show_config()
    rng = np.random.default_rng(0)
    for sizes, batch in CELLS:
        net = cr.Network(sizes, activations=["tanh"] * (len(sizes) - 2) + ["identity"], seed=0)
        x = rng.standard_normal((batch, sizes[0]), np.float32)
        y = rng.standard_normal((batch, sizes[-1]), np.float32)
        systems = inference(net, x)
        exact = numpy_forward(net, x.astype(np.float64))
        for name, call in systems.items():
            np.testing.assert_allclose(call(), exact, rtol=1e-3, atol=1e-4, err_msg=name)
        report("inference", sizes, batch, medians(systems))
        report("training", sizes, batch, medians(training(net, x, y)))


if __name__ == "__main__":
    main()
