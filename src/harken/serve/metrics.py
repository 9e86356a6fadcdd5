"""Counts and durations in Prometheus's text format (version 0.0.4).

Metrics    what is counted, and its text
Measured   an ASGI application that counts the answers of another
"""

import time
from bisect import bisect_left
from collections import Counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What one server has counted; touched by the event loop alone."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.words: Counter[str] = Counter()
        self.closed: Counter[int] = Counter()
        self.requests = 0
        self.streams = 0
        self.audio_s = 0.0
        self._durations = [0] * (len(_BOUNDS_S) + 1)
        self._total_s = 0.0

    def time(self, seconds: float) -> None:
        """Count one clip that was judged in this time, from its head to its answer."""
        self._durations[bisect_left(_BOUNDS_S, seconds)] += 1
        self._total_s += seconds

    def text(self) -> str:
        """Return all of it as Prometheus reads it."""
        below = [sum(self._durations[: i + 1]) for i in range(len(_BOUNDS_S))]
        count = sum(self._durations)
        name = "harken_predict_seconds"
        lines = [
            *_head("harken_answers_total", "counter", "Answers over HTTP by path and status."),
            *(
                f'harken_answers_total{{path="{path}",status="{status}"}} {number}'
                for (path, status), number in sorted(self.answers.items())
            ),
            *_head(name, "histogram", "Time from the head of a clip's request to its answer."),
            *(f'{name}_bucket{{le="{bound}"}} {n}' for bound, n in zip(_BOUNDS_S, below, strict=True)),
            f'{name}_bucket{{le="+Inf"}} {count}',
            f"{name}_sum {self._total_s:.6f}",
            f"{name}_count {count}",
            *_head("harken_requests", "gauge", "Clips that are read, wait or are judged."),
            f"harken_requests {self.requests}",
            *_head("harken_streams", "gauge", "Streams that are open."),
            f"harken_streams {self.streams}",
            *_head("harken_streams_closed_total", "counter", "Streams that have ended, by close code."),
            *(f'harken_streams_closed_total{{code="{code}"}} {n}' for code, n in sorted(self.closed.items())),
            *_head("harken_stream_audio_seconds_total", "counter", "Audio heard in streams."),
            f"harken_stream_audio_seconds_total {self.audio_s:.3f}",
            *_head("harken_words_total", "counter", "Words heard in streams."),
            *(f'harken_words_total{{word="{_escaped(word)}"}} {n}' for word, n in sorted(self.words.items())),
        ]
        return "\n".join(lines) + "\n"


class Measured:
    """Counts the answers of `app` over HTTP; `paths` are told apart, all others are one."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as `app` does."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"
        started = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.answers[path, message["status"]] += 1
                if path == "/v1/predict" and message["status"] == 200:
                    self._metrics.time(time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, counted)


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _escaped(value: Any) -> str:
    return str(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
