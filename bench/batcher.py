"""Answers per second through a Batcher, beside calls alone: python bench/batcher.py.

With --other, a second implementation (the file of chainrule.serving in another checkout) takes part
in the same rounds, so that whatever else runs on the machine meets both. Prints the medians of the
rounds: answers per second, microseconds of processor time per answer, and their ratios by round.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import chainrule as cr
import numpy as np
from chainrule import serving

NETWORKS = {
    "784-128-10": [784, 128, 10],
    "256-512-256-1": [256, 512, 256, 1],
    "1000-500-500-1": [1000, 500, 500, 1],
    "1000-3000-1000": [1000, 3000, 1000],
}

Answers = tuple[float, int]  # per second, and all


def load(path: str) -> ModuleType:
    """Import another checkout's chainrule.serving under another name."""
    spec = importlib.util.spec_from_file_location("other_serving", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["other_serving"] = module
    spec.loader.exec_module(module)
    return module


def from_threads(
    call: Callable[[Any], Any], x: np.ndarray, clients: int, seconds: float
) -> Answers:
    """Return the answers per second to so many threads, each of which asks again at once."""
    counts, start = [0] * clients, threading.Barrier(clients + 1)
    stop = threading.Event()

    def ask(client: int) -> None:
        row = x[client]
        start.wait()
        while not stop.is_set():
            call(row)
            counts[client] += 1

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    start.wait()
    begin = time.perf_counter()
    time.sleep(seconds)
    total, elapsed = sum(counts), time.perf_counter() - begin
    stop.set()
    for thread in threads:
        thread.join()
    return total / elapsed, sum(counts)


def from_coroutines(call: Callable[[Any], Any], x: np.ndarray, clients: int, s: float) -> Answers:
    """Return the answers per second to so many coroutines of one loop."""

    async def main() -> Answers:
        begin, answers = time.perf_counter(), 0

        async def ask(client: int) -> None:
            nonlocal answers
            row = x[client]
            while time.perf_counter() < begin + s:
                await call(row)
                answers += 1

        await asyncio.gather(*map(ask, range(clients)))
        return answers / (time.perf_counter() - begin), answers

    return asyncio.run(main())


def alone(call: Callable[[Any], Any], x: np.ndarray, _: int, seconds: float) -> Answers:
    """Return the calls per second of one thread."""
    row, calls, begin = x[0], 0, time.perf_counter()
    while time.perf_counter() < begin + seconds:
        for _ in range(50):
            call(row)
        calls += 50
    return calls / (time.perf_counter() - begin), calls


def alone_in_a_loop(call: Callable[[Any], Any], x: np.ndarray, _: int, seconds: float) -> Answers:
    """Return the calls per second of one coroutine."""
    return from_coroutines(call, x, 1, seconds)


def yielding(predictor: cr.Predictor) -> Callable[[Any], Any]:
    """Return a coroutine function that calls the predictor, and lets the others go on."""

    async def call(row: np.ndarray) -> np.ndarray:
        await asyncio.sleep(0)
        return predictor(row)

    return call


def contenders(predictor: cr.Predictor, modules: dict[str, ModuleType]) -> dict[str, Any]:
    """Return (measure, {name: call}) by kind of client."""
    batchers = {name: module.Batcher(predictor) for name, module in modules.items()}
    blocking = {name: batcher.predict for name, batcher in batchers.items()}
    return {
        "one thread": (alone, {"alone": predictor, **blocking}),
        "32 threads": (from_threads, {"alone": predictor, **blocking}),
        "one coroutine": (alone_in_a_loop, {"alone": yielding(predictor), **batchers}),
        "32 coroutines": (from_coroutines, {"alone": yielding(predictor), **batchers}),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", help="the file of chainrule.serving in another checkout")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    arguments = parser.parse_args()
    modules = {"Batcher": serving}
    if arguments.other:
        modules["other"] = load(str(Path(arguments.other)))
    cr.set_num_threads(1)
    for name in arguments.networks:
        predictor = cr.Network(NETWORKS[name], "tanh", seed=0).freeze()
        x = np.random.default_rng(0).standard_normal((32, predictor.sizes[0])).astype(np.float32)
        for clients, (measure, calls) in contenders(predictor, modules).items():
            rates: dict[str, list[float]] = {who: [] for who in calls}
            costs: dict[str, list[float]] = {who: [] for who in calls}
            for i in range(arguments.rounds):
                for who in list(calls) if i % 2 else list(calls)[::-1]:
                    begin = time.process_time()
                    rate, answers = measure(calls[who], x, 32, arguments.seconds)
                    rates[who].append(rate)
                    costs[who].append((time.process_time() - begin) / answers * 1e6)
            found = [f"{who} {median(rates[who]):,.0f} ({median(costs[who]):.1f})" for who in calls]
            base = "other" if arguments.other else "alone"
            faster = ratio(rates["Batcher"], rates[base])
            cheaper = ratio(costs[base], costs["Batcher"])
            ratios = f"Batcher over {base} {faster:.2f} ({cheaper:.2f})"
            print(f"{name}, {clients}: {', '.join(found)}; {ratios}", flush=True)


def ratio(a: list[float], b: list[float]) -> float:
    """Return the median of the ratios of each round."""
    return median(x / y for x, y in zip(a, b, strict=True))


if __name__ == "__main__":
    main()
