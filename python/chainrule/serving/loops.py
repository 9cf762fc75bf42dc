"""Requests of coroutines, answered by their event loop."""

from __future__ import annotations

import asyncio
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from chainrule.serving.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.serving.batcher import Batcher
    from chainrule.serving.queue import Request


class LoopQueue:
    """The requests of one event loop; its methods run in that loop only."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = weakref.proxy(batcher)
        self.waiting = Queue()
        self.timer: asyncio.Handle | None = None
        self.busy = False

    async def put(self, request: Request) -> NDArray[Any]:
        loop = asyncio.get_running_loop()
        request.future = loop.create_future()
        self.waiting.put(request)
        if not self.busy:
            if self.waiting.rows >= self.batcher.max_batch:
                self.flush()
            elif self.timer is None and self.batcher.max_wait:
                self.timer = loop.call_later(self.batcher.max_wait, self.flush)
            elif self.timer is None:  # after the coroutines that are ready now
                self.timer = loop.call_soon(self.flush)
        return await request.future

    def flush(self) -> None:
        """Answer what waits: here if it is short, else in the loop's executor."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        while self.waiting.requests and not self.busy:
            batch = self.waiting.take(self.batcher.max_batch)
            batch = [r for r in batch if r.future is not None and not r.future.done()]
            if not batch:
                continue
            if self.batcher._is_short(batch):
                self.batcher._answer(batch)
                self.resolve(batch)
            else:
                self.busy = True
                work = asyncio.get_running_loop().run_in_executor(None, self.batcher._answer, batch)
                work.add_done_callback(partial(self.finish, batch))

    def finish(self, batch: Sequence[Request], done: asyncio.Future[None]) -> None:
        self.busy = False
        failure = asyncio.CancelledError() if done.cancelled() else done.exception()
        for request in batch:
            if failure is not None and not request.done:
                request.error = failure
        self.resolve(batch)
        self.flush()

    @staticmethod
    def resolve(batch: Sequence[Request]) -> None:
        for request in batch:
            future = request.future
            if future is None or future.done():  # its task was cancelled meanwhile
                continue
            if request.error is not None:
                future.set_exception(request.error)
            else:
                future.set_result(request.answer())
