"""The Batcher: what it takes, and how it is closed."""

from __future__ import annotations

import asyncio
import math
import weakref
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import _core
from chainrule.inputs.arrays import real_array
from chainrule.inputs.numbers import count
from chainrule.serving.loops import LoopQueue, Request, Service
from chainrule.serving.together import predict_together

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from chainrule.network import Network
    from chainrule.predictor import Predictor


class QueueFullError(RuntimeError):
    """More rows wait for an answer than ``max_queue``: try again later, or shed load."""


class Batcher:
    """Merge concurrent requests into calls of at most about `max_batch` rows.

    The first of several waiting threads answers for all of them, and so does the first of an event
    loop's coroutines. A loop hands a batch that takes longer than about a millisecond to a thread,
    which ends when no batch has come for half a second. A request that comes alone costs a few
    microseconds more than ``predictor(x)``. While one batch is being computed the next one
    gathers, so that even ``max_wait=0`` merges what comes in faster than it is answered.

    An exception that arrives from outside (Ctrl-C, the handler of a signal, a predictor that
    fails) ends the request that it meets. The others are answered, and the batcher goes on.

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
        self._combiner = _core.Combiner(
            float(max_wait),
            count(max_batch, "max_batch"),
            count(max_queue, "max_queue"),
            QueueFullError,
        )
        self._n_inputs, self._dtype = predictor.sizes[0], predictor.dtype
        self._row_work = sum(a * b for a, b in pairwise(predictor.sizes))
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopQueue] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def max_wait(self) -> float:
        """Seconds that the first request of a batch waits for others."""
        return self._combiner.max_wait

    @property
    def max_batch(self) -> int:
        """Rows from which on a batch is not waited for."""
        return self._combiner.max_batch

    @property
    def max_queue(self) -> int:
        """Rows that may wait or be under way."""
        return self._combiner.max_queue

    @property
    def statistics(self) -> dict[str, int]:
        """Requests, rows and batches so far, requests refused for a full queue, rows waiting."""
        return self._combiner.statistics()

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
        x = self._checked(x)
        rows = 1 if x.ndim == 1 else len(x)
        result: NDArray[Any] = self._combiner.combine(
            self.predictor, predict_together, x, rows, timeout
        )
        return result

    async def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """Return ``predictor(x)``, together with other coroutines of this event loop.

        As ``predict``; cancelling the task withdraws a request that is not under way.
        """
        request = Request(self._checked(x))
        service = Service(self.predictor, self._combiner, self._row_work)
        # Without a name: a traceback that somebody keeps would keep the rows waiting.
        with _core.Admission(self._combiner, request.rows):
            return await self._queue().answer(request, service)

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
        if not self._combiner.close(timeout):
            raise TimeoutError(f"{self._combiner.rows} rows are still waiting or under way")

    async def aclose(self) -> None:
        """Refuse new requests, and wait until the others are answered, without blocking."""
        self._combiner.close(0)
        self._queue().end_gathering()
        while self._combiner.rows:
            await asyncio.sleep(0.001)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    # Inside

    def _checked(self, x: ArrayLike) -> NDArray[Any]:
        """Return a copy of x, checked in the thread that brought it: nobody else meets its errors.

        A copy, because the caller may change x before its batch begins.
        """
        array = real_array(x, "x")
        n_in = self._n_inputs
        if array.ndim not in (1, 2) or array.shape[-1] != n_in:
            raise ValueError(f"x must have shape ({n_in},) or (n, {n_in}), got {array.shape}")
        if array.dtype == self._dtype:
            return array.copy()
        with np.errstate(all="ignore"):  # as predict: an overflow is infinite, and no warning
            return array.astype(self._dtype)

    def _queue(self) -> LoopQueue:
        """Return the queue of the event loop that runs."""
        loop = asyncio.get_running_loop()
        queue = self._loops.get(loop)
        return self._loops.setdefault(loop, LoopQueue()) if queue is None else queue
