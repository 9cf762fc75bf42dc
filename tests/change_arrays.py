"""Run by test_changing_arrays.py: what becomes of an array that changes while a call uses it.

Prints one JSON list a change: its group, its name, the exception that it raised or null, and
whether the call gave the undisturbed result all the same.

Another thread does the changes, as soon as the call gives the GIL away; a call that has ended by
then does not count and is repeated.
"""

from __future__ import annotations

import array
import faulthandler
import json
import mmap
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

import chainrule as cr
from chainrule import _core

N, WIDTH, ATTEMPTS = 3000, 48, 500

Arrays = dict[str, np.ndarray]
Change = Callable[[], object]
Prepare = Callable[[Arrays], Change]

RNG = np.random.default_rng(0)
ORIGINALS: Arrays = {
    "x": RNG.normal(size=(N, WIDTH)).astype(np.float32),
    "y": RNG.normal(size=(N, WIDTH)).astype(np.float32),
    "sample_weight": RNG.random(N),
    "labels": RNG.integers(0, WIDTH, N),
    "out": np.empty((N, WIDTH), np.float32),
}


def network(output: str = "tanh", loss: str = "mse") -> cr.Network:
    return cr.Network([WIDTH, 400, WIDTH], ["tanh", output], loss, seed=0)


# --- calls ------------------------------------------------------------------------------------

# Each calls `ready` once, when nothing but the core is left that could give the GIL away.


def predict(ready: Change, x, out):
    net = network()
    ready()
    return net.predict(x, out)


def frozen(ready: Change, x, out):
    serve = network().freeze()
    ready()
    return serve(x, out=out)


def cost(ready: Change, x, y, sample_weight):
    net = network()
    ready()
    return net.cost(x, y, sample_weight)


def cost_of_labels(ready: Change, x, labels):
    net = network("softmax", "cross_entropy")
    ready()
    return net.cost(x, labels)


def gradients(ready: Change, x, y, sample_weight):
    net = network()
    ready()
    return net.gradients(x, y, sample_weight).flatten()


def vjp(ready: Change, x):
    net = network()
    ready()
    return net.vjp(x)[0]


def pullback(ready: Change, y):
    _, pull = network().vjp(ORIGINALS["x"])
    ready()
    return pull(y)[1]


def trace(ready: Change, x, y):
    net = network()
    ready()
    return _core.trace(net, x, y)[3][0]


def train_step(ready: Change, x, y, sample_weight):
    net = network()
    ready()
    net.train_step(x, y, learning_rate=0.1, sample_weight=sample_weight)
    return net.get_parameters()


def fit(ready: Change, x, y, sample_weight):
    net = network()

    def rate(step: int) -> float:
        if step == 0:
            ready()
        return 0.1

    net.fit(x, y, learning_rate=rate, batch_size=N, sample_weight=sample_weight)
    return net.get_parameters()


def run(call: Callable, arrays: Arrays, ready: Change) -> bytes:
    names = call.__code__.co_varnames[1 : call.__code__.co_argcount]
    return np.asarray(call(ready, *[arrays[name] for name in names])).tobytes()


def during(call: Callable, prepare: Prepare) -> tuple[str | None, bytes]:
    """What a change raised while the call ran, and the call's result."""
    for _ in range(ATTEMPTS):
        arrays = {name: original.copy() for name, original in ORIGINALS.items()}
        change = prepare(arrays)
        ready, over, outcome = threading.Event(), threading.Event(), []

        def other(change=change, ready=ready, over=over, outcome=outcome) -> None:
            ready.wait()
            if not over.is_set():
                outcome.append(error_of(change))

        thread = threading.Thread(target=other)
        thread.start()
        try:
            result = run(call, arrays, ready.set)
        except cr.DivergenceError:
            result = b""
        except (ValueError, IndexError):  # the change came before the arrays were looked at
            outcome.clear()
        over.set()
        ready.set()
        thread.join()
        if outcome:
            return outcome[0], result
    sys.exit("the other thread never ran during the call")


def error_of(change: Change) -> str | None:
    try:
        change()
    except Exception as error:
        return type(error).__name__
    return None


# --- changes ----------------------------------------------------------------------------------


def resize(a: np.ndarray, rows: int) -> None:
    a.resize((rows, *a.shape[1:]), refcheck=False)


def resized(name: str, rows: int) -> Prepare:
    return lambda arrays: partial(resize, arrays[name], rows)


def lent(lend: Callable[[np.ndarray], np.ndarray]) -> Prepare:
    """X is made of an array that owns its memory, and the owner shrinks."""

    def prepare(arrays: Arrays) -> Change:
        owner = arrays["x"]
        arrays["x"] = lend(owner)
        return partial(resize, owner, 1)

    return prepare


LENT = {
    "a view": lambda owner: owner[:],
    "a view of a view": lambda owner: owner.view(type("Sub", (np.ndarray,), {}))[:],
    "a view turned twice": lambda owner: owner[::-1][::-1],
    "a memoryview": lambda owner: np.asarray(memoryview(owner)),
    "a memoryview of a view": lambda owner: np.asarray(memoryview(owner[:])),
}


def of_buffer(make: Callable[[bytes], object], close: str) -> Prepare:
    """X lies in a buffer that is not NumPy's, and the buffer goes."""

    def prepare(arrays: Arrays) -> Change:
        buffer = make(arrays["x"].tobytes())
        arrays["x"] = np.frombuffer(buffer, np.float32).reshape(N, WIDTH)
        return getattr(buffer, close)

    return prepare


def mapped(content: bytes) -> mmap.mmap:
    memory = mmap.mmap(-1, len(content))
    memory[:] = content
    return memory


BUFFERS = {
    "bytearray": of_buffer(bytearray, "clear"),
    "array": of_buffer(partial(array.array, "f"), "pop"),
    "mmap": of_buffer(mapped, "close"),
}


def set_all(attribute: str, value: object) -> Prepare:
    return lambda arrays: lambda: [setattr(a, attribute, value) for a in arrays.values()]


RENAMED = {
    "forgotten": lambda arrays: arrays.clear,
    "write-protected": lambda arrays: lambda: [a.setflags(write=False) for a in arrays.values()],
    "flattened": set_all("shape", (-1,)),
    "of bytes": set_all("dtype", np.uint8),
    "of strides 0": lambda arrays: lambda: setattr(arrays["x"], "strides", (0, 4)),
}

NUMBERS = {
    "x": [np.nan],
    "y": [np.inf],
    "sample_weight": [-1.0, np.nan],
    "labels": [-1, WIDTH, 2**62, -(2**63)],
}


def changes(call: Callable) -> Iterator[tuple[str, str, Prepare]]:
    arguments = call.__code__.co_varnames[1 : call.__code__.co_argcount]
    for name in arguments:
        yield "resized", f"{name} smaller", resized(name, 1)
        yield "resized", f"{name} larger", resized(name, 3 * N)
        for value in NUMBERS.get(name, []):
            yield (
                "numbers",
                f"{name} {value}",
                lambda arrays, name=name, value=value: partial(arrays[name].fill, value),
            )
    if "x" in arguments:
        yield from (("lent", how, lent(lend)) for how, lend in LENT.items())
        yield from (("buffers", how, prepare) for how, prepare in BUFFERS.items())
        yield from (("renamed", how, prepare) for how, prepare in RENAMED.items())


def main(call: Callable) -> None:
    arrays = {name: original.copy() for name, original in ORIGINALS.items()}
    expected = run(call, arrays, lambda: None)
    for group, name, prepare in changes(call):
        error, result = during(call, prepare)
        print(json.dumps([group, name, error, result == expected]), flush=True)


if __name__ == "__main__":
    faulthandler.enable()
    warnings.simplefilter("ignore", DeprecationWarning)  # of setting strides and shapes
    cr.set_num_threads(1)
    sys.setswitchinterval(1000)  # the GIL changes hands only where it is given away
    main(globals()[sys.argv[1]])
