"""The interpreter's lock: given away where the work is worth it, and only there."""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest

import chainrule as cr

#: Multiply-adds from which on a call gives the lock away.
WORTH_IT = 2**17

SMALL, LARGE = (WORTH_IT - 1) // 8192, 2000  # rows of a network of 2 x 64 x 64 weights


@pytest.fixture(params=["network", "predictor"])
def model(request):
    net = cr.Network([64, 64, 64], "tanh", seed=0)
    return net if request.param == "network" else net.freeze()


def lets_another_thread_run(call, seconds):
    """Whether another thread gets the lock while this one calls over and over.

    Nothing but the calls can give it away: the interpreter itself would after 1000 seconds.
    """
    ready, ran, interval = threading.Lock(), [], sys.getswitchinterval()

    def wait_and_run():
        with ready:
            ran.append(True)

    ready.acquire()
    other = threading.Thread(target=wait_and_run)
    other.start()
    sys.setswitchinterval(1000)
    try:
        ready.release()
        end = time.monotonic() + seconds
        while not ran and time.monotonic() < end:
            call()
        return bool(ran)
    finally:
        sys.setswitchinterval(interval)
        other.join()


@pytest.mark.parametrize("dtype", ["float32", "float64"])  # read where it lies, and converted
def test_a_large_call_lets_other_threads_run(model, dtype):
    x = np.ones((LARGE, 64), dtype)
    assert lets_another_thread_run(lambda: model.predict(x, threads=1), 60)


@pytest.mark.parametrize("rows", [1, SMALL])
def test_a_small_call_keeps_the_lock(model, rows):
    x, out = np.ones((rows, 64), np.float32), np.empty((rows, 64), np.float32)
    assert not lets_another_thread_run(lambda: model.predict(x), 0.2)
    assert not lets_another_thread_run(lambda: model(x, out=out), 0.2)
