"""A predictor that waits to be let, and threads that wait for it: for the tests of serving."""

from __future__ import annotations

import threading

import numpy as np


class Gate:
    """A predictor that answers only when it is let, and notes the batches it saw."""

    sizes = (20, 5)
    dtype = np.dtype("float32")

    def __init__(self, failure=None):
        self.batches, self.failure = [], failure
        self.entered, self.open = threading.Semaphore(0), threading.Event()

    def __call__(self, x):
        self.batches.append(len(np.atleast_2d(x)))
        self.entered.release()
        assert self.open.wait(20)
        if self.failure is not None and self.failure(np.atleast_2d(x)):
            raise MemoryError("no room")
        return x[..., :5] * 2


def wait_until(condition):
    for _ in range(20_000):
        if condition():
            return
        threading.Event().wait(0.001)
    raise AssertionError("nothing happened for 20 seconds")


def started(function, *arguments):
    """A running thread, and the list that gets its result or error."""
    results = []

    def run():
        try:
            results.append(function(*arguments))
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results
