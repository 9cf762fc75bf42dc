"""The model in service, and how another one takes its place without a request lost."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from itertools import pairwise
from typing import Any

import chainrule as cr
import metrics
import numpy as np
from chainrule.serving import Batcher
from numpy.typing import NDArray

log = logging.getLogger("uvicorn.error")

# Multiply-adds of a request from which on a call shared with others is faster than calls alone. A
# smaller one is answered sooner than the batcher can hand it on.
WORTH_BATCHING = 3e5


def identity(predictor: cr.Predictor) -> str:
    """Name a model by its architecture and the bits of its parameters."""
    digest = hashlib.sha256(repr(predictor).encode())
    digest.update(predictor.get_parameters().tobytes())
    return digest.hexdigest()[:12]


class Model:
    """An immutable model and the queue in front of it.

    Parameters
    ----------
    path : str
        A file that ``Network.save`` wrote.
    max_queue : int
        Rows that may wait for an answer.

    Raises
    ------
    OSError, ValueError
        If there is no such file, it is damaged, or its model gives no finite numbers.
    """

    def __init__(self, path: str, max_queue: int) -> None:
        self.predictor = cr.Network.load(path).freeze()
        self.n_inputs, self.n_outputs = self.predictor.sizes[0], self.predictor.sizes[-1]
        if not np.isfinite(self.predictor.get_parameters()).all():
            raise ValueError(f"{path} has weights that are not finite numbers")
        if not np.isfinite(self.predictor(np.zeros(self.n_inputs))).all():
            raise ValueError(f"{path} gives no finite numbers for a row of zeros")
        self.batcher = Batcher(self.predictor, max_queue=max_queue)
        self.name = identity(self.predictor)
        self.loaded = time.time()
        self._row_work = sum(a * b for a, b in pairwise(self.predictor.sizes))

    async def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs for rows x: each has the bits of the call with this row alone."""
        if len(x) * self._row_work < WORTH_BATCHING:
            return self.predictor(x)
        return await self.batcher(x)


class Serving:
    """The model of a file, and of what the file becomes.

    A request keeps the model with which it began; the next one gets the new model. A file that
    cannot be served changes nothing but `problem`, which says why.

    Parameters
    ----------
    path : str
        The file, which has to be there. Replace it in one step (``Network.save`` does, and ``mv``
        within a file system), so that half a file is never seen.
    max_queue : int
        Rows that may wait for an answer.
    """

    def __init__(self, path: str, max_queue: int) -> None:
        self.path, self.max_queue = path, max_queue
        self.problem: str | None = None
        self._seen = self._stamp()
        self.model = Model(path, max_queue)

    async def watch(self, seconds: float) -> None:
        """Look at the file at once and then every so many seconds, for ever."""
        metrics.SERVING.labels(self.model.name).inc()
        while True:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp  # before it is read: what changes meanwhile is seen next time
                await asyncio.to_thread(self._replace)  # the event loop goes on answering
            await asyncio.sleep(seconds)

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _replace(self) -> None:
        try:
            model = Model(self.path, self.max_queue)
            self._check_shape(model)
        except Exception as error:  # whatever it is, the old model goes on serving
            self.problem = f"{type(error).__name__}: {error}"
            metrics.RELOADS.labels("refused").inc()
            log.error("%s stays in service: %s", self.model.name, self.problem)
            return
        old, self.model, self.problem = self.model, model, None
        metrics.RELOADS.labels("done").inc()
        metrics.SERVING.labels(old.name).dec()
        metrics.SERVING.labels(model.name).inc()
        log.info("%s is in service, after %s", model.name, old.name)

    def _check_shape(self, model: Model) -> None:
        """Refuse what the clients of the model in service could not use."""
        old, new = (f"{m.n_inputs} numbers in, {m.n_outputs} out" for m in (self.model, model))
        if old != new:
            raise ValueError(
                f"{self.path} has {new}, the model in service {old}: "
                "serve it from another process, or restart the service"
            )
