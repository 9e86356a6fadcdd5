"""What the service does when the fault is its own."""

import asyncio
import logging

import httpx
import numpy as np
import pytest

from harken.runtime.recognizer import Recognizer
from harken.serve import app as application
from serving import RATE, wav


def test_a_fault_is_answered_guarded_counted_and_told_without_what_was_sent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(" ".join(["what", "was", "sent"]))  # the log shows lines of code

    monkeypatch.setattr(application, "judge", broken)
    served = application.create_app(Recognizer("tiny"))

    async def ask() -> tuple[httpx.Response, str]:
        transport = httpx.ASGITransport(served)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.post("/v1/predict", content=wav(np.zeros(RATE)))
            return answer, (await client.get("/metrics")).text

    with caplog.at_level(logging.ERROR):
        answer, metrics = asyncio.run(ask())
    assert (answer.status_code, list(answer.json())) == (500, ["error"])
    assert "Content-Security-Policy" in answer.headers
    assert 'harken_answers_total{path="/v1/predict",status="500"} 1' in metrics
    assert "RuntimeError in /v1/predict" in caplog.text
    assert "in broken" in caplog.text
    assert "what was sent" not in caplog.text
