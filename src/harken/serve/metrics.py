"""Metrics in the Prometheus text format (version 0.0.4).

Metrics             the counters, and their text
MetricsMiddleware   ASGI middleware that counts the responses of an application
"""

import time
from bisect import bisect_left
from collections import Counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harken.serve.load import StreamLoad

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The counters of one server. Only the event loop may use them.

    Attributes
    ----------
    answers : Counter
        Number of HTTP responses by path and status.
    words : Counter
        Number of words detected in streams.
    closed : Counter
        Number of closed streams by close code.
    requests : int
        Number of clips that are being read, queued or classified.
    streams : int
        Number of open streams.
    audio_s : float
        Audio processed in streams, in seconds.
    """

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.words: Counter[str] = Counter()
        self.closed: Counter[int] = Counter()
        self.requests = 0
        self.streams = 0
        self.audio_s = 0.0
        self._durations = [0] * (len(_BUCKETS_S) + 1)
        self._total_s = 0.0

    def observe_duration(self, seconds: float) -> None:
        """Count a clip, with the time from its request's headers to its response."""
        self._durations[bisect_left(_BUCKETS_S, seconds)] += 1
        self._total_s += seconds

    def text(self, load: StreamLoad) -> str:
        """Return all metrics in the Prometheus text format."""
        now = time.monotonic()
        cumulative = [sum(self._durations[: i + 1]) for i in range(len(_BUCKETS_S))]
        count = sum(self._durations)
        name = "harken_predict_seconds"
        lines = [
            *_head("harken_answers_total", "counter", "HTTP responses by path and status."),
            *(
                f'harken_answers_total{{path="{path}",status="{status}"}} {number}'
                for (path, status), number in sorted(self.answers.items())
            ),
            *_head(name, "histogram", "Time from the headers of a clip's request to its response."),
            *(f'{name}_bucket{{le="{bound}"}} {n}' for bound, n in zip(_BUCKETS_S, cumulative, strict=True)),
            f'{name}_bucket{{le="+Inf"}} {count}',
            f"{name}_sum {self._total_s:.6f}",
            f"{name}_count {count}",
            *_head("harken_requests", "gauge", "Clips that are being read, queued or classified."),
            f"harken_requests {self.requests}",
            *_head("harken_streams", "gauge", "Open streams."),
            f"harken_streams {self.streams}",
            *_head("harken_stream_lag_seconds", "gauge", "How far the live streams are behind."),
            *(
                f'harken_stream_lag_seconds{{quantile="{quantile}"}} {load.lag(now, quantile=quantile):.3f}'
                for quantile in (0.5, 0.99)
            ),
            *_head("harken_stream_load", "gauge", "Share of the threads' time that the open streams need."),
            f"harken_stream_load {load.load:.3f}",
            *_head("harken_streams_closed_total", "counter", "Closed streams by close code."),
            *(f'harken_streams_closed_total{{code="{code}"}} {n}' for code, n in sorted(self.closed.items())),
            *_head("harken_stream_audio_seconds_total", "counter", "Audio processed in streams."),
            f"harken_stream_audio_seconds_total {self.audio_s:.3f}",
            *_head("harken_words_total", "counter", "Words detected in streams."),
            *(f'harken_words_total{{word="{_escape(word)}"}} {n}' for word, n in sorted(self.words.items())),
        ]
        return "\n".join(lines) + "\n"


class MetricsMiddleware:
    """Count the HTTP responses of an application.

    Parameters
    ----------
    app
        Application to run.
    metrics
        Counters to update.
    paths
        Paths that are counted separately. All other paths are counted together, as `other`.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application and count its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"
        started = time.perf_counter()

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.answers[path, message["status"]] += 1
                if path == "/v1/predict" and message["status"] == 200:
                    self._metrics.observe_duration(time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, count)


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _escape(value: Any) -> str:
    return str(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
