"""Exceptions at random moments in threads that share a Batcher: python batcher.py CASE [COUNT].

Every case goes on until COUNT exceptions have arrived, then checks that nobody is stuck and that
nothing is left behind. The suite runs some thousands; .ci/long more.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import random
import signal
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
from problem import SECONDS, exit_code, fork, main

import chainrule as cr
from chainrule.serving import Batcher, loops

rng = np.random.default_rng(0)
# Wide enough that a call gives the interpreter's lock away: the other threads come to wait.
predictor = cr.Network([48, 6000, 50, 12], "tanh", seed=0).freeze()
x = rng.standard_normal((64, 48)).astype(np.float32)
right = predictor(x)
cr.set_num_threads(1)
sys.setswitchinterval(1e-4)


class Arrived(BaseException):
    """What the handler of the alarm raises, and what other threads are sent."""


class Clients:
    """Threads that ask all the time, and check every answer."""

    def __init__(self, batcher: Batcher, threads: int) -> None:
        self.batcher, self.stop = batcher, threading.Event()
        self.wrong, self.answers, self.interrupts = 0, 0, 0
        self.threads = [threading.Thread(target=self.work, args=(i,)) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def work(self, row: int) -> None:
        while not self.stop.is_set():
            try:
                self.ask_again_and_again(row)
            except Arrived:
                self.interrupts += 1

    def ask_again_and_again(self, row: int) -> None:
        while not self.stop.is_set():
            row = (row + 1) % len(x)
            if not np.array_equal(self.batcher.predict(x[row]), right[row]):
                self.wrong += 1
            self.answers += 1

    def finish(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(SECONDS)
            assert not thread.is_alive(), "a thread is stuck"
        assert self.wrong == 0
        assert self.answers > 0
        check(self.batcher)


def check(batcher: Batcher) -> None:
    assert batcher.statistics["waiting"] == 0, batcher.statistics
    assert np.array_equal(batcher.predict(x[0], timeout=5), right[0])
    batcher.close(timeout=5)


def watch() -> None:
    """End the process with all stacks if a minute passes without a word."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)


def alarms(count: str = "3000") -> None:
    """A signal's handler raises in the main thread, which asks as the others do."""

    def arrive(*_: object) -> None:
        raise Arrived

    batcher, arrived = Batcher(predictor, max_batch=8), 0
    clients = Clients(batcher, 3)
    signal.signal(signal.SIGALRM, arrive)
    while arrived < int(count):
        watch()
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 6e-4))
            clients.ask_again_and_again(arrived)
        except Arrived:
            arrived += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    clients.finish()
    print(arrived, "alarms,", clients.answers, "answers,", batcher.statistics)


def send(ident: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Arrived))


def callers(count: str = "3000") -> None:
    """Exceptions are sent to threads that ask."""
    batcher = Batcher(predictor, max_batch=8)
    clients = Clients(batcher, 4)
    threading.excepthook = lambda _: None  # one may arrive outside of every try
    while clients.interrupts < int(count):
        watch()
        alive = [thread for thread in clients.threads if thread.is_alive()]
        if len(alive) < 4:
            clients.threads = alive
            clients.threads.append(threading.Thread(target=clients.work, args=(0,)))
            clients.threads[-1].start()
        else:
            send(random.choice(alive).ident or 0)
        time.sleep(random.uniform(0, 5e-4))
    clients.finish()
    print(clients.interrupts, "interrupts,", clients.answers, "answers,", batcher.statistics)


class Workers:
    """Notes the threads that compute, and sends exceptions to the newest one."""

    def __init__(self) -> None:
        self.start, self.newest, self.stop = loops.start_new_thread, 0, threading.Event()
        loops.INLINE_WORK, loops.start_new_thread = 0, self.start_noting
        self.sent = 0

    def start_noting(self, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self.newest = self.start(function, arguments)

    def bomb(self, count: int) -> None:
        while self.sent < count and not self.stop.is_set():
            time.sleep(random.uniform(0, 5e-4))
            if self.newest:
                send(self.newest)
                self.sent += 1
        self.stop.set()


def workers(count: str = "3000") -> None:
    """Exceptions are sent to the threads that compute for coroutines."""
    batcher, thrown = Batcher(predictor, max_batch=8), Workers()
    failed = answers = 0

    async def ask(row: int) -> None:
        nonlocal failed, answers
        while not thrown.stop.is_set():
            watch()
            try:
                answer = await asyncio.wait_for(batcher(x[row]), SECONDS / 2)
            except RuntimeError as error:
                assert "Arrived ended the thread" in str(error), error
                failed += 1
            else:
                assert np.array_equal(answer, right[row])
                answers += 1

    async def all_ask() -> None:
        bombing = threading.Thread(target=thrown.bomb, args=(int(count),))
        bombing.start()
        try:
            await asyncio.gather(*map(ask, range(16)))
        finally:
            thrown.stop.set()
            bombing.join()
        await batcher.aclose()

    asyncio.run(all_ask())
    assert answers > 0
    assert batcher.statistics["waiting"] == 0
    print(thrown.sent, "sent,", failed, "failed,", answers, "answers,", batcher.statistics)


def forks(count: str = "20") -> None:
    """Children of a process whose threads ask: theirs answers, and ends."""
    batcher = Batcher(predictor, max_batch=8)
    clients = Clients(batcher, 3)

    def child() -> bool:
        for row in range(20):
            assert np.array_equal(batcher.predict(x[row], timeout=5), right[row])
        asked = [threading.Thread(target=batcher.predict, args=(x[0],)) for _ in range(4)]
        for thread in asked:
            thread.start()
        for thread in asked:
            thread.join()

        async def ask() -> np.ndarray:
            return np.stack(await asyncio.gather(*map(batcher, x)))

        assert np.array_equal(asyncio.run(ask()), right)
        assert batcher.statistics["requests"] == 20 + 4 + len(x)
        batcher.close(timeout=5)
        return True

    for _ in range(int(count)):
        watch()
        assert exit_code(fork(child)) == 0
    clients.finish()


class Gate:
    """A predictor that answers only when it is let."""

    sizes = (48, 12)
    dtype = np.dtype("float32")

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        self.entered.set()
        assert self.open.wait(SECONDS)
        return rows[..., :12]


def fork_amid_a_thread() -> None:
    """In the child nothing computes: the loop that waits for it there must not."""
    gate, loop = Gate(), asyncio.new_event_loop()
    batcher = Batcher(gate)
    loops.INLINE_WORK = 0
    task = loop.create_task(batcher(x[0]))
    while not gate.entered.is_set():
        loop.run_until_complete(asyncio.sleep(0))

    def child() -> bool:
        loops.INLINE_WORK = float("inf")
        gate.open.set()
        answer = loop.run_until_complete(asyncio.wait_for(batcher(x[1]), SECONDS / 2))
        return batcher.statistics["waiting"] == 0 and np.array_equal(answer, x[1, :12])

    pid = fork(child)
    gate.open.set()
    assert np.array_equal(loop.run_until_complete(task), x[0, :12])
    assert exit_code(pid) == 0


if __name__ == "__main__":
    watch()
    main(globals())
