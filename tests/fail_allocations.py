"""Run by test_allocation_failure.py: lets one allocation of a call after the other fail.

    fail_allocations.py KIND

prints a JSON object: for every call how many of its allocations can fail, and what went wrong. A
failure has to raise MemoryError, leave what the call works on as it was, and let the next call
succeed; a call that does without has to give the right bits; nothing may leak. Each call is tried
in a process of its own, so that one that crashes is told from the others.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import json
import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import _core
from chainrule.serving import Batcher

SWEEPS = 3  # that are measured: what leaks at one allocation leaks at least so often


def in_new_thread(call: Callable[[], Any]) -> Any:
    """A thread of its own has none of the memory yet that threads keep from call to call."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


class NewFails:
    """operator new, or malloc of a large block, fails once: needs failing_new.cpp."""

    forever = 0
    beyond = 5
    run = staticmethod(in_new_thread)

    def __init__(self) -> None:
        self.shim = ctypes.CDLL(None)
        self.shim.fail_allocation.argtypes = (ctypes.c_long, ctypes.c_int)
        self.shim.live_blocks.restype = ctypes.c_long

    def start(self, n: int) -> None:
        self.shim.fail_allocation(n, self.forever)

    def stop(self) -> None:
        self.shim.stop_failing()

    def live(self) -> int:
        return self.shim.live_blocks()

    def is_told_by(self, error: Exception) -> bool:
        return isinstance(error, MemoryError)


class NewFailsForGood(NewFails):
    """As above, and so do all that follow."""

    forever = 1


class PythonFails:
    """One of Python's own allocators fails once, in whatever thread.

    What the interpreter itself then leaks is not counted.
    """

    beyond = 20
    run = staticmethod(lambda call: call())

    def __init__(self) -> None:
        import _testcapi

        self._fail, self.stop = _testcapi.set_nomemory, _testcapi.remove_mem_hooks

    def start(self, n: int) -> None:
        self._fail(n - 1, n)

    def live(self) -> int:
        return 0

    def is_told_by(self, error: Exception) -> bool:
        """pybind11 and the interpreter may raise an error of their own from it."""
        return isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError)


# --- what is compared -------------------------------------------------------------------------


def digest(value: Any) -> Any:
    """Everything about a result or an object that a failure must not change."""
    if isinstance(value, (_core.Network, _core.Predictor)):
        architecture = value.sizes, value.activations, value.dtype, value.has_bias
        return architecture, getattr(value, "epoch", 0), value.get_parameters().tobytes()
    if isinstance(value, cr.Gradients):
        return value.cost, value.flatten().tobytes()
    if isinstance(value, cr.History):
        return value.epochs, value.cost
    if isinstance(value, (cr.SGD, cr.Adam, _core.OptimizerState)):
        return value.step
    if isinstance(value, _core.Tape):
        return digest(value.pullback(TARGETS))
    if isinstance(value, Batcher):
        return value.statistics["waiting"]
    if isinstance(value, Path):
        return [(path.name, digest(cr.Network.load(path))) for path in sorted(value.iterdir())]
    if isinstance(value, (tuple, list)):
        return [digest(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    return value


class Trial:
    """One call, and the objects that are as before where it fails."""

    def __init__(self, call: Callable[[], object], *objects: object) -> None:
        self.call, self.objects = call, objects
        self.before = digest(objects)

    def outcome(self) -> Any:
        return digest(self.call()), digest(self.objects)

    def check_after_failure(self, expected: Any) -> None:
        assert digest(self.objects) == self.before
        assert self.outcome() == expected


EPOCHS, STEPS = 2, 2


class FitTrial(Trial):
    """Where fit fails, the weights are those of the last completed step."""

    def __init__(
        self,
        make: Callable[[], Any],
        streamed: bool = False,
        wide: bool = False,
        threads: int = 1,
    ) -> None:
        self.make = wide_network if wide else network
        self.net, self.optimizer, self.threads = self.make(), make(), threads
        x, y = (WIDE_X, LABELS) if wide else (X, Y)
        self.batches = []
        for epoch in range(EPOCHS + 1):
            order = _core.permutation(self.net.seed, epoch, len(x))
            self.batches += [(x[rows], y[rows]) for rows in np.split(order, STEPS)]
        self.data = (Epochs(self.batches), None) if streamed else (x, y)
        self.batch_size = len(x) // STEPS
        super().__init__(self.fit, self.net, self.optimizer)

    def fit(self) -> cr.History:
        options = {"epochs": EPOCHS, "batch_size": self.batch_size, "threads": self.threads}
        return self.net.fit(*self.data, optimizer=self.optimizer, **options)

    def check_after_failure(self, expected: Any) -> None:
        done = self.optimizer.step
        twin, rule = self.make(), copy.copy(self.optimizer)
        for batch in self.batches[:done]:
            twin.train_step(*batch, optimizer=rule)
        assert digest(self.net.get_parameters()) == digest(twin.get_parameters())
        # An epoch counts when nothing of it is left to do.
        assert (done - 1) // STEPS <= self.net.epoch <= done // STEPS
        for net, optimizer in ((self.net, self.optimizer), (twin, rule)):
            net.train_step(*self.batches[done], optimizer=optimizer)
        assert digest(self.net.get_parameters()) == digest(twin.get_parameters())
        epoch = self.net.epoch
        assert len(self.fit()) == EPOCHS
        assert self.net.epoch == epoch + EPOCHS


class Epochs:
    """Batches that are gone through an epoch at a time."""

    def __init__(self, batches: list[Any]) -> None:
        self.batches, self.passes = batches, 0

    def __iter__(self) -> Iterator[Any]:
        start = self.passes % EPOCHS * STEPS
        self.passes += 1
        return iter(self.batches[start : start + STEPS])


# --- the calls --------------------------------------------------------------------------------

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 5)).astype(np.float32)
Y = rng.integers(0, 3, 40)
TARGETS = np.eye(3, dtype=np.float32)[Y]
MANY = rng.normal(size=(6000, 5)).astype(np.float32)
WIDE_X = rng.normal(size=(600, 100)).astype(np.float32)
LABELS = rng.integers(0, 10, 600)


def network() -> cr.Network:
    return cr.Network([5, 7, 3], ["tanh", "softmax"], "cross_entropy", seed=0)


def wide_network() -> cr.Network:
    return cr.Network([100, 200, 10], ["tanh", "softmax"], "cross_entropy", seed=0)


def on(make: Callable[[], cr.Network], call: Callable[[cr.Network], object]) -> Any:
    """What prepares a call on a network of its own."""

    def prepare() -> Trial:
        net = make()
        return Trial(lambda: call(net), net)

    return prepare


def predict_after_a_smaller_batch() -> Trial:
    net = network()
    net.predict(X)
    return Trial(partial(net.predict, MANY), net)


def predict_into_out() -> Trial:
    net, out = network(), np.zeros((len(MANY), 3), np.float32)
    return Trial(partial(net.predict, MANY, out), net, out)


def vjp(net: cr.Network) -> object:
    a, pullback = net.vjp(X)
    return a, pullback(a)


def train_step(make: Callable[[], Any]) -> Trial:
    net, optimizer = network(), make()
    return Trial(lambda: net.train_step(X, Y, optimizer=optimizer), net, optimizer)


def apply() -> Trial:
    net, optimizer = network(), cr.Adam()
    gradients = net.gradients(X, Y)
    return Trial(lambda: net.apply(gradients, optimizer), net, optimizer)


def unpickle() -> Trial:
    return Trial(partial(pickle.loads, pickle.dumps(wide_network())))


def save() -> Trial:
    """Over a file of the same network: whether the new one took its place does not matter."""
    net, folder = wide_network(), Path(tempfile.mkdtemp())
    net.save(folder / "net")
    return Trial(partial(net.save, folder / "net"), net, folder)


def load() -> Trial:
    folder = Path(tempfile.mkdtemp())
    wide_network().save(folder / "net")
    return Trial(partial(cr.Network.load, folder / "net"), folder)


CALLS: dict[str, Callable[[], Trial]] = {
    "construct": lambda: Trial(network),
    "predict": on(network, lambda net: net.predict(X)),
    "predict a vector": on(network, lambda net: net.predict(X[0])),
    "predict many rows": on(network, lambda net: net.predict(MANY)),
    "predict after a smaller batch": predict_after_a_smaller_batch,
    "predict into out": predict_into_out,
    "predict converted rows": on(network, lambda net: net.predict(MANY.astype(np.float64))),
    "predict a list": on(network, lambda net: net.predict(X.tolist())),
    "share a call": on(lambda: Batcher(network().freeze()), lambda shared: shared.predict(X[0])),
    "predict on threads": on(wide_network, lambda net: net.predict(WIDE_X, threads=2)),
    "cost": on(network, lambda net: net.cost(MANY, np.eye(3)[np.arange(len(MANY)) % 3])),
    "gradients": on(network, lambda net: net.gradients(X, Y, np.ones(40))),
    "trace": on(network, lambda net: net.trace(X, Y).delta),
    "evaluate": on(network, lambda net: list(net.evaluate(X, Y).values())),
    "vjp": on(network, vjp),
    "train_step": partial(train_step, lambda: cr.SGD(0.1)),
    "train_step, Adam": partial(train_step, cr.Adam),
    "train_step, dropout": on(
        network, lambda net: net.train_step(X, Y, learning_rate=0.1, dropout=0.5)
    ),
    "apply": apply,
    "set_parameters": on(network, lambda net: net.set_parameters(net.get_parameters())),
    "fit": partial(FitTrial, lambda: cr.SGD(0.1)),
    "fit, Adam": partial(FitTrial, cr.Adam),
    "fit, stream": partial(FitTrial, lambda: cr.SGD(0.1, momentum=0.9), streamed=True),
    "fit on threads": partial(FitTrial, lambda: cr.SGD(0.1), wide=True, threads=2),
    "freeze": on(network, lambda net: net.freeze()),
    "copy": on(network, copy.copy),
    "deepcopy": on(network, copy.deepcopy),
    "pickle": on(wide_network, pickle.dumps),
    "unpickle": unpickle,
    "save": save,
    "load": load,
}

# The result is NumPy's, and the activations of one row lie on the stack.
ALLOCATION_FREE = {"predict a vector"}


# The methods of the core alone: where its own memory is short, the interpreter loses errors of
# Python code, NumPy's and safetensors' too. But fit must end whatever happens.


def method(name: str, *arguments: object) -> Callable[[], Trial]:
    """What prepares the call of a method of the core, with no Python around it."""

    def prepare() -> Trial:
        net = network()
        return Trial(partial(getattr(net, name), *arguments), net)

    return prepare


def function(name: str, *arguments: object) -> Callable[[], Trial]:
    """What prepares the call of a function of the core on a network."""

    def prepare() -> Trial:
        net = network()
        return Trial(partial(getattr(_core, name), net, *arguments), net)

    return prepare


def construct_core() -> Trial:
    return Trial(partial(_core.Network, (5, 7, 3), ("tanh", "tanh"), "mse", "float32", True))


def freeze_core() -> Trial:
    net = network()
    return Trial(partial(_core.Predictor, net), net)


def pull_back() -> Trial:
    net = network()
    return Trial(partial(_core.record(net, X)[1].pullback, TARGETS), net)


def make_state() -> Trial:
    net = network()
    return Trial(partial(_core.OptimizerState, net, "adam", {"beta1": 0.5}), net)


def get_state() -> Trial:
    net = network()
    state = _core.OptimizerState(net, "adam", {})
    return Trial(lambda: list(state.get().values()), net, state)


def set_state() -> Trial:
    net = network()
    state = _core.OptimizerState(net, "sgd", {"momentum": 0.5})
    return Trial(partial(state.set, 3, {"momentum_buffer": np.ones(66)}), net, state)


def take_snapshot() -> Trial:
    net = network()
    state = _core.OptimizerState(net, "adam", {})
    snapshot = partial(_core.Snapshot, net, state)
    return Trial(lambda: snapshot().restore(), net, state)


def step_core() -> Trial:
    net = network()
    state = _core.OptimizerState(net, "adam", {})
    return Trial(partial(_core.step, net, X, Y, np.ones(40), state, 0.1), net, state)


def update_core() -> Trial:
    net = network()
    state = _core.OptimizerState(net, "sgd", {})
    return Trial(partial(_core.update, net, net.weights, net.biases, state, 0.1), net, state)


def train_core() -> Trial:
    net = network()
    state = _core.OptimizerState(net, "adam", {})
    rates = np.full(3, 0.1)
    arguments = (X, Y, None, 16, (net.seed, 0), state, rates, 1)
    return Trial(partial(_core.train_epoch, net, *arguments), net, state)


def combine_core() -> object:
    combiner = _core.Combiner(0.0, 8, 8, RuntimeError)
    with _core.Admission(combiner, 3):
        waiting = combiner.rows
    result = combiner.combine(float, lambda _, xs: xs, 2, 1, None)
    return waiting, combiner.rows, result


CORE_CALLS: dict[str, Callable[[], Trial]] = {
    "Network": construct_core,
    "predict": method("predict", X),
    "predict a vector": method("predict", X[0]),
    "predict into out": predict_into_out,
    "predict converted rows": method("predict", X.astype(np.float64)),
    "cost": method("cost", X, Y, np.ones(40)),
    "gradients_of": function("gradients", X, Y),
    "trace_of": function("trace", X, Y),
    "record": function("record", X),
    "pullback": pull_back,
    "get_parameters": method("get_parameters"),
    "set_parameters": method("set_parameters", np.ones(66)),
    "initialize": function("initialize", ["zeros", "zeros"], 1),
    "check_data": function("check_data", X, Y, None),
    "OptimizerState": make_state,
    "get": get_state,
    "set": set_state,
    "Snapshot": take_snapshot,
    "Position": lambda: Trial(lambda: _core.Position(1, 5, 2.0, 4.0).mean),
    "Combiner": lambda: Trial(combine_core),
    "step": step_core,
    "step, dropout": function("step", X, Y, None, None, 0.1, None, None, 0.1, ([0.5], 0, 0, 0)),
    "update": update_core,
    "train_epoch": train_core,
    "Predictor": freeze_core,
    "fit": partial(FitTrial, lambda: cr.SGD(0.1)),
}

KINDS: dict[str, tuple[Callable[[], Any], dict[str, Callable[[], Trial]]]] = {
    "new": (NewFails, CALLS),
    "new for good": (NewFailsForGood, CALLS),
    "Python": (PythonFails, CORE_CALLS),
}


# --- the sweeps -------------------------------------------------------------------------------


def attempt(kind: Any, prepare: Callable[[], Trial], n: int, expected: Any) -> bool:
    """Let the n-th allocation of the call fail; return whether the call did."""
    trial = prepare()
    kind.start(n)
    try:
        try:
            result = trial.call()
        finally:
            kind.stop()
    except Exception as error:
        if not kind.is_told_by(error):
            raise
        trial.check_after_failure(expected)
        return True
    assert (digest(result), digest(trial.objects)) == expected
    return False


def sweep(kind: Any, prepare: Callable[[], Trial], expected: Any, report: Any) -> int:
    """Let every allocation fail; return the number of the last that made the call fail.

    Python may serve one from what it keeps for reuse, and a team that cannot be had is done
    without: so many that succeed in a row lie beyond the last.
    """
    n = last = 0
    while n < last + kind.beyond:
        n += 1
        report.write(f"{n}\n")
        if kind.run(partial(attempt, kind, prepare, n, expected)):
            last = n
    return last


def try_call(kind: Any, prepare: Callable[[], Trial], report: Any) -> int:
    expected = kind.run(lambda: prepare().outcome())
    failures = sweep(kind, prepare, expected, report)
    gc.collect()
    live = kind.live()
    for _ in range(SWEEPS):
        sweep(kind, prepare, expected, report)
    gc.collect()
    grown = kind.live() - live
    assert abs(grown) < SWEEPS, f"{SWEEPS} sweeps leak {grown} blocks"
    return failures


def in_child(work: Callable[[Any], int]) -> tuple[int, str]:
    """Do work(report) in a process of its own; return its result, and what went wrong."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with open(writing, "w", buffering=1) as report:
            try:
                report.write(f"{work(report)}\n")
            except BaseException:
                report.write(traceback.format_exc() + "-1\n")
        os._exit(0)
    os.close(writing)
    with open(reading) as report:
        lines = report.read().splitlines()
    status = os.waitpid(child, 0)[1]
    if status != 0:
        return 0, f"signal {status} when allocation {lines[-1]} failed"
    return int(lines[-1]), "\n".join(line for line in lines[:-1] if not line.isdigit())


if __name__ == "__main__":
    make, calls = KINDS[sys.argv[1]]
    kind = make()
    with tempfile.TemporaryDirectory() as tempfile.tempdir:
        tried = {name: in_child(partial(try_call, kind, calls[name])) for name in calls}
    print(json.dumps(tried))
