"""The Batcher: checks of requests, and how threads share calls."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import weakref
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.arrays import real_array
from chainrule.checks import count
from chainrule.serving.loops import LoopQueue
from chainrule.serving.queue import Queue, QueueFullError, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from chainrule.network import Network
    from chainrule.predictor import Predictor

# Multiply-adds of a batch, about a millisecond, that an event loop does itself. Handing less to a
# thread takes longer: that thread would wait for the interpreter's lock while the loop runs.
INLINE_WORK = 3e7


class Batcher:
    """Merge concurrent requests into calls of at most about `max_batch` rows.

    No thread is started: the first of several waiting threads answers for all of them, and so
    does an event loop for its coroutines (batches that take longer than about a millisecond go to
    the loop's executor). A request that comes alone costs a few microseconds more than
    ``predictor(x)``. While one batch is being computed the next one gathers, so that even
    ``max_wait=0`` merges what comes in faster than it is answered.

    Parameters
    ----------
    predictor : Predictor or Network
        What answers; with a network, the weights at the time of the call do.
    max_wait : float, default 0
        Seconds that the first request of a batch waits for others.
    max_batch : int, default 256
        Rows from which on a batch is not waited for. A request with more rows is a batch alone.
    max_queue : int, default 4096
        Rows that may wait or be under way; requests beyond are refused with `QueueFullError`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it must be.

    Notes
    -----
    A child of a fork starts with an empty queue. One batcher serves threads and any number of
    event loops; threads and each loop have batches of their own.
    """

    def __init__(
        self,
        predictor: Predictor | Network,
        *,
        max_wait: float = 0.0,
        max_batch: int = 256,
        max_queue: int = 4096,
    ) -> None:
        if not callable(predictor) or not hasattr(predictor, "sizes"):
            raise TypeError(f"predictor must be a Predictor or Network, got {predictor!r}")
        if isinstance(max_wait, bool) or not isinstance(max_wait, (int, float)):
            raise TypeError(f"max_wait must be a number of seconds, got {max_wait!r}")
        if not (math.isfinite(max_wait) and 0 <= max_wait <= 60):
            raise ValueError(f"max_wait must lie in [0, 60] seconds, got {max_wait}")
        self.predictor = predictor
        self.max_wait = float(max_wait)
        self.max_batch = count(max_batch, "max_batch")
        self.max_queue = count(max_queue, "max_queue")
        self._n_inputs, self._dtype = predictor.sizes[0], predictor.dtype
        self._multiplies = sum(a * b for a, b in pairwise(predictor.sizes))
        self._reset()
        _batchers.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._waiting = Queue()
        self._leading = False
        self._gathered = threading.Event()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopQueue] = (
            weakref.WeakKeyDictionary()
        )
        self._rows = 0
        self._closed = False
        self._counts = {"requests": 0, "rows": 0, "batches": 0, "refused": 0}

    @property
    def statistics(self) -> dict[str, int]:
        """Requests, rows and batches so far, requests refused for a full queue, rows waiting."""
        with self._lock:
            return {**self._counts, "waiting": self._rows}

    # Requests

    def predict(self, x: ArrayLike, *, timeout: float | None = None) -> NDArray[Any]:
        """Return ``predictor(x)``, from this thread or another one's call.

        Parameters
        ----------
        x : array_like of shape (n_0,) or (n, n_0)
        timeout : float, optional
            Seconds to wait for a batch to be begun that has this request.

        Returns
        -------
        ndarray of shape (n_L,) or (n, n_L)
            The bits of ``predictor(x)``.

        Raises
        ------
        TypeError, ValueError
            If x is not what the network takes; no other request notices.
        QueueFullError
            If too many rows wait.
        TimeoutError
            If the time was over first.
        RuntimeError
            If the batcher is closed.
        """
        request = self._request(x)
        with self._lock:
            self._admit(request)
            self._waiting.put(request)
            if self._leading:
                request.woken = threading.Lock()
                request.woken.acquire()
                if self._waiting.rows >= self.max_batch:
                    self._gathered.set()
            else:
                self._leading = request.leads = True
        try:
            if request.woken is not None:
                self._follow(request, request.woken, timeout)
            if request.leads and not request.done:
                self._lead(request)
        except BaseException:
            self._abandon(request)
            raise
        finally:
            self._discharge(request)
        return request.answer()

    async def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """Return ``predictor(x)``, together with other coroutines of this event loop.

        As ``predict``; cancelling the task withdraws a request that is not under way.
        """
        request = self._request(x)
        loop = asyncio.get_running_loop()
        with self._lock:
            self._admit(request)
            queue = self._loops.get(loop)
            if queue is None:
                queue = self._loops[loop] = LoopQueue(self)
        try:
            return await queue.put(request)
        finally:
            self._discharge(request)

    # Shutdown

    def close(self, timeout: float | None = None) -> None:
        """Refuse new requests, and wait until the others are answered.

        In a coroutine use ``await batcher.aclose()``: this call would stop the event loop that
        is to answer.

        Raises
        ------
        TimeoutError
            If requests are still under way after `timeout` seconds. The batcher is closed anyway.
        """
        with self._lock:
            self._closed = True
            self._gathered.set()
            if not self._idle.wait_for(lambda: self._rows == 0, timeout):
                raise TimeoutError(f"{self._rows} rows are still waiting or under way")

    async def aclose(self) -> None:
        """Refuse new requests, and wait until the others are answered, without blocking."""
        with self._lock:
            self._closed = True
            self._gathered.set()
        while self._rows:
            await asyncio.sleep(0.001)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    # How threads share calls: the first one leads, the others follow

    def _request(self, x: ArrayLike) -> Request:
        """Check x alone, in the thread that brought it, so that nobody else meets its errors."""
        array = real_array(x, "x")
        n_in = self._n_inputs
        if array.ndim not in (1, 2) or array.shape[-1] != n_in:
            raise ValueError(f"x must have shape ({n_in},) or (n, {n_in}), got {array.shape}")
        is_vector = array.ndim == 1
        # A copy: the caller may change x before its batch begins.
        if array.dtype == self._dtype:
            array = array.copy()
        else:
            with np.errstate(all="ignore"):  # as predict: an overflow is infinite, and no warning
                array = array.astype(self._dtype)
        return Request(array[None] if is_vector else array, is_vector)

    def _admit(self, request: Request) -> None:
        """Count a request in; called with the lock."""
        if self._closed:
            raise RuntimeError("the batcher is closed")
        rows = len(request.x)
        if self._rows and self._rows + rows > self.max_queue:
            self._counts["refused"] += 1
            raise QueueFullError(
                f"{self._rows} rows wait already, and max_queue is {self.max_queue}: "
                f"{rows} more were refused; try again later, or raise max_queue"
            )
        self._rows += rows
        self._counts["requests"] += 1
        self._counts["rows"] += rows

    def _discharge(self, request: Request) -> None:
        """Count a request out."""
        with self._lock:
            self._rows -= len(request.x)
            if not self._rows:
                self._idle.notify_all()

    def _follow(self, request: Request, woken: threading.Lock, timeout: float | None) -> None:
        """Wait for the answer, or for the lead."""
        if woken.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
            return
        with self._lock:
            if not request.leads and self._waiting.remove(request):
                raise TimeoutError(f"no batch had room for the request within {timeout} seconds")
        woken.acquire()  # its batch is under way, or it leads

    def _lead(self, request: Request) -> None:
        """Gather a batch, answer it, and hand the lead on."""
        if self.max_wait and self._waiting.rows < self.max_batch and not self._closed:
            self._gathered.wait(self.max_wait)
        with self._lock:
            self._gathered.clear()
            batch = self._waiting.take(self.max_batch)
        try:
            self._answer(batch)
        finally:
            followers = [other for other in batch if other is not request]
            with self._lock:
                # Without answers where this thread was interrupted: they wait for the next lead.
                self._waiting.put_back(other for other in reversed(followers) if not other.done)
                self._promote()
            for other in followers:
                if other.done and other.woken is not None:
                    other.woken.release()

    def _promote(self) -> None:
        """Let the first thread that waits lead; called with the lock."""
        self._leading = bool(self._waiting.requests)
        if self._leading:
            first = self._waiting.requests[0]
            first.leads = True
            assert first.woken is not None
            first.woken.release()

    def _abandon(self, request: Request) -> None:
        """Leave the queue after an exception, and pass on a lead that was not taken up."""
        with self._lock:
            if self._waiting.remove(request) and request.leads:
                self._promote()
            if not request.done:
                request.error = RuntimeError("the request was abandoned")

    def _answer(self, batch: Sequence[Request]) -> None:
        """Give every request of a batch its result, or its error."""
        with self._lock:
            self._counts["batches"] += 1
        try:
            if len(batch) == 1:
                self._answer_alone(batch[0])
                return
            results = self.predictor(np.concatenate([request.x for request in batch]))
        except MemoryError:  # of the batch: each may still fit alone
            for request in batch:
                self._answer_alone(request)
            return
        end = 0
        for request in batch:
            begin, end = end, end + len(request.x)
            # A copy: a view would keep the results of all the others alive.
            request.result = results[begin if request.is_vector else slice(begin, end)].copy()

    def _answer_alone(self, request: Request) -> None:
        try:
            request.result = self.predictor(request.x[0] if request.is_vector else request.x)
        except Exception as error:
            request.error = error

    def _is_short(self, batch: Sequence[Request]) -> bool:
        return self._multiplies * sum(len(r.x) for r in batch) <= INLINE_WORK


# A fork may come while a thread that the child does not have leads or holds the lock.
_batchers: weakref.WeakSet[Batcher] = weakref.WeakSet()


def _reset_all() -> None:
    for batcher in _batchers:
        batcher._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
