"""Run by tests/inputs/test_sparse.py: the arrays of a sparse matrix change while calls use them.

Another thread writes numbers that no matrix has, and the right ones again. Every call returns or
raises ValueError; prints "survived".
"""

from __future__ import annotations

import faulthandler
import threading
from collections import Counter

import numpy as np

import chainrule as cr
from chainrule.inputs.sparse import CSR

ROWS, COLUMNS, STORED = 600, 300, 12
WRONG = [-1, COLUMNS, 2**31 - 1, -(2**31)]


def main() -> None:
    rng = np.random.default_rng(0)
    indices = np.sort(rng.permuted(np.tile(np.arange(COLUMNS), (ROWS, 1)), axis=1)[:, :STORED])
    given = [indices.ravel().astype(np.int32), np.arange(0, ROWS * STORED + 1, STORED, np.int32)]
    changed = [array.copy() for array in given]
    x = CSR(rng.normal(size=ROWS * STORED).astype(np.float32), *changed, (ROWS, COLUMNS))
    y = rng.normal(size=(ROWS, 4))
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            for right, array in zip(given, changed, strict=True):
                array[rng.integers(0, len(array), 20)] = rng.choice(WRONG)
                array[...] = right

    net = cr.Network([COLUMNS, 200, 4], ["tanh", "identity"], seed=0)
    calls = [
        lambda: net.predict(x),
        lambda: net.gradients(x, y),
        lambda: net.vjp(x)[1](y),
        lambda: net.fit(x, y, batch_size=100, optimizer=cr.Adam(1e-6)),
        lambda: net.evaluate(x, y),
    ]
    thread = threading.Thread(target=change)
    thread.start()
    outcomes = Counter()
    try:
        for _ in range(100):
            for call in calls:
                try:
                    call()
                    outcomes["returned"] += 1
                except ValueError as error:
                    assert "sparse matrix" in str(error), error
                    outcomes["refused"] += 1
    finally:
        over.set()
        thread.join()
    assert outcomes["returned"] and outcomes["refused"], outcomes
    print("survived")


if __name__ == "__main__":
    faulthandler.enable()
    main()
