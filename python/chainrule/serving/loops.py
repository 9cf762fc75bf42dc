"""Requests of coroutines, answered by their event loop.

A coroutine whose request has no answer when it goes on takes the lead: it answers the requests that
wait, its own first. So nobody depends on what another coroutine does next, and an exception that
ends one of them, wherever it arrives, leaves the others as able as before.
"""

from __future__ import annotations

import asyncio
import os
from _thread import start_new_thread
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from chainrule import _core
from chainrule.serving.together import predict_together

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from chainrule.predictor import Predictor

# Multiply-adds of a batch, about a millisecond, that an event loop does itself. Handing less to a
# thread takes longer: that thread would wait for the interpreter's lock while the loop runs.
INLINE_WORK = 3e7


class Event:
    """Something that coroutines wait for. Only C++ sets it: `_core.settle`, `_core.Worker`."""

    __slots__ = ("futures", "outcome")

    def __init__(self) -> None:
        self.outcome: Any = None  # anything else once it has happened
        self.futures: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Return once it has happened."""
        future = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        if self.outcome is None:
            await future


class Gathering(Event):
    """Requests that wait for others until a timer fires."""

    __slots__ = ("rows", "timer")

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.rows = 0
        self.timer = asyncio.get_running_loop().call_later(seconds, _core.settle, self, True)

    def end(self) -> None:
        """Let all go on now."""
        self.timer.cancel()
        _core.settle(self, True)


class Work(Event):
    """A batch that a thread computes; the outcome is a list, or an exception.

    Raises
    ------
    RuntimeError
        If the system gives no thread.
    """

    __slots__ = ("pid", "size")

    def __init__(
        self, size: int, compute: Callable[[], list[NDArray[Any]]], worker: _core.Worker
    ) -> None:
        super().__init__()
        self.size, self.pid = size, os.getpid()
        if not worker.hand((self, asyncio.get_running_loop(), compute, _core.settle)):
            start_new_thread(worker.run, ())

    @property
    def is_under_way(self) -> bool:
        """Whether its thread still computes; a child of a fork does not have it."""
        return self.outcome is None and self.pid == os.getpid()


class Request:
    """Rows that wait for their answer."""

    __slots__ = ("alone", "done", "place", "result", "rows", "work", "x")

    def __init__(self, x: NDArray[Any]) -> None:
        self.x = x
        self.rows = 1 if x.ndim == 1 else len(x)
        self.alone = False  # it was in a batch that failed
        self.work: Work | None = None  # which computes it, at this place
        self.place = 0
        self.result: Any = None
        self.done = False

    def put(self, result: NDArray[Any]) -> None:
        """Take the answer."""
        self.result = result
        self.done = True  # last: without it the request is answered again

    def collect(self) -> None:
        """Take the answer from `work`, or raise its error if it is of this request alone."""
        work, self.work = self.work, None
        if work is None or work.outcome is None:
            return
        if not isinstance(work.outcome, BaseException):
            self.put(work.outcome[self.place])
        elif work.size > 1:
            self.alone = True
        elif isinstance(work.outcome, Exception):
            raise work.outcome
        else:
            raise RuntimeError(
                f"{type(work.outcome).__name__} ended the thread that computed the answer: "
                "ask again"
            ) from work.outcome


class Service(NamedTuple):
    """What answers requests, and what counts them."""

    predictor: Predictor | _core.Network
    combiner: _core.Combiner
    row_work: int  # multiply-adds of a row


class LoopQueue:
    """The requests of one event loop; its methods run in that loop only."""

    def __init__(self) -> None:
        self.waiting: deque[Request] = deque()
        self.gathering: Gathering | None = None
        self.work: Work | None = None
        self.worker = _core.Worker()

    async def answer(self, request: Request, service: Service) -> NDArray[Any]:
        """Wait for the answer of a request, or take the lead."""
        self.waiting.append(request)
        try:
            await self._gather(request, service)
            while not request.done:
                work = request.work or self.work
                if work is not None and work.is_under_way:
                    await work.wait()
                elif request.work is not None:
                    request.collect()
                else:
                    self._lead(request, service)
        finally:
            if not request.done:
                self._withdraw(request)
        result: NDArray[Any] = request.result
        return result

    def end_gathering(self) -> None:
        """Let nobody wait for others any more."""
        if self.gathering is not None:
            self.gathering.end()

    async def _gather(self, request: Request, service: Service) -> None:
        """Let other requests come first."""
        if self.work is not None and self.work.is_under_way:
            return
        if not service.combiner.max_wait or service.combiner.closed:
            await asyncio.sleep(0)  # those of the coroutines that are ready now
            return
        if self.gathering is None or self.gathering.outcome is not None:
            self.gathering = Gathering(service.combiner.max_wait)
        gathering = self.gathering
        gathering.rows += request.rows
        if gathering.rows >= service.combiner.max_batch:
            gathering.end()
        else:
            await gathering.wait()

    def _lead(self, request: Request, service: Service) -> None:
        """Answer a batch: here if it is short, else in a thread."""
        batch = self._take(request, service.combiner.max_batch)
        compute = partial(predict_together, service.predictor, [each.x for each in batch])
        service.combiner.count_batch()
        try:
            if self._is_long(batch, service) and self._start(batch, compute):
                return
            for each, result in zip(batch, compute(), strict=True):
                each.put(result)
        except BaseException as error:
            for each in batch[1:]:
                each.alone = True  # one of them may be at fault
            if len(batch) == 1 or not isinstance(error, MemoryError):
                raise
            request.alone = True  # it may fit alone

    def _take(self, first: Request, max_rows: int) -> list[Request]:
        """Take this request, and those that wait as long as all have at most `max_rows`."""
        self._withdraw(first)
        batch, rows = [first], first.rows
        while self.waiting and not first.alone and rows + self.waiting[0].rows <= max_rows:
            batch.append(self.waiting.popleft())
            rows += batch[-1].rows
        return batch

    def _withdraw(self, request: Request) -> None:
        with suppress(ValueError):  # somebody took it, and was interrupted
            self.waiting.remove(request)

    def _is_long(self, batch: list[Request], service: Service) -> bool:
        return service.row_work * sum(each.rows for each in batch) > INLINE_WORK

    def _start(self, batch: list[Request], compute: Callable[[], list[NDArray[Any]]]) -> bool:
        """Compute a batch in a thread; False if the system gives none."""
        try:
            self.work = work = Work(len(batch), compute, self.worker)
        except RuntimeError:
            self.worker = _core.Worker()  # without the job that nobody does
            return False
        for place, each in enumerate(batch):
            each.place = place
            each.work = work  # after its place
        return True
