"""Errors in the server itself."""

import asyncio
import logging

import httpx
import numpy as np
import pytest

from harken.runtime.recognizer import Recognizer
from harken.serve import app as application
from serving import RATE, wav


def test_an_exception_is_answered_counted_and_logged_without_its_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(" ".join(["what", "was", "sent"]))  # joined, because the log also shows this line of code

    monkeypatch.setattr(application, "predict_clip", fail)
    app = application.create_app(Recognizer("tiny"))

    async def send_requests() -> tuple[httpx.Response, str]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            response = await client.post("/v1/predict", content=wav(np.zeros(RATE)))
            return response, (await client.get("/metrics")).text

    with caplog.at_level(logging.ERROR):
        response, metrics = asyncio.run(send_requests())
    assert (response.status_code, list(response.json())) == (500, ["error"])
    assert "Content-Security-Policy" in response.headers
    assert 'harken_answers_total{path="/v1/predict",status="500"} 1' in metrics
    assert "RuntimeError in /v1/predict" in caplog.text
    assert "in fail" in caplog.text
    assert "what was sent" not in caplog.text
