"""Many threads: what they get done beside processes, and how many they are: scaling.py CASE."""

from __future__ import annotations

import os
import struct
import threading
import time
from statistics import median

import numpy as np
from problem import Work, busy, exit_code, fork, main, thread_count

import chainrule as cr

SECONDS, ROUNDS, MOST_ROUNDS = 0.15, 5, 25

predictor = cr.Network([300, 500, 200, 1], "tanh", seed=0).freeze()
x = np.random.default_rng(0).normal(size=(32, 300)).astype(np.float32)  # 8 million multiply-adds


def calls_until(end: float) -> int:
    n = 0
    while time.monotonic() < end:
        predictor.predict(x, threads=1)
        n += 1
    return n


def in_threads(n: int) -> float:
    """Return the calls per second of n threads."""
    counts, start = [], time.monotonic()
    threads = [
        threading.Thread(target=lambda: counts.append(calls_until(start + SECONDS)))
        for _ in range(n)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - start)


def in_processes(n: int) -> float:
    """Return the calls per second of n children with one thread each."""
    (reading, writing), start = os.pipe(), time.monotonic()

    def work() -> bool:
        return os.write(writing, struct.pack("q", calls_until(start + SECONDS))) == 8

    assert [exit_code(child) for child in [fork(work) for _ in range(n)]] == [0] * n
    seconds = time.monotonic() - start
    counts = struct.unpack(f"{n}q", os.read(reading, 8 * n))
    os.close(reading)
    os.close(writing)
    return sum(counts) / seconds


def throughput() -> None:
    """Two threads do what two processes do, on however many cores are free: not the half.

    Where other work comes and goes during the rounds, more of them decide.
    """
    pairs, crowd = [], []
    while len(pairs) < ROUNDS or (
        min(median(pairs), median(crowd)) <= 0.7 and len(pairs) < MOST_ROUNDS
    ):
        two = in_threads(2)
        pairs.append(two / in_processes(2))
        crowd.append(in_threads(32) / two)
    print(f"two threads / two processes: {median(pairs):.2f}; 32 threads / 2: {median(crowd):.2f}")
    assert median(pairs) > 0.7
    assert median(crowd) > 0.7


def crowd() -> None:
    """32 threads that each ask for two have one helper in all."""
    work = Work()
    alone = thread_count()
    with busy(lambda: work.serve.predict(work.x, threads=2), threads=32):
        for _ in range(20):
            assert work.predicts_right()
            assert thread_count() <= alone + 32 + 1


if __name__ == "__main__":
    main(globals())
