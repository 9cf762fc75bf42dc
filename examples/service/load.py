"""Load a service and tell its throughput and its tail: python load.py [URL]. See --help.

Each connection asks, waits for the answer, and asks again. With --check the answers are compared,
bit by bit, with the models in those files.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import chainrule as cr
import numpy as np
from models import identity
from numpy.typing import NDArray

N_BODIES = 256


@dataclass
class Seen:
    """What came of the requests."""

    seconds: list[float] = field(default_factory=list)
    answers: list[tuple[int, bytes]] = field(default_factory=list)  # of which body, and the text
    refused: Counter[int] = field(default_factory=Counter)  # by status
    answered: Counter[int | None] = field(default_factory=Counter)  # by worker
    lost: Counter[int] = field(default_factory=Counter)  # by worker: sent, and never answered


class Connection:
    """One kept connection of HTTP/1.1; bytes alone, so that the client costs little."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.worker: int | None = None  # at the other end, while it is open

    async def open(self) -> dict[str, Any]:
        """Connect, and return what the worker at the other end says of itself."""
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        status, health = await self.ask(b"GET /health HTTP/1.1\r\nHost: service\r\n\r\n")
        if status != 200:
            raise ConnectionError(f"GET /health: {status} {health.decode()}")
        found: dict[str, Any] = json.loads(health)
        self.worker = found["worker"]
        return found

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; return status and body."""
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        return int(head.split(" ", 2)[1]), await self.reader.readexactly(length)

    def close(self) -> None:
        """Hang up."""
        self.writer.close()
        self.worker = None


def request(rows: NDArray[Any]) -> bytes:
    """Return the bytes that ask for predictions."""
    body = json.dumps({"instances": rows.tolist()})
    return (
        "POST /predict HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def ask_until(
    end: float, connection: Connection, requests: list[bytes], turns: Iterator[int], seen: Seen
) -> None:
    """Be one client, who connects again where the other end hangs up."""
    while time.perf_counter() < end:
        try:
            if connection.worker is None:
                await connection.open()
            which = next(turns) % len(requests)
            start = time.perf_counter()
            status, text = await connection.ask(requests[which])
        except (OSError, asyncio.IncompleteReadError):
            if connection.worker is not None:
                seen.lost[connection.worker] += 1
                connection.close()
            await asyncio.sleep(0.05)
            continue
        seen.seconds.append(time.perf_counter() - start)
        seen.answered[connection.worker] += 1
        if status == 200:
            seen.answers.append((which, text))
        else:
            seen.refused[status] += 1
    if connection.worker is not None:
        connection.close()


def check(seen: Seen, bodies: list[NDArray[Any]], files: list[str]) -> tuple[Counter[str], int]:
    """Return how many answers each model gave, and how many have other bits than it gives alone."""
    predictors = [cr.Network.load(file).freeze() for file in files]
    expected = {
        identity(each): [np.stack([each(row) for row in rows]) for rows in bodies]
        for each in predictors
    }
    models, wrong = Counter[str](), 0
    for which, text in seen.answers:
        answer = json.loads(text)
        models[answer["model"]] += 1
        if answer["model"] in expected:
            outputs = expected[answer["model"]][which]
            got = np.array(answer["predictions"])
            wrong += got.shape != outputs.shape or (got != outputs).any()
        else:
            wrong += bool(files)
    return models, int(wrong)


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Load the service, and return what was measured."""
    connections = [Connection(options.url) for _ in range(options.connections)]
    # One after the other: else the first worker that looks would take them all.
    healths = [await connection.open() for connection in connections]
    by_worker = Counter(health["worker"] for health in healths)
    print(f"connections by worker: {json.dumps(by_worker)}", flush=True)
    rng = np.random.default_rng(0)
    shape = (options.rows, healths[0]["sizes"][0])
    bodies = [rng.normal(size=shape).astype(np.float32) for _ in range(N_BODIES)]
    requests = [request(rows) for rows in bodies]
    seen, turns, start = Seen(), count(), time.perf_counter()
    clients = [
        ask_until(start + options.seconds, connection, requests, turns, seen)
        for connection in connections
    ]
    await asyncio.gather(*clients)
    elapsed = time.perf_counter() - start
    models, wrong = check(seen, bodies, options.check)
    percentiles = np.percentile(seen.seconds or [np.nan], [50, 99, 99.9, 100])
    names = ("p50", "p99", "p99.9", "max")
    tail = {name: round(1e3 * p, 3) for name, p in zip(names, percentiles.tolist(), strict=True)}
    return {
        "requests": len(seen.seconds),
        "requests_per_second": round(len(seen.seconds) / elapsed, 1),
        "milliseconds": tail,
        "models": models,
        "wrong": wrong,
        "refused": seen.refused,
        "answered": seen.answered,
        "lost": seen.lost,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8000")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rows", type=int, default=1, help="rows of a request")
    parser.add_argument("--check", nargs="*", default=[], metavar="MODEL", help="who may answer")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = asyncio.run(run(options))
    if options.json:
        print(json.dumps(found))
        return
    tail = ", ".join(f"{name} {value:.2f}" for name, value in found["milliseconds"].items())
    print(f"{found['requests_per_second']:,.0f} requests/s; ms of a request: {tail}")
    print(f"answers by model: {json.dumps(found['models'])}, by worker: ", end="")
    print(json.dumps(found["answered"]))
    print(f"refused: {json.dumps(found['refused'])}, lost: {json.dumps(found['lost'])}", end="")
    print(f", wrong bits: {found['wrong']}" if options.check else "")


if __name__ == "__main__":
    main()
