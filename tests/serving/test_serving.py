"""One call answers many requests, and every answer has the bits of the call alone."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import chainrule as cr
from chainrule.serving import Batcher, QueueFullError
from gate import Gate, started, wait_until

RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 20)).astype(np.float32)


@pytest.fixture(scope="module")
def predictor():
    return cr.Network([20, 33, 5], activations=["tanh", "softmax"], seed=0).freeze()


@pytest.mark.parametrize("max_wait", [0.0, 0.002])
def test_threads_get_the_bits_of_the_call_alone(predictor, max_wait):
    sizes = RNG.integers(1, 9, 400)
    requests = [X[RNG.integers(0, 64, n)] if n > 1 else X[n] for n in sizes]
    with (
        Batcher(predictor, max_wait=max_wait, max_batch=16) as batcher,
        ThreadPoolExecutor(16) as pool,
    ):
        answers = list(pool.map(batcher.predict, requests))
    for x, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer, predictor(x))


@pytest.mark.parametrize("max_wait", [0.0, 0.002])
def test_coroutines_get_the_bits_of_the_call_alone(predictor, max_wait):
    requests = [X[i % 64] if i % 3 else X[i % 60 : i % 60 + 4] for i in range(300)]

    async def main():
        async with Batcher(predictor, max_wait=max_wait, max_batch=50) as batcher:
            return await asyncio.gather(*map(batcher, requests)), batcher.statistics

    answers, statistics = asyncio.run(main())
    for x, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer, predictor(x))
    assert statistics["requests"] == 300
    assert statistics["batches"] < 30


def test_what_comes_during_a_batch_shares_the_next_one():
    gate = Gate()
    batcher = Batcher(gate, max_batch=8)
    first, _ = started(batcher.predict, X[0])
    gate.entered.acquire()
    others = [started(batcher.predict, X[i]) for i in range(1, 8)]
    wait_until(lambda: batcher.statistics["waiting"] == 8)
    gate.open.set()
    for thread, results in others:
        thread.join()
        assert results[0].shape == (5,)
    first.join()
    assert gate.batches == [1, 7]
    assert batcher.statistics == {
        "requests": 8,
        "rows": 8,
        "batches": 2,
        "refused": 0,
        "waiting": 0,
    }


def test_a_full_batch_does_not_wait(predictor):
    batcher = Batcher(predictor, max_wait=60, max_batch=4)
    threads = [started(batcher.predict, X[i]) for i in range(4)]
    for thread, results in threads:
        thread.join(20)
        assert results[0].shape == (5,)


def test_a_request_larger_than_a_batch_is_answered_alone(predictor):
    batcher = Batcher(predictor, max_batch=8, max_queue=16)
    np.testing.assert_array_equal(batcher.predict(X), predictor(X))


def test_long_batches_leave_the_event_loop_free():
    wide = cr.Network([1000, 3000, 1000], seed=0).freeze()
    x = RNG.standard_normal((40, 1000)).astype(np.float32)
    ticks = []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0.0005)

    async def main():
        ticking = asyncio.create_task(tick())
        async with Batcher(wide) as batcher:
            answers = await asyncio.gather(*map(batcher, x))
        ticking.cancel()
        return answers

    np.testing.assert_array_equal(np.stack(asyncio.run(main())), wide(x))
    assert len(ticks) > 2


def test_an_error_hits_its_own_request_only(predictor):
    batcher = Batcher(predictor, max_wait=0.05)
    good = [started(batcher.predict, X[i]) for i in range(4)]
    with pytest.raises(ValueError, match=r"x must have shape \(20,\) or \(n, 20\), got \(19,\)"):
        batcher.predict(X[0, :19])
    with pytest.raises(TypeError, match="real numbers"):
        batcher.predict(["a"] * 20)
    for i, (thread, results) in enumerate(good):
        thread.join()
        np.testing.assert_array_equal(results[0], predictor(X[i]))


def test_a_batch_without_memory_is_answered_one_by_one():
    gate = Gate(failure=lambda x: len(x) > 1 or x[0, 0] == X[3, 0])
    batcher = Batcher(gate)
    first = started(batcher.predict, X[0])
    gate.entered.acquire()
    others = [started(batcher.predict, X[i]) for i in range(1, 5)]
    wait_until(lambda: batcher.statistics["waiting"] == 5)
    gate.open.set()
    for i, (thread, results) in enumerate([first, *others]):
        thread.join()
        if i == 3:
            assert isinstance(results[0], MemoryError)
        else:
            np.testing.assert_array_equal(results[0], X[i, :5] * 2)


def test_a_full_queue_refuses():
    gate = Gate()
    batcher = Batcher(gate, max_queue=3)
    waiting = [started(batcher.predict, X[:2]), started(batcher.predict, X[5])]
    wait_until(lambda: batcher.statistics["waiting"] == 3)
    with pytest.raises(QueueFullError, match=r"3 rows wait already, and max_queue is 3: 1 more"):
        batcher.predict(X[0])

    async def refused():
        with pytest.raises(QueueFullError):
            await batcher(X[0])

    asyncio.run(refused())
    gate.open.set()
    for thread, results in waiting:
        thread.join()
        assert isinstance(results[0], np.ndarray)
    assert batcher.statistics["refused"] == 2
    assert batcher.predict(X[0]).shape == (5,)


def test_a_request_gives_up_after_its_timeout():
    gate = Gate()
    batcher = Batcher(gate)
    first, _ = started(batcher.predict, X[0])
    gate.entered.acquire()
    with pytest.raises(TimeoutError, match="within 0.01 seconds"):
        batcher.predict(X[1], timeout=0.01)
    gate.open.set()
    first.join()
    assert gate.batches == [1]
    assert batcher.statistics["waiting"] == 0


def test_a_cancelled_task_withdraws_its_request(predictor):
    async def main():
        batcher = Batcher(predictor, max_wait=0.05)
        tasks = [asyncio.create_task(batcher(X[i])) for i in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return answers, batcher.statistics

    answers, statistics = asyncio.run(main())
    assert isinstance(answers[1], asyncio.CancelledError)
    for i in (0, 2, 3):
        np.testing.assert_array_equal(answers[i], predictor(X[i]))
    assert statistics["waiting"] == 0


def test_an_interrupted_leader_leaves_the_others_their_answers(predictor):
    entered, go = threading.Event(), threading.Event()

    class Interrupted(Gate):
        def __call__(self, x):
            if not entered.is_set():
                entered.set()
                assert go.wait(20)
                raise KeyboardInterrupt
            return x[..., :5] * 2

    batcher = Batcher(Interrupted(), max_wait=0.2)
    leader, led = started(batcher.predict, X[0])
    followers = [started(batcher.predict, X[i]) for i in range(1, 4)]
    assert entered.wait(20)
    go.set()
    leader.join()
    assert isinstance(led[0], KeyboardInterrupt)
    for i, (thread, results) in enumerate(followers, start=1):
        thread.join(20)
        np.testing.assert_array_equal(results[0], X[i, :5] * 2)


def test_the_caller_may_change_x_at_once():
    gate = Gate()
    batcher = Batcher(gate)
    x = X[:2].copy()

    async def main():
        task = asyncio.create_task(batcher(x))
        await asyncio.sleep(0)
        x[:] = 0
        return await task

    gate.open.set()
    np.testing.assert_array_equal(asyncio.run(main()), X[:2, :5] * 2)


def test_close_waits_for_answers_and_refuses_new_requests():
    gate = Gate()
    batcher = Batcher(gate)
    thread, results = started(batcher.predict, X[0])
    gate.entered.acquire()
    with pytest.raises(TimeoutError, match="1 rows are still"):
        batcher.close(timeout=0.01)
    with pytest.raises(RuntimeError, match="the batcher is closed"):
        batcher.predict(X[1])
    gate.open.set()
    batcher.close()
    thread.join()
    assert results[0].shape == (5,)


def test_numbers_of_other_types_are_converted(predictor):
    batcher = Batcher(predictor)
    x = X[0].astype(np.float64)
    np.testing.assert_array_equal(batcher.predict(x), predictor(X[0]))
    np.testing.assert_array_equal(batcher.predict(x.tolist()), predictor(X[0]))
    assert np.isnan(batcher.predict(np.full(20, 1e300))).any()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_wait": -1}, ValueError, r"max_wait must lie in \[0, 60\] seconds, got -1"),
        ({"max_wait": "1"}, TypeError, "max_wait must be a number of seconds"),
        ({"max_batch": 0}, ValueError, "max_batch must be at least 1, got 0"),
        ({"max_queue": 2.5}, TypeError, "max_queue must be an integer, got 2.5"),
    ],
)
def test_bad_arguments_are_refused(predictor, arguments, error, message):
    with pytest.raises(error, match=message):
        Batcher(predictor, **arguments)


def test_something_else_than_a_predictor_is_refused():
    with pytest.raises(TypeError, match="predictor must be a Predictor or Network, got 3"):
        Batcher(3)
