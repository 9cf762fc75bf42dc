"""Prometheus metrics, over all workers where gunicorn.conf.py has given them a folder."""

from __future__ import annotations

import os
import time

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUESTS = Counter("http_requests", "Requests answered", ["path", "status"])
SECONDS = Histogram(
    "http_request_seconds",
    "From the headers of a request to the end of its answer",
    buckets=[m * 10**e for e in (-4, -3, -2, -1) for m in (1, 2, 5)],
)
ROWS = Counter("predict_rows", "Rows predicted")
RELOADS = Counter("model_reloads", "Files that came to replace the model", ["outcome"])
SERVING = Gauge("model_workers", "Workers that serve it", ["model"], multiprocess_mode="livesum")


def text() -> bytes:
    """Return the metrics of all workers in Prometheus's text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry)


class Measured:
    """ASGI middleware that counts and times requests."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and note how."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            SECONDS.observe(time.perf_counter() - start)
            # The route, not the path: whatever clients ask for, there are few series.
            path = getattr(scope.get("route"), "path", "other")
            REQUESTS.labels(path, status).inc()
