"""``python -m chainrule bench``: choose cells and systems, run, print, write."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

from . import accuracy, cells, latency, output, packages, peers, report, runner, search
from .about import choose_peers, describe
from .cells import Cell

ROUNDS, QUICK_ROUNDS = (5, 15), (3, 3)
LATENCY, QUICK_LATENCY = (100_000, 4.0), (5_000, 0.1)

Record = dict[str, Any]
Measure = Callable[[Cell, Mapping[str, runner.System]], dict[str, runner.Entrant]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "what",
        nargs="?",
        choices=("calls", "latency", "accuracy", "search"),
        default="calls",
        help="the time of calls, the tail of single calls, the time of training to an accuracy, "
        "or of a grid search (default: %(default)s)",
    )
    parser.add_argument(
        "model",
        nargs="?",
        help="a model file, for latency (default: four networks of 5-7-3 to 256-512-256-1)",
    )
    parser.add_argument("--cells", default="*", metavar="PATTERN", help="shell pattern of names")
    parser.add_argument(
        "--systems",
        metavar="A,B",
        help=f"{_names(*peers.CELLS)} for calls, where NumPy always takes part; "
        f"{_names(peers.LATENCY)} for latency; {_names(peers.ACCURACY)} for accuracy; "
        f"{_names(peers.SEARCH)} for search (default: all that are installed)",
    )
    parser.add_argument(
        "--calls", type=int, metavar="N", help=f"of latency (default: {latency.CALLS:,})"
    )
    parser.add_argument("--quick", action="store_true", help="few cells, few rounds")
    parser.add_argument("--list", action="store_true", help="print the names of the cells")
    parser.add_argument("--check", action="store_true", help="check all results, time nothing")
    parser.add_argument("--minutes", type=float, default=30, help="of the whole (default: 30)")
    parser.add_argument("--output", metavar="DIR", type=Path, help="write report, JSON and plots")
    parser.add_argument("--no-plots", action="store_true", help="write no plots")
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="the folder of Fashion-MNIST's four files (default: where Debian's package has them)",
    )


def _names(*benchmarks: str) -> str:
    return ", ".join(peers.names(*benchmarks))


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; return the exit status."""
    command = {
        "calls": run_calls,
        "latency": latency.run,
        "accuracy": accuracy.run,
        "search": search.run,
    }
    if arguments.what != "latency" and arguments.model is not None:
        print(f"{arguments.what} takes no model, got {arguments.model}", file=sys.stderr)
        return 2
    return command[arguments.what](arguments)


def run_calls(arguments: argparse.Namespace) -> int:
    """Measure calls."""
    try:
        chosen = cells.select(arguments.cells, cells.QUICK if arguments.quick else cells.CELLS)
        names, missing = choose_peers(arguments.systems, peers.CELLS, ("numpy",))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.list:
        print("\n".join(cell.name for cell in chosen))
        return 0
    about = describe(names, missing)
    print(report.stamp(about), flush=True)
    if arguments.check:
        return check(chosen, names)
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
    found = measure(chosen, names, arguments)
    text = report.summary(found)
    print(f"\n{text}")
    if arguments.output is not None:
        blocks = [report.block(cell) for cell in found["cells"]]
        parts = [report.stamp(about), *blocks, text]
        output.write(arguments.output, "bench", parts, {"about": about, **found})
        if plots := None if arguments.no_plots else output.plots():
            plots.write(arguments.output, found)
    return 0


def check(chosen: tuple[Cell, ...], names: list[str]) -> int:
    """Print what every system's result is worth; return 1 if one is wrong or failed."""
    bad = 0
    for record in _each(chosen, names, runner.check):
        print(record["name"])
        for name, result in record["systems"].items():
            bad += result["status"] in ("wrong", "failed")
            print(f"  {name:<14}{report.verdict(result)}", flush=True)
    print(f"{bad} wrong or failed")
    return 1 if bad else 0


def measure(chosen: tuple[Cell, ...], names: list[str], arguments: argparse.Namespace) -> Record:
    """Time the cells, then single calls of those networks that are among them."""
    end = time.monotonic() + 60 * arguments.minutes
    single = [cell for cell in cells.LATENCY if cell in chosen]
    amount = QUICK_LATENCY if arguments.quick else LATENCY
    left = len(chosen) + len(single) * 3  # single calls take as long as a few cells

    def timed(cell: Cell, held: Mapping[str, runner.System]) -> dict[str, runner.Entrant]:
        nonlocal left
        share = (end - time.monotonic()) / left
        left -= 1
        rounds = QUICK_ROUNDS if arguments.quick else ROUNDS
        return runner.measure(cell, held, rounds, time.monotonic() + share)

    def one_by_one(cell: Cell, held: Mapping[str, runner.System]) -> dict[str, runner.Entrant]:
        return runner.latency(cell, held, *amount)

    found: Record = {"cells": [], "latency": []}
    with _Progress(len(chosen) + len(single)) as progress:
        for record in _each(chosen, names, timed):
            found["cells"].append(record)
            progress.show(report.block(record))
        for record in _each(single, names, one_by_one):
            record["clock"] = runner.clock_seconds()
            found["latency"].append(record)
            progress.show(report.single_calls(record))
    return found


def _each(
    chosen: tuple[Cell, ...] | list[Cell], names: list[str], work: Measure
) -> Iterator[Record]:
    """Do the work for every cell, with one set of processes for each number of threads."""
    for threads, group in groupby(sorted(chosen, key=_threads), key=_threads):
        if threads > runner.available_threads():
            skipped = ", ".join(cell.name for cell in group)
            print(f"left out, for want of {threads} cores: {skipped}", file=sys.stderr)
            continue
        with runner.processes(names, threads) as held:
            for cell in group:
                entrants = work(cell, held)
                yield {
                    "name": cell.name,
                    **asdict(cell),
                    "training": cell.training,
                    "flops": cell.flops,
                    "parameter_bytes": cell.parameter_bytes,
                    "bytes_read": cell.bytes_read,
                    "systems": {name: entrant.result for name, entrant in entrants.items()},
                }


def _threads(cell: Cell) -> int:
    return cell.threads


class _Progress:
    """Prints results as they come, and on stderr how far the run is."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.bar: Any = None
        if sys.stderr.isatty() and not packages.missing(["tqdm"]):
            self.bar = import_module("tqdm").tqdm(total=total, unit="cell")

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, text: str) -> None:
        """Print a cell's result."""
        self.done += 1
        if self.bar is not None:
            self.bar.write(f"\n{text}")
            self.bar.update()
        else:
            print(f"\n{text}", flush=True)
            print(f"{self.done} of {self.total}", file=sys.stderr, flush=True)
