"""The web application: paths, request formats, and responses.

create_app   create the ASGI application for a recognizer
"""

import hashlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from harken import __version__
from harken.errors import HarkenError
from harken.runtime.recognizer import Prediction, Recognizer
from harken.runtime.two_stage import StreamModel
from harken.runtime.wake_listener import DEFAULT_COMMAND_S
from harken.serve.card import card_json
from harken.serve.faults import ErrorMiddleware
from harken.serve.limits import Limits, RequestError
from harken.serve.load import StreamLoad, estimate_cost
from harken.serve.metrics import CONTENT_TYPE, Metrics, MetricsMiddleware
from harken.serve.page_files import mark_teaching, page_files
from harken.serve.predict import predict_clip, read_clip
from harken.serve.security import TEACHING_POLICY, Access, AccessMiddleware
from harken.serve.stream import WakePhrase, make_listener, run_listener
from harken.serve.workers import Workers

_MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}


class ErrorResponse(BaseModel):
    """One line: what is wrong with the request, and how to fix it."""

    error: str


class WakeCard(BaseModel):
    """The wake phrase after which words count in live audio."""

    words: tuple[str, ...] = Field(description="The wake phrases.")
    command_s: float = Field(description="Time after a wake phrase during which words count, in seconds.")


class ModelCard(BaseModel):
    """The metadata of the model."""

    name: str = Field(description="Name of the model.")
    labels: tuple[str, ...] = Field(description="Class names in the order of the probabilities.")
    words: tuple[str, ...] = Field(description="Labels that are words.")
    sample_rate: int = Field(description="Sample rate of the model in Hz.")
    window: int = Field(description="Number of samples that the model classifies at once.")
    thresholds: dict[str, float] = Field(description="For clips: minimum probability at which a word is accepted.")
    listener: dict[str, Any] = Field(
        description="For streams: hop, smoothing, thresholds, refractory time, gate, isolation."
    )
    sensitivity: float = Field(description="The sensitivity that the thresholds are for, 0 to 1.")
    wake: WakeCard | None = Field(description="For streams: the wake phrase after which words count, or null.")
    fields: dict[str, Any] = Field(description="All other metadata: recipe, corpus, license, measured accuracy ...")


_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorResponse, "description": "The token is missing or wrong."},
    403: {"model": ErrorResponse, "description": "The origin or host is not allowed."},
}
_CLIP_ERRORS: dict[int | str, dict[str, Any]] = {
    **_ERRORS,
    400: {"model": ErrorResponse, "description": "The connection closed before the clip was complete."},
    408: {"model": ErrorResponse, "description": "The body arrived too slowly."},
    413: {"model": ErrorResponse, "description": "Too many bytes, seconds or samples."},
    415: {"model": ErrorResponse, "description": "The format is not supported."},
    422: {"model": ErrorResponse, "description": "The clip is empty, damaged or cut short."},
    503: {"model": ErrorResponse, "description": "Too many clips at once: try again after a second."},
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
    streaming: StreamModel | None = None,
    teaching: Mapping[str, bytes] | None = None,
    wake: StreamModel | None = None,
    command_s: float = DEFAULT_COMMAND_S,
) -> FastAPI:
    """Create the web application for a recognizer.

    Parameters
    ----------
    recognizer
        The model.
    limits
        Limits on clips, streams and connections. Default: `Limits()`.
    access
        Token, and allowed origins and hosts. Default: `Access()`.
    threads
        Number of inference threads. Default: one per CPU core.
    streaming
        Model of the same classes for the streams. Default: `recognizer`.
    teaching
        Files with which the page can learn a phrase in the browser, by their paths `teach/NAME` and `ort/NAME`, from
        `harken.export.web.teaching_page_files`. Default: the page cannot learn phrases.
    wake
        Model of a wake phrase. In streams, words then count only after it. Default: they always count.
    command_s
        Time after the wake phrase during which words count, in seconds.

    Returns
    -------
    FastAPI
        The ASGI application.

    Raises
    ------
    HarkenError
        If the classes of the streaming model are not those of the recognizer, the wake model has the same words, or
        `command_s` is out of range.
    """
    if streaming is not None and streaming.labels != recognizer.labels:
        raise HarkenError(
            f"the classes of {streaming.path} are not those of {recognizer.path}: export both from the same run"
        )
    limits, metrics = limits or Limits(), Metrics()
    threads = threads or os.cpu_count() or 1
    workers = Workers(threads)
    phrase = None if wake is None else WakePhrase(wake, command_s)
    make_listener(streaming or recognizer, phrase, recognizer.sample_rate, {})  # Reports what cannot work now.
    cost = estimate_cost(streaming or recognizer) + (0.0 if wake is None else estimate_cost(wake))
    load = StreamLoad(threads, cost, limits.lag_s)
    page = {f"page/{name}": _PageFile(name, content) for name, content in page_files().items()}
    page |= {path: _PageFile(path, content) for path, content in (teaching or {}).items()}
    if teaching:
        page["page/index.html"] = _PageFile(
            "index.html", mark_teaching(page["page/index.html"].content), {"Content-Security-Policy": TEACHING_POLICY}
        )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        workers.close()

    app = FastAPI(title="harken", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.post(
        "/v1/predict",
        responses=_CLIP_ERRORS,
        openapi_extra={"requestBody": _CLIP_BODY},
        summary="Recognize the word in a clip.",
    )
    async def predict(request: Request) -> Prediction:
        if metrics.requests >= limits.requests:
            raise RequestError(503, f"the server is busy with {limits.requests} clips: try again in a second")
        metrics.requests += 1
        try:
            return await workers.run(predict_clip, recognizer, await read_clip(request, limits, workers), limits)
        finally:
            metrics.requests -= 1

    @app.websocket("/v1/listen")
    async def listen(socket: WebSocket) -> None:
        await run_listener(socket, streaming or recognizer, limits, workers, metrics, load, phrase)

    @app.get("/v1/model", responses=_ERRORS, summary="Return the model's metadata.")
    async def model() -> ModelCard:
        card = card_json(
            recognizer.model,
            card=recognizer.card,
            stream_card=None if streaming is None else streaming.card,
            sensitivity=recognizer.sensitivity,
            wake=None if phrase is None else phrase.to_json(),
        )
        return ModelCard(**card)

    # Load balancers send HEAD. The server leaves out the body of the response.
    @app.head("/healthz", include_in_schema=False)
    @app.get(
        "/healthz",
        responses={503: {"description": "The server is behind with its live streams."}},
        summary="Check that the server is running and keeps up.",
    )
    async def health(response: Response) -> dict[str, str]:
        if load.is_behind(now := time.monotonic()):
            response.status_code = 503
            return {"status": f"the live streams are {load.lag(now):.1f} s behind"}
        return {"status": "full" if load.is_full(now) else "ok"}

    @app.get("/metrics", responses=_ERRORS, summary="Return metrics for Prometheus.", response_class=Response)
    async def prometheus_metrics() -> Response:
        return Response(metrics.text(load), headers={"Content-Type": CONTENT_TYPE})

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def index(request: Request) -> Response:
        return _page_response(page, "page/index.html", request)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        return _page_response(page, "page/docs.html", request)

    @app.get("/page/{name}", include_in_schema=False)
    @app.get("/teach/{name}", include_in_schema=False)
    @app.get("/ort/{name}", include_in_schema=False)
    async def page_file(request: Request) -> Response:
        return _page_response(page, request.url.path.lstrip("/"), request)

    @app.exception_handler(RequestError)
    async def request_error(_: Request, error: RequestError) -> Response:
        # The rest of the body is not read, so the connection cannot be used again.
        headers = {"Connection": "close", **({"Retry-After": "1"} if error.status == 503 else {})}
        return JSONResponse({"error": error.message}, error.status, headers)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {str(error.detail).lower()}; see /docs for the paths"
        return JSONResponse({"error": message}, error.status_code, error.headers)

    paths = frozenset({"/", "/docs", "/openapi.json", "/v1/predict", "/v1/model", "/healthz", "/metrics"})
    # The middleware that is added last runs first. Error responses thus get security headers and are counted.
    app.add_middleware(ErrorMiddleware)
    app.add_middleware(AccessMiddleware, access=access or Access())
    app.add_middleware(MetricsMiddleware, metrics=metrics, paths=paths)
    return app


class _PageFile:
    """A file of the page, in memory, so that no path in a request is looked up on the disk."""

    def __init__(self, name: str, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.content = content
        self.media_type = _MEDIA_TYPES.get(name[name.rfind(".") :], "application/octet-stream")
        # The browser asks each time whether its copy is current, and downloads only what has changed.
        self.headers = {
            "Cache-Control": "no-cache",
            "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            **(headers or {}),
        }


def _page_response(page: Mapping[str, _PageFile], path: str, request: Request) -> Response:
    if path not in page:
        raise HTTPException(404)
    file = page[path]
    if request.headers.get("if-none-match") == file.headers["ETag"]:
        return Response(status_code=304, headers=file.headers)
    return Response(file.content, media_type=file.media_type, headers=file.headers)
