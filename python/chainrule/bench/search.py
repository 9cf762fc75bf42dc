"""``python -m chainrule bench search``: a grid search of scikit-learn with either MLPClassifier."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any

from . import output, packages, report, runner
from .about import choose_peers, describe
from .peers import SEARCH

ROUNDS, QUICK_ROUNDS = (3, 5), (1, 1)
EPOCHS, QUICK_EPOCHS = 200, 2

Result = dict[str, Any]


def measure(
    held: Mapping[str, runner.System], epochs: int, rounds: tuple[int, int], until: float
) -> dict[str, Result]:
    """Let the systems search in turn, for at least and at most so many rounds."""
    found: dict[str, list[Result]] = {name: [] for name in held}
    for turn in range(rounds[1]):
        if turn >= rounds[0] and time.monotonic() > until:
            break
        for name in list(held)[:: 1 if turn % 2 else -1]:
            found[name].append(held[name].ask("search", epochs))
    return {
        name: {
            **answers[0],
            "seconds": statistics.median(a["seconds"] for a in answers),
            "rounds": [a["seconds"] for a in answers],
        }
        for name, answers in found.items()
    }


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command; return the exit status."""
    try:
        packages.require("sklearn", what="the search")
        names, missing = choose_peers(arguments.systems, (SEARCH,), (report.OURS,))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    about = describe(names, missing)
    print(report.stamp(about), flush=True)
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
    quick = arguments.quick
    until = time.monotonic() + 60 * arguments.minutes
    with runner.processes(names, 1, "search_worker") as held:
        found = measure(
            held,
            QUICK_EPOCHS if quick else EPOCHS,
            QUICK_ROUNDS if quick else ROUNDS,
            until,
        )
    text = report.search(found)
    print(f"\n{text}")
    if arguments.output is not None:
        parts = [report.stamp(about), text]
        output.write(arguments.output, "search", parts, {"about": about, "systems": found})
    return 0
