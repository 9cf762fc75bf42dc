"""Requests, and the order they wait in."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Iterable

    from numpy.typing import NDArray


class QueueFullError(RuntimeError):
    """More rows wait for an answer than ``max_queue``: try again later, or shed load."""


class Request:
    """Rows that wait for their answer."""

    __slots__ = ("error", "future", "is_vector", "leads", "result", "woken", "x")

    def __init__(self, x: NDArray[Any], is_vector: bool) -> None:
        self.x = x
        self.is_vector = is_vector
        self.result: NDArray[Any] | None = None
        self.error: BaseException | None = None
        self.leads = False
        self.woken: threading.Lock | None = None  # of a thread that waits
        self.future: asyncio.Future[NDArray[Any]] | None = None  # of a coroutine that waits

    @property
    def done(self) -> bool:
        return self.result is not None or self.error is not None

    def answer(self) -> NDArray[Any]:
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result


class Queue:
    """Requests in order, and how many rows they have."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.rows = 0

    def put(self, request: Request) -> None:
        self.requests.append(request)
        self.rows += len(request.x)

    def put_back(self, requests: Iterable[Request]) -> None:
        """Put requests in front of the others."""
        for request in requests:
            self.requests.appendleft(request)
            self.rows += len(request.x)

    def remove(self, request: Request) -> bool:
        """Take a request out; False if it is no longer here."""
        try:
            self.requests.remove(request)
        except ValueError:
            return False
        self.rows -= len(request.x)
        return True

    def take(self, max_rows: int) -> list[Request]:
        """Take the first request, and those after it as long as all have at most `max_rows`."""
        batch: list[Request] = []
        rows = 0
        while self.requests and (not batch or rows + len(self.requests[0].x) <= max_rows):
            batch.append(self.requests.popleft())
            rows += len(batch[-1].x)
        self.rows -= rows
        return batch
