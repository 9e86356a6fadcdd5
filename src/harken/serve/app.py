"""The application: which path answers what.

create_app   a recognizer -> an ASGI application
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from harken import __version__
from harken.errors import HarkenError
from harken.runtime.recognizer import Prediction, Recognizer
from harken.runtime.streamfile import StreamFile
from harken.serve.card import card_json
from harken.serve.faults import Caught
from harken.serve.limits import Limits, Refused
from harken.serve.metrics import CONTENT_TYPE, Measured, Metrics
from harken.serve.predict import predict_clip, read_clip
from harken.serve.security import Access, Guard
from harken.serve.stream import run_listener
from harken.serve.workers import Workers

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Fault(BaseModel):
    """One line on what is wrong with a request, and how to mend it."""

    error: str


class ModelCard(BaseModel):
    """What the model file says of itself."""

    name: str
    labels: tuple[str, ...] = Field(description="Class names in the order of the probabilities.")
    words: tuple[str, ...] = Field(description="The labels that are words.")
    sample_rate: int = Field(description="Hz")
    window: int = Field(description="Samples judged at once.")
    thresholds: dict[str, float] = Field(description="Of clips: the least probability at which a word counts.")
    listener: dict[str, Any] = Field(
        description="Of streams: hop, smoothing, thresholds, refractory time, gate, isolation."
    )
    fields: dict[str, Any] = Field(description="All else: recipe, corpus, licence, measured accuracy ...")


_FAULTS: dict[int | str, dict[str, Any]] = {
    401: {"model": Fault, "description": "Token missing or wrong."},
    403: {"model": Fault, "description": "Page or host not allowed."},
}
_CLIP_FAULTS: dict[int | str, dict[str, Any]] = {
    **_FAULTS,
    400: {"model": Fault, "description": "The connection ended early."},
    408: {"model": Fault, "description": "The body came too slowly."},
    413: {"model": Fault, "description": "Too many bytes, seconds or samples."},
    415: {"model": Fault, "description": "Of no format that is read."},
    422: {"model": Fault, "description": "Empty, damaged or cut short."},
    503: {"model": Fault, "description": "Too many clips at once: try again a second later."},
}
_CLIP_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary"}},
            }
        },
        "audio/*": {"schema": {"type": "string", "format": "binary"}},
    },
}


def create_app(
    recognizer: Recognizer,
    *,
    limits: Limits | None = None,
    access: Access | None = None,
    threads: int | None = None,
    streaming: StreamFile | None = None,
) -> FastAPI:
    """Return an application that serves a recognizer.

    threads : that predict_clip, else as many as cores. streaming : the model's streaming form, which hears streams in its place.
    Raises HarkenError when the streaming form is of a model with other classes.
    """
    if streaming is not None and streaming.labels != recognizer.labels:
        raise HarkenError(f"{streaming.path} has other classes than the model: export it from the same run")
    granted, metrics = limits or Limits(), Metrics()
    workers = Workers(threads or os.cpu_count() or 1)
    page = _page()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        workers.close()

    app = FastAPI(title="harken", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.post(
        "/v1/predict",
        responses=_CLIP_FAULTS,
        openapi_extra={"requestBody": _CLIP_BODY},
        summary="Say which word is spoken in a clip, or why none is.",
    )
    async def predict(request: Request) -> Prediction:
        if metrics.requests >= granted.requests:
            raise Refused(503, f"{granted.requests} clips are in work, and no more are taken: try again in a second")
        metrics.requests += 1
        try:
            return await workers.run(predict_clip, recognizer, await read_clip(request, granted, workers), granted)
        finally:
            metrics.requests -= 1

    @app.websocket("/v1/listen")
    async def listen(socket: WebSocket) -> None:
        await run_listener(socket, streaming or recognizer, granted, workers, metrics)

    @app.get("/v1/model", responses=_FAULTS, summary="The model's card.")
    async def model() -> ModelCard:
        return ModelCard(**card_json(recognizer.model, listens=None if streaming is None else streaming.card))

    @app.get("/healthz", summary="Whether the server is up.")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics", responses=_FAULTS, summary="Counts and durations, for Prometheus.", response_class=Response)
    async def measured() -> Response:
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return _file(page, "index.html")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return _file(page, "docs.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def page_file(name: str) -> Response:
        return _file(page, name)

    @app.exception_handler(Refused)
    async def refuse(_: Request, refused: Refused) -> Response:
        # What is left of the body is not read, so the connection cannot be used again.
        headers = {"Connection": "close", **({"Retry-After": "1"} if refused.status == 503 else {})}
        return JSONResponse({"error": refused.line}, refused.status, headers)

    @app.exception_handler(HTTPException)
    async def no_path(request: Request, error: HTTPException) -> Response:
        line = f"{request.method} {request.url.path}: {str(error.detail).lower()}; the paths are described in /docs"
        return JSONResponse({"error": line}, error.status_code, error.headers)

    paths = frozenset({"/", "/docs", "/openapi.json", "/v1/predict", "/v1/model", "/healthz", "/metrics"})
    app.add_middleware(Caught)  # within the others, so that its answers are guarded and counted as any
    app.add_middleware(Guard, access=access or Access())
    app.add_middleware(Measured, metrics=metrics, paths=paths)
    return app


def _page() -> Mapping[str, tuple[bytes, str]]:
    """Return the files of the page, read once, and their types: no path of a request ever reaches the disk."""
    folder = files("harken").joinpath("serve", "page")
    found = {}
    for file in folder.iterdir():
        kind = _TYPES.get(file.name[file.name.rfind(".") :])
        if kind:
            found[file.name] = (file.read_bytes(), kind)
    return found


def _file(page: Mapping[str, tuple[bytes, str]], name: str) -> Response:
    if name not in page:
        raise HTTPException(404)
    content, kind = page[name]
    return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})
