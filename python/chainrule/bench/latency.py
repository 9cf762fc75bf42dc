"""``python -m chainrule bench latency``: the tail of single calls, beside other runtimes."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.network import Network
from chainrule.onnx import to_onnx

from . import cells, output, packages, report, runner
from .about import choose_peers, describe
from .peers import LATENCY, chainrule_
from .problem import Problem
from .processes import Process

if TYPE_CHECKING:
    from numpy.typing import NDArray

Result = dict[str, Any]

#: Networks that are measured where no model is named.
NETS = (cells.TINY, cells.POLICY, cells.DIGITS_128, cells.RANKING_512)

BUSY = "every core busy"
BLOCKS = 10
THREADS = 32
GAP = 0.002  # seconds of an idle gap
CALLS, QUICK_CALLS = 1_000_000, 20_000
GAPS_PER_CALL = 1 / 100
MEMORY_CALLS_PER_CALL = 10
POINTS = 300  # of a line in the picture

# One such process on every core is what "busy" means: it sweeps 8 MB, and ends with its parent.
LOAD = """
import os, sys
import numpy
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {int(sys.argv[1])})
a, parent = numpy.zeros(2**20), os.getppid()
print(flush=True)
while os.getppid() == parent:
    numpy.add(a, 1.0, out=a)
"""


@dataclass(frozen=True)
class Model:
    """A network that is served."""

    name: str
    network: Network

    @property
    def x(self) -> NDArray[Any]:
        """One sample, shape (1, n_0)."""
        drawn = np.random.default_rng(0).standard_normal((1, self.network.sizes[0]))
        return drawn.astype(self.network.dtype)

    def write(self, folder: str) -> None:
        """Write what the systems read: the model file, and ONNX with a batch of one."""
        self.network.save(f"{folder}/model.safetensors")
        model = to_onnx(self.network)
        for end in (*model.graph.input, *model.graph.output):
            end.type.tensor_type.shape.dim[0].dim_value = 1
        Path(folder, "model.onnx").write_bytes(model.SerializeToString())


class ModelReference:
    """chainrule's answer in float64, and how far rounding takes others away from it.

    The tolerance is that of ``reference.Reference``.
    """

    def __init__(self, model: Model) -> None:
        net = model.network
        exact = Network(net.sizes, net.activations, net.loss, dtype="float64", bias=net.has_bias)
        exact.set_parameters(net.get_parameters().astype(np.float64))
        self.answer = exact.predict(model.x)
        units = 2 * len(net.activations) * max(net.sizes) ** 0.5
        self.tolerance = float(units * np.finfo(net.dtype).eps)

    def error(self, actual: Any) -> float:
        """Return the relative error in the Euclidean norm."""
        (answer,) = actual
        if answer.shape != self.answer.shape:
            return float("inf")
        size = np.linalg.norm(self.answer) or 1.0  # of a network that answers zeros
        error = np.linalg.norm(answer - self.answer) / size
        return float(error) if np.isfinite(error) else float("inf")


def measure(model: Model, held: Mapping[str, runner.System], calls: int) -> Result:
    """Let every system answer for a model in all circumstances, in turn, block by block."""
    with TemporaryDirectory() as folder:
        model.write(folder)
        entrants = _entrants(model, held, folder)
        cores = _cores()
        gaps = max(BLOCKS, round(calls * GAPS_PER_CALL))
        circumstances: dict[str, tuple[str, int, Any]] = {
            "alone": ("alone", calls, ()),
            BUSY: ("alone", calls, ()),
            f"{THREADS} threads": ("threads", calls, (THREADS, cores)),
            f"after gaps of {GAP * 1e3:g} ms": ("idle", gaps, (GAP,)),
        }
        found: Result = {"circumstances": {}}
        for name, (method, amount, arguments) in circumstances.items():
            print(f"{model.name}, {name}: {amount:,} calls", file=sys.stderr, flush=True)
            with busy(cores) if name == BUSY else nullcontext():
                found["circumstances"][name] = _times(entrants, method, amount, arguments)
        for entrant in runner.in_turn(entrants):
            entrant.check_again(training=False)
        found["memory"] = _memory(model, folder, calls * MEMORY_CALLS_PER_CALL)
    clock = held[report.OURS].ask("clock", calls)
    return {
        "name": model.name,
        "sizes": model.network.sizes,
        "activations": model.network.activations,
        "dtype": model.network.dtype.name,
        "clock": _quantiles(np.frombuffer(clock[0], np.int64)),
        "systems": {name: entrant.result for name, entrant in entrants.items()},
        **found,
    }


def _entrants(
    model: Model, held: Mapping[str, runner.System], folder: str
) -> dict[str, runner.Entrant]:
    reference = ModelReference(model)
    entrants = {name: runner.Entrant(system, reference) for name, system in held.items()}
    for entrant in entrants.values():
        entrant.prepare(folder, model.x)
    runner.choose(entrants)
    return entrants


def _times(
    entrants: dict[str, runner.Entrant], method: str, calls: int, arguments: tuple[Any, ...]
) -> Result:
    """Time calls of each system, a block at a time."""
    times: dict[runner.Entrant, bytes] = dict.fromkeys(entrants.values(), b"")
    seconds = dict.fromkeys(entrants.values(), 0.0)
    for turn in range(BLOCKS):
        for entrant in runner.in_turn(entrants, turn):
            if answer := entrant.ask(method, calls // BLOCKS, *arguments):
                times[entrant] += answer[0]
                seconds[entrant] += answer[1]
    found = {}
    for name, entrant in entrants.items():
        if entrant.right:
            each = np.frombuffer(times[entrant], np.int64)
            found[name] = {
                **_quantiles(each),
                "calls": len(each),
                "calls_per_second": len(each) / seconds[entrant],
                "exceeded": _exceeded(each),
            }
    return found


def _quantiles(nanoseconds: NDArray[np.int64]) -> dict[str, float]:
    each = nanoseconds * 1e-9
    names, shares = zip(*runner.QUANTILES.items(), strict=True)
    quantiles = np.percentile(each, shares, method="higher").tolist()
    return {**dict(zip(names, quantiles, strict=True)), "max": float(each.max())}


def _exceeded(nanoseconds: NDArray[np.int64]) -> list[list[float]]:
    """Return times, and the shares of calls that took as long at least."""
    each = np.sort(nanoseconds) * 1e-9
    counts = np.unique(np.geomspace(len(each), 1, POINTS).astype(int))[::-1]
    return [each[-counts].tolist(), (counts / len(each)).tolist()]


def _memory(model: Model, folder: str, calls: int) -> Result:
    """Return by how much a process of chainrule's own grows with so many calls."""
    process = Process(report.OURS, 1, "latency_worker")
    try:
        variants = process.ask("prepare", folder, model.x)
        process.ask("choose", list(variants))
        return {"calls": calls, "growth": process.ask("memory", calls)}
    finally:
        process.close()


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextmanager
def busy(cores: list[int]) -> Iterator[None]:
    """Keep every core busy with another process's work."""
    command = [sys.executable, "-c", LOAD]
    held = [subprocess.Popen([*command, str(core)], stdout=subprocess.PIPE) for core in cores]
    try:
        for process in held:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in held:
            process.kill()
            process.communicate()


def _models(path: str | None) -> list[Model]:
    if path is not None:
        return [Model(Path(path).name, Network.load(path))]
    cases = [cells.inference(net, 1) for net in NETS]
    return [Model(cell.family, chainrule_.network(Problem(cell))) for cell in cases]


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; return the exit status."""
    calls = arguments.calls or (QUICK_CALLS if arguments.quick else CALLS)
    try:
        if calls < BLOCKS * THREADS:
            raise ValueError(f"--calls must be at least {BLOCKS * THREADS}, got {calls}")
        packages.require("onnx", what="latency")
        names, missing = choose_peers(arguments.systems, (LATENCY,), (report.OURS,))
        models = _models(arguments.model)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    about = describe(names, missing)
    print(report.stamp(about), flush=True)
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
    found: list[Result] = []
    with runner.processes(names, 1, "latency_worker") as held:
        for model in models:
            found.append(measure(model, held, calls))
            print(f"\n{report.tails(found[-1])}", flush=True)
            if arguments.output is not None:
                _write(arguments.output, about, found)  # a long run may be ended early
    if arguments.output is not None and not arguments.no_plots and (plots := output.plots()):
        plots.write_tails(arguments.output, found)
    return 0


def _write(folder: Path, about: Result, found: list[Result]) -> None:
    parts = [report.stamp(about), *map(report.tails, found)]
    output.write(folder, "latency", parts, {"about": about, "models": found})
