"""``python -m chainrule bench accuracy``: seconds of training until clothes are told apart."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core
from chainrule.datasets import load_fashion_mnist

from . import cells, output, report, runner
from .about import choose_peers, describe
from .peers import ACCURACY
from .problem import Problem, scaled
from .reference import Reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Result = dict[str, Any]
    Data = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]

THREADS = (1, 2)
ROUNDS, QUICK_ROUNDS = (3, 5), (1, 1)
CHECKED_SAMPLES = 1_100  # eight whole batches and a smaller one


@dataclass(frozen=True)
class Task:
    """What is learned: a cell, how long, and the share of right answers that is asked for."""

    cell: cells.Cell
    epochs: int
    target: float


FULL = Task(cells.adam(cells.FASHION, 128, 60_000), 10, 0.88)
QUICK = Task(cells.adam(cells.FASHION, 128, 6_000), 3, 0.75)


def measure(
    task: Task,
    data: Data,
    systems: Mapping[str, runner.System],
    rounds: tuple[int, int],
    until: float,
) -> dict[str, Result]:
    """Let every system train for at least and at most so many rounds, all of them in turn.

    Between the two it ends at the time `until`, of ``time.monotonic``.
    """
    x, y, x_test, y_test = data
    x, y = x[: task.cell.samples], y[: task.cell.samples]
    entrants = _check(task, x, y, systems)
    for entrant in runner.in_turn(entrants):
        arguments = entrant.result["right"], asdict(task.cell), x, y, x_test
        entrant.result |= entrant.ask("prepare", *arguments) or {}
    for turn in range(rounds[1]):
        if turn >= rounds[0] and time.monotonic() > until:
            break
        for entrant in runner.in_turn(entrants):
            entrant.ask("reset")
            entrant.result.setdefault("rounds", []).append({"seconds": [], "accuracy": []})
        for epoch in range(task.epochs):
            order = _order(epoch, len(x))
            for entrant in runner.in_turn(entrants, turn + epoch):
                if answer := entrant.ask("epoch", order):
                    entrant.result["rounds"][-1]["seconds"].append(answer[0])
                    share = float(np.mean(answer[1] == y_test))
                    entrant.result["rounds"][-1]["accuracy"].append(share)
    for entrant in runner.in_turn(entrants):
        entrant.result |= summary(task, entrant.result["rounds"])
    return {name: entrant.result for name, entrant in entrants.items()}


def _order(epoch: int, n: int) -> NDArray[Any]:
    """Return the order in which a Network with the seed 0 takes its samples."""
    return _core.permutation(0, epoch, n).astype(np.int64)


def _check(
    task: Task, x: NDArray[Any], y: NDArray[Any], systems: Mapping[str, runner.System]
) -> dict[str, runner.Entrant]:
    """Compare what every system learns from the first samples with float64 NumPy."""
    cell = replace(task.cell, samples=min(CHECKED_SAMPLES, len(x)))
    x, y = x[: cell.samples], y[: cell.samples]
    order = _order(0, cell.samples)
    reference = Reference(Problem(cell, (scaled(x)[order], y[order])))
    entrants = {name: runner.Entrant(system, reference) for name, system in systems.items()}
    for entrant in entrants.values():
        entrant.enter(entrant.ask("check", asdict(cell), x, y, order))
    return entrants


def summary(task: Task, rounds: list[Result]) -> Result:
    """Return medians over rounds; the time to the target is None where one did not reach it.

    It is the time of all epochs up to the first after which the share of right answers on the
    test images is that high.
    """
    found: Result = {
        "epoch": statistics.median(s for r in rounds for s in r["seconds"]),
        "total": statistics.median(sum(r["seconds"]) for r in rounds),
        "accuracy": statistics.median(r["accuracy"][-1] for r in rounds),
        "median": None,
    }
    counts = [
        next((i for i, a in enumerate(r["accuracy"], 1) if a >= task.target), 0) for r in rounds
    ]
    if all(counts):
        times = [sum(r["seconds"][:n]) for r, n in zip(rounds, counts, strict=True)]
        low, median, high = np.percentile(times, [25, 50, 75]).tolist()
        found |= {"low": low, "median": median, "high": high, "epochs": statistics.median(counts)}
    return found


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; return the exit status."""
    folder = {} if arguments.data is None else {"folder": arguments.data}
    try:
        names, missing = choose_peers(arguments.systems, (ACCURACY,))
        data = load_fashion_mnist(**folder)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    about = describe(names, missing)
    task, rounds = (QUICK, QUICK_ROUNDS) if arguments.quick else (FULL, ROUNDS)
    print(report.stamp(about), flush=True)
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
    found: Result = {"task": asdict(task), "threads": {}}
    end = time.monotonic() + 60 * arguments.minutes
    blocks = [report.learning_task(found["task"])]
    for left, threads in zip((2, 1), THREADS, strict=True):
        if threads > runner.available_threads():
            print(f"left out, for want of {threads} cores: t{threads}", file=sys.stderr)
            continue
        until = time.monotonic() + (end - time.monotonic()) / left
        with runner.processes(names, threads, "learning_worker") as held:
            found["threads"][threads] = measure(task, data, held, rounds, until)
        blocks.append(report.learning(threads, found["threads"][threads]))
        print(f"\n{blocks[-1]}", flush=True)
    if arguments.output is not None:
        parts = [report.stamp(about), *blocks]
        output.write(arguments.output, "accuracy", parts, {"about": about, **found})
        if plots := None if arguments.no_plots else output.plots():
            plots.write_accuracy(arguments.output, found)
    return 0
