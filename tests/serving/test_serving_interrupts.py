"""An exception at any place of chainrule.serving ends one request, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from _thread import start_new_thread
from contextlib import suppress

import numpy as np
import pytest

import chainrule as cr
from chainrule.serving import Batcher, loops
from gate import Gate, started, wait_until
from interrupting import Interrupt, interrupt_everywhere, watchdog

X = np.random.default_rng(0).standard_normal((64, 20)).astype(np.float32)
SERVING = ["chainrule.serving"]
KINDS = ["lines", "bytecodes"]

# Coroutines that an interrupt ends between being made and being awaited.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


class Double:
    """A predictor that allocates nothing and can be checked by eye."""

    sizes = (20, 5)
    dtype = np.dtype("float32")

    def __call__(self, x):
        return x[..., :5] * 2


def assert_usable(one):
    """Nothing waits, a new request is answered, and the batcher closes."""
    assert one.statistics["waiting"] == 0
    np.testing.assert_array_equal(one.predict(X[9], timeout=5), X[9, :5] * 2)
    one.close(timeout=5)


@pytest.fixture(autouse=True)
def dog():
    with watchdog(300):
        yield


# --- threads ------------------------------------------------------------------------------------


class Crowd:
    """A batcher that computes for one thread, while this thread and then two others ask it.

    When the first thread has its answer, this one leads for itself and the two others.
    """

    def __init__(self):
        self.gate = Gate()
        self.batcher = Batcher(self.gate)
        self.is_over = threading.Event()  # this thread's part
        self.others = [started(self.batcher.predict, X[0])]
        self.gate.entered.acquire()
        self.others += [started(self.follow, i) for i in (1, 2)]
        self.opener, _ = started(self.open_the_gate)

    def waiting(self):
        return self.batcher.statistics["waiting"]

    def follow(self, i):
        wait_until(lambda: self.waiting() >= 2 or self.is_over.is_set())
        return self.batcher.predict(X[i])

    def open_the_gate(self):
        wait_until(lambda: self.waiting() >= (3 if self.is_over.is_set() else 4))
        self.gate.open.set()

    def ask(self):
        try:
            np.testing.assert_array_equal(self.batcher.predict(X[3]), X[3, :5] * 2)
        finally:
            self.is_over.set()

    def check(self):
        for i, (thread, results) in enumerate(self.others):
            thread.join(20)
            np.testing.assert_array_equal(results[0], X[i, :5] * 2)
        self.opener.join()
        assert_usable(self.batcher)


@pytest.mark.parametrize("opcodes", [False, True], ids=KINDS)
def test_an_interrupt_anywhere_in_predict_leaves_the_other_threads_their_answers(opcodes):
    points = interrupt_everywhere(
        Crowd.ask, SERVING, setup=Crowd, check=Crowd.check, opcodes=opcodes
    )
    assert points > (100 if opcodes else 25)  # those of predict_together too


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, TimeoutError])
def test_what_arrives_as_another_exception_leaves_as_little(error):
    assert interrupt_everywhere(Crowd.ask, SERVING, setup=Crowd, check=Crowd.check, error=error)


def test_an_interrupt_anywhere_in_close_leaves_the_other_threads_their_answers():
    class Closing(Crowd):
        def ask(self):
            try:
                with suppress(TimeoutError):
                    self.batcher.close(timeout=0)
                self.gate.open.set()
                self.batcher.__exit__()
            finally:
                self.is_over.set()

        def follow(self, i):
            try:
                return super().follow(i)
            except RuntimeError as error:
                assert "closed" in str(error)
                return X[i, :5] * 2

        def open_the_gate(self):
            self.is_over.wait()
            self.gate.open.set()

        def check(self):
            for i, (thread, results) in enumerate(self.others):
                thread.join(20)
                np.testing.assert_array_equal(results[0], X[i, :5] * 2)
            self.opener.join()
            self.batcher.close(timeout=5)
            assert self.waiting() == 0

    assert interrupt_everywhere(Closing.ask, SERVING, setup=Closing, check=Closing.check) > 4


def test_an_interrupt_anywhere_in_the_constructor_leaves_nothing():
    assert interrupt_everywhere(lambda _: Batcher(Double()).max_wait, SERVING, opcodes=True) > 60


# --- coroutines ---------------------------------------------------------------------------------


class Loop:
    """Five coroutines of a loop, which goes on after an exception that stopped it."""

    def __init__(self, requests=5, **options):
        self.loop = asyncio.new_event_loop()
        self.batcher = Batcher(Double(), **options)
        self.tasks = []
        self.requests = requests

    def ask(self):
        self.tasks = [self.loop.create_task(self.batcher(X[i])) for i in range(self.requests)]
        self.loop.run_until_complete(asyncio.wait(self.tasks, timeout=20))

    def check(self):
        self.tasks += [self.loop.create_task(self.batcher(X[i])) for i in range(5, 9)]
        self.loop.run_until_complete(asyncio.wait(self.tasks, timeout=20))
        self.check_answers()
        self.loop.run_until_complete(asyncio.wait_for(self.batcher.aclose(), 5))
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        assert self.batcher.statistics["waiting"] == 0

    def check_answers(self):
        failed = 0
        for i, task in enumerate(self.tasks, 5 - self.requests):
            assert task.done()
            if task.exception() is None:
                np.testing.assert_array_equal(task.result(), X[i, :5] * 2)
            else:
                assert isinstance(task.exception(), (Interrupt, KeyboardInterrupt))
                failed += 1
        assert failed <= 1
        assert len(self.tasks) >= 4


def refuse(*_):
    raise RuntimeError("can't start new thread")


WAYS = {
    "in the loop": {},
    "after a wait": {"max_wait": 0.001},
    "a full batch": {"max_wait": 0.02, "max_batch": 4},
    "in a thread": {},
    "without a thread": {},
}


@pytest.fixture(params=WAYS)
def options(request, monkeypatch):
    if request.param.endswith("thread"):
        monkeypatch.setattr(loops, "INLINE_WORK", 0)
    if request.param == "without a thread":
        monkeypatch.setattr(loops, "start_new_thread", refuse)
    return WAYS[request.param]


@pytest.mark.parametrize(
    "opcodes", [False, pytest.param(True, marks=pytest.mark.thorough)], ids=KINDS
)
@pytest.mark.parametrize(
    "error", [Interrupt, pytest.param(KeyboardInterrupt, marks=pytest.mark.slow)]
)
def test_an_interrupt_anywhere_leaves_the_other_coroutines_their_answers(options, error, opcodes):
    points = interrupt_everywhere(
        Loop.ask,
        SERVING,
        setup=lambda: Loop(**options),
        check=Loop.check,
        opcodes=opcodes,
        error=error,
    )
    assert points > (1000 if opcodes else 200)


class TracedWorkers(Loop):
    """The threads that compute are traced, not the event loop."""

    def trace_workers(self, interrupter, monkeypatch):
        start = loops._start_thread_untraced

        def run(function, arguments):
            def traced():
                interrupter.arm(None)
                try:
                    function(*arguments)
                finally:
                    interrupter.stop()

            return start(traced, ())

        monkeypatch.setattr(loops, "start_new_thread", run)


@pytest.mark.parametrize("opcodes", [False, True], ids=KINDS)
def test_an_interrupt_anywhere_in_the_thread_of_a_batch_hurts_no_request(monkeypatch, opcodes):
    monkeypatch.setattr(loops, "INLINE_WORK", 0)
    monkeypatch.setattr(loops, "_start_thread_untraced", loops.start_new_thread, raising=False)

    def check(state):
        assert all(task.exception() is None for task in state.tasks)
        state.check()

    points = interrupt_everywhere(
        Loop.ask,
        SERVING,
        setup=TracedWorkers,
        check=check,
        opcodes=opcodes,
        start=lambda interrupter, state: state.trace_workers(interrupter, monkeypatch),
    )
    assert points > (50 if opcodes else 8)


def test_an_interrupt_in_the_thread_of_one_request_is_named(monkeypatch):
    monkeypatch.setattr(loops, "INLINE_WORK", 0)

    class Interrupted(Double):
        calls = 0

        def __call__(self, x):
            self.calls += 1
            if self.calls == 1:
                raise KeyboardInterrupt
            return super().__call__(x)

    async def main():
        one = Batcher(Interrupted())
        with pytest.raises(RuntimeError, match="KeyboardInterrupt ended the thread .* ask again"):
            await one(X[0])
        np.testing.assert_array_equal(await one(X[0]), X[0, :5] * 2)
        await one.aclose()

    asyncio.run(main())


# --- predictors that fail, threads that are refused ---------------------------------------------


class Failing(Double):
    """Fails as often as it is told."""

    def __init__(self, error, times):
        self.error, self.times = error, times

    def __call__(self, x):
        self.times -= 1
        if self.times >= 0:
            raise self.error("told to fail")
        return super().__call__(x)


ERRORS = [ValueError, MemoryError, StopIteration, GeneratorExit, Interrupt, asyncio.CancelledError]


@pytest.mark.parametrize("times", [1, 2, 100])
@pytest.mark.parametrize("error", ERRORS)
def test_a_predictor_that_raises_leaves_threads_nothing_to_wait_for(error, times):
    failing = Failing(error, times)
    one = Batcher(failing, max_wait=0.02)
    threads = [started(one.predict, X[i]) for i in range(6)]
    for i, (thread, results) in enumerate(threads):
        thread.join(20)
        if not isinstance(results[0], error):
            np.testing.assert_array_equal(results[0], X[i, :5] * 2)
    failing.times = 0
    del threads
    assert_usable(one)


@pytest.mark.parametrize("times", [1, 2, 100])
@pytest.mark.parametrize("error", ERRORS)
def test_a_predictor_that_raises_leaves_coroutines_nothing_to_wait_for(options, error, times):
    failing = Failing(error, times)
    one = Batcher(failing, **options)

    async def main():
        tasks = [asyncio.create_task(one(X[i])) for i in range(5)]
        done, _ = await asyncio.wait(tasks, timeout=20)
        assert len(done) == 5
        for i, task in enumerate(tasks):
            if task.cancelled() or task.exception() is not None:
                continue
            np.testing.assert_array_equal(task.result(), X[i, :5] * 2)
        failing.times = 0
        np.testing.assert_array_equal(await one(X[9]), X[9, :5] * 2)

    asyncio.run(main())
    assert_usable(one)


def test_coroutines_are_answered_where_no_thread_can_be_started(monkeypatch):
    monkeypatch.setattr(loops, "INLINE_WORK", 0)
    monkeypatch.setattr(loops, "start_new_thread", refuse)
    predictor = cr.Network([20, 33, 5], seed=0).freeze()

    async def main():
        async with Batcher(predictor) as one:
            return await asyncio.gather(*map(one, X))

    np.testing.assert_array_equal(np.stack(asyncio.run(main())), predictor(X))


def test_a_request_that_fails_in_a_thread_leaves_the_batch_its_answers(monkeypatch):
    monkeypatch.setattr(loops, "INLINE_WORK", 0)

    class Picky(Double):
        def __call__(self, x):
            if (x == X[2]).all(axis=-1).any():
                raise ArithmeticError("not this row")
            return super().__call__(x)

    async def main():
        return await asyncio.gather(*map(Batcher(Picky()), X[:5]), return_exceptions=True)

    answers = asyncio.run(main())
    assert isinstance(answers.pop(2), ArithmeticError)
    np.testing.assert_array_equal(np.stack(answers), X[[0, 1, 3, 4], :5] * 2)


# --- threads of its own -------------------------------------------------------------------------


def test_no_thread_outlives_a_batch(monkeypatch):
    monkeypatch.setattr(loops, "INLINE_WORK", 0)
    running = []

    def start(function, arguments):
        def run():
            running.append(threading.get_ident())
            function(*arguments)
            running.remove(threading.get_ident())

        return start_new_thread(run, ())

    monkeypatch.setattr(loops, "start_new_thread", start)

    async def main():
        one = Batcher(Double())
        for _ in range(20):
            await asyncio.gather(*map(one, X))
        return weakref.ref(one)

    batcher = asyncio.run(main())
    wait_until(lambda: not running)
    gc.collect()
    assert batcher() is None


def test_a_batcher_that_nobody_has_is_freed_at_once():
    one = Batcher(Double())
    threads = [started(one.predict, X[i]) for i in range(4)]
    for thread, _ in threads:
        thread.join()
    batcher = weakref.ref(one)
    del one, threads, thread
    assert batcher() is None


# --- calls from inside a call -------------------------------------------------------------------


def test_a_predictor_may_ask_the_batcher_that_calls_it():
    class Once(Double):
        def __call__(self, x):
            return super().__call__(x) if x.ndim == 1 else one.predict(x[0])[None]

    one = Batcher(Once())
    np.testing.assert_array_equal(one.predict(X[:1]), X[:1, :5] * 2)
    assert_usable(one)


def test_the_timeout_ends_the_wait_for_others():
    one = Batcher(Double(), max_wait=60)
    np.testing.assert_array_equal(one.predict(X[0], timeout=0.01), X[0, :5] * 2)


@pytest.mark.parametrize("timeout", ["soon", float("nan")])
def test_a_timeout_that_is_no_time_is_refused(timeout):
    one = Batcher(Double())
    with pytest.raises((TypeError, ValueError)):
        one.predict(X[0], timeout=timeout)
    assert_usable(one)


def test_the_limits_are_attributes_to_read():
    one = Batcher(Double(), max_wait=0.5, max_batch=7, max_queue=9)
    assert (one.max_wait, one.max_batch, one.max_queue) == (0.5, 7, 9)
    with pytest.raises(AttributeError):
        one.max_batch = 8
