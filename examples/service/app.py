"""A model as a web service: ``uvicorn app:app``, or ``gunicorn app:app`` with gunicorn.conf.py.

Settings are environment variables, with defaults: MODEL, the file; MAX_BODY_BYTES; MAX_QUEUE, the
rows that may wait; POLL_SECONDS, between two looks at the file.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

import chainrule as cr
import metrics
import numpy as np
from chainrule.serving import QueueFullError
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from models import Model, Serving
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import AllowInfNan, BaseModel, ConfigDict, FailFast, Field, Strict
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

MAX_ROWS = 1024

Number = Annotated[float, Strict(), AllowInfNan(False)]
Row = Annotated[list[Number], FailFast()]


class Instances(BaseModel):
    """What a client sends: rows of as many numbers as the model takes."""

    model_config = ConfigDict(extra="forbid")
    instances: Annotated[list[Row], Field(min_length=1, max_length=MAX_ROWS), FailFast()]


class Predictions(BaseModel):
    """What it gets: the outputs for each row, and the name of the model they come from."""

    predictions: list[list[float]]
    model: str


class Health(BaseModel):
    """What this worker serves; `problem` says why a newer file does not."""

    model: str
    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    loaded: Annotated[float, Field(description="seconds since 1970")]
    problem: str | None
    worker: Annotated[int, Field(description="process id")]
    threads: Annotated[int, Field(description="of one large call")]


# At import: with gunicorn's preload_app once for all workers, which share its memory.
serving = Serving(
    os.environ.get("MODEL", "model.safetensors"), int(os.environ.get("MAX_QUEUE", 4096))
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Watch the file of the model for as long as the service runs."""
    gc.collect()
    gc.freeze()  # what was imported stays: no collection, 20 ms long, looks through it again
    watch = asyncio.create_task(serving.watch(float(os.environ.get("POLL_SECONDS", 1))))
    yield
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch


app = FastAPI(title="chainrule", lifespan=lifespan)
app.add_middleware(
    RequestBodyLimitMiddleware, max_body_size=int(os.environ.get("MAX_BODY_BYTES", 2**20))
)
app.add_middleware(metrics.Measured)  # around the others


@app.exception_handler(RequestValidationError)
async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
    """Say where a body is wrong and what was expected, without sending it back."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        what = f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}"
    else:
        keys = first["loc"][1:]  # after "body"
        where = "".join(f"[{key}]" if isinstance(key, int) else f"{key}" for key in keys)
        what = f"{where or 'the body'}: {first['msg'][0].lower()}{first['msg'][1:]}"
    return JSONResponse({"detail": what}, 422)


@app.post("/predict")
async def predict(body: Instances) -> Predictions:
    """Return the model's outputs. A row's bits depend neither on the other rows nor on the load."""
    model = serving.model  # one model for the whole request, whatever comes meanwhile
    x = as_array(body.instances, model)
    try:
        outputs = await model.predict(x)
    except QueueFullError as error:
        raise HTTPException(503, str(error), {"Retry-After": "1"}) from error
    if not np.isfinite(outputs).all():
        raise HTTPException(422, "the outputs for such large numbers are not finite")
    metrics.ROWS.inc(len(x))
    return Predictions(predictions=outputs.tolist(), model=model.name)


def as_array(rows: list[list[float]], model: Model) -> NDArray[Any]:
    """Return rows in the model's type, or refuse those that it cannot take."""
    for i, row in enumerate(rows):
        if len(row) != model.n_inputs:
            raise HTTPException(
                422, f"instances[{i}] has {len(row)} numbers, the model takes {model.n_inputs}"
            )
    with np.errstate(over="ignore"):  # it becomes infinite, and is refused here
        x = np.array(rows, model.predictor.dtype)
    if not np.isfinite(x).all():
        raise HTTPException(422, f"instances: a number is too large for {x.dtype}")
    return x


@app.get("/health")
async def health() -> Health:
    """Say what is served. A worker that has started can answer."""
    model = serving.model
    return Health(
        model=model.name,
        sizes=model.predictor.sizes,
        activations=model.predictor.activations,
        loaded=model.loaded,
        problem=serving.problem,
        worker=os.getpid(),
        threads=cr.get_num_threads(),
    )


@app.get("/metrics")
async def prometheus() -> Response:
    """Return the metrics of all workers."""
    return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)
