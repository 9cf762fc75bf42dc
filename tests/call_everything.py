"""Run by test_float_environment.py: prints the calls that change the floating-point environment.

argv[1] is the environment that the calls meet: as it is, flushing, or upward; argv[2] the thread
that they run in: main or another. The larger ones run in a team of two.
"""

from __future__ import annotations

import copy
import json
import pickle
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

import chainrule as cr
import float_environment
from chainrule import _core

RNG = np.random.default_rng(0)
ELEMENTARY = ["exp", "expm1", "log", "log1p", "tanh", "sigmoid", "softplus", "erf", "gelu", "silu"]
OPTIMIZERS = [
    cr.SGD(0.1),
    cr.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    cr.Adam(),
]
EXTREMES = [0.0, -0.0, 1e-310, 1e300, -1e300, np.inf, -np.inf, np.nan]


def calls() -> Iterator[tuple[str, Callable[[], object]]]:
    for dtype in ("float32", "float64"):
        for init in _core.INITIALIZERS:
            yield f"{init} {dtype}", partial(cr.Network, [5, 7, 3], init=init, dtype=dtype, seed=0)
        numbers = finite_or_not(dtype, [*RNG.normal(size=40), *EXTREMES])
        for name in ELEMENTARY:
            yield f"{name} {dtype}", partial(_core.elementary, name, numbers)
        for g in _core.ACTIVATIONS:
            net = cr.Network([48, 33], g, "sse", dtype=dtype, seed=0)
            yield f"predict of {g} {dtype}", partial(net.predict, numbers)
            yield f"gradients of {g} {dtype}", partial(net.gradients, numbers, numbers[:33])
        for loss in _core.LOSSES:
            g = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}.get(loss, "tanh")
            yield from calls_of(cr.Network([5, 7, 3], ["tanh", g], loss, dtype=dtype, seed=0), 20)
        yield from calls_of(cr.Network([90, 160, 60], "tanh", "mse", dtype=dtype, seed=0), 100)


def finite_or_not(dtype, numbers) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.array(numbers).astype(dtype)


def calls_of(net: cr.Network, n: int) -> Iterator[tuple[str, Callable[[], object]]]:
    x, y = (RNG.random((n, k)).astype(net.dtype) for k in (net.sizes[0], net.sizes[-1]))
    hostile = x.copy()
    hostile[: len(EXTREMES), 1] = finite_or_not(net.dtype, EXTREMES)
    label = f"of {net.sizes} {net.activations[-1]} {net.loss} {net.dtype}"
    for data in (x, hostile):
        yield f"predict {label}", partial(net.predict, data)
        yield f"predict of one {label}", partial(net.predict, data[0])
        yield f"predict, converted, {label}", partial(net.predict, data.tolist())
        yield f"frozen {label}", partial(net.freeze(), data, threads=2)
        yield f"cost {label}", partial(net.cost, data, y)
        yield f"gradients {label}", partial(net.gradients, data, y)
        yield f"trace {label}", partial(net.trace, data, y)
        yield f"explain {label}", partial(net.explain, data[0], y[0], 1, 0, 0)
        yield f"evaluate {label}", partial(net.evaluate, data, y)
        yield f"vjp {label}", partial(net.vjp, data)
        yield f"pullback {label}", lambda data=data: net.vjp(data)[1](y)
        for fit in (fits, partial(fits, batch_size=None), partial(fits, threads=2)):
            yield f"fit {label}", partial(fit, net, data, y)
    for optimizer in OPTIMIZERS:
        train = partial(copy.deepcopy(net).train_step, x, y, optimizer=copy.copy(optimizer))
        yield f"train_step with {optimizer!r} {label}", train
    yield f"copies {label}", lambda: (copy.deepcopy(net), pickle.loads(pickle.dumps(net)))
    yield f"files {label}", partial(saved_and_loaded, net)
    if n < 50:
        yield f"check_gradients {label}", partial(net.check_gradients, x[:1], y[:1])


def fits(net: cr.Network, x, y, **options) -> None:
    """Data that are not finite, and a rate that diverges, end the training."""
    for rate in (0.01, 1e30):
        try:
            copy.deepcopy(net).fit(x, y, learning_rate=rate, **options)
        except (ValueError, cr.DivergenceError):
            pass


def saved_and_loaded(net: cr.Network) -> None:
    with tempfile.TemporaryDirectory() as folder:
        net.save(Path(folder) / "net")
        cr.Network.load(Path(folder) / "net")


def changing() -> None:
    """Print the calls after which the control bits of this thread are others than before."""
    SET[sys.argv[1]]()
    expected = float_environment.control()
    done, found = 0, []
    for name, call in calls():
        call()
        done += 1
        if float_environment.control() != expected:
            found.append(name)
            expected = float_environment.control()
    print(json.dumps([done, found]))


SET: dict[str, Callable[[], None]] = {
    "as it is": lambda: None,
    "flushing": float_environment.flush_subnormals,
    "upward": float_environment.round_upward,
}

if __name__ == "__main__":
    cr.set_num_threads(2)
    if sys.argv[2] == "main":
        changing()
    else:
        thread = threading.Thread(target=changing)
        thread.start()
        thread.join()
