"""`harken serve --wake`: words count only after a wake phrase, over WebSocket."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.sync.client import connect

from conftest import MakeModel, Run
from harken.errors import HarkenError
from harken.runtime.listener import Listener
from harken.runtime.recognizer import Recognizer
from harken.runtime.wake_listener import WakeListener
from harken.serve.app import create_app
from serving import Server, serving

LISTENER = {"smoothing_ms": 100.0, "isolation": 0.0, "refractory_ms": 2000.0}


@pytest.fixture
def models(make_model: MakeModel, tmp_path: Path) -> tuple[Path, Path]:
    """Return a command model and a wake model that both detect bursts."""
    labels = ["hey robot", "hi", "_unknown_", "_silence_"]
    commands = make_model(tmp_path / "commands.onnx", listener=LISTENER)
    return commands, make_model(tmp_path / "wake.onnx", labels=labels, thresholds=None, listener=LISTENER)


@pytest.fixture
def server(models: tuple[Path, Path]) -> Iterator[Server]:
    with serving("--wake", str(models[1]), "--for", "3", model=models[0]) as running:
        yield running


def bursts(*at_s: float, seconds: float = 9.0) -> Any:
    samples = np.zeros(round(seconds * 8000))
    for start_s in at_s:
        samples[round(start_s * 8000) : round((start_s + 0.25) * 8000)] = 0.9
    return np.round(samples * 32767).astype("<i2")


def test_a_stream_gives_the_events_of_a_wake_listener(server: Server, models: tuple[Path, Path]) -> None:
    pcm = bursts(1, 3.5, 7.5)
    commands, wake = (Listener(Recognizer(model), source_rate=8000) for model in models)
    listener = WakeListener(wake, commands, command_s=3)
    expected = [{"type": "event", **event.to_json()} for event in listener.push(pcm) + listener.finish()]
    assert {event["kind"] for event in expected} == {"wake", "command"}
    with connect(f"{server.socket}?rate=8000&posteriors=true") as stream:
        ready = json.loads(stream.recv())
        assert ready["wake"] == {"words": ["hey robot", "hi"], "command_s": 3.0}
        assert ready["labels"] == ["yes", "no", "_unknown_", "_silence_"]
        for start in range(0, pcm.size, 1000):
            stream.send(pcm[start : start + 1000].tobytes())
        stream.send(json.dumps({"type": "finish"}))
        messages = [json.loads(text) for text in stream]
    assert [message for message in messages if message["type"] == "event"] == expected
    until = [message["until_s"] for message in messages if message["type"] == "posteriors"]
    assert until[0] is None
    assert {time for time in until if time is not None} == {event["until_s"] for event in expected}
    assert messages[-1] == {"type": "end", "seconds": 9.0}


def test_thresholds_are_those_of_the_commands(server: Server) -> None:
    with connect(f"{server.socket}?rate=8000&isolation=2") as stream:
        assert json.loads(stream.recv())["settings"]["isolation"] == 2
        stream.send(json.dumps({"type": "thresholds", "thresholds": {"yes": 1.0, "no": 1.0}}))
        assert json.loads(stream.recv())["settings"]["thresholds"] == {"yes": 1.0, "no": 1.0}
        stream.send(json.dumps({"type": "thresholds", "thresholds": {"hi": 1.0}}))
        assert "does not know hi; its words are no, yes" in json.loads(stream.recv())["error"]
        stream.send(bursts(1, 4).tobytes())
        stream.send(json.dumps({"type": "finish"}))
        kinds = {message.get("kind") for message in map(json.loads, stream)}
    assert kinds == {"wake", None}


def test_the_model_card_has_the_wake_phrase(server: Server) -> None:
    assert httpx.get(f"{server.url}/v1/model").json()["wake"] == {"words": ["hey robot", "hi"], "command_s": 3.0}


def test_without_a_wake_phrase_the_messages_have_no_such_field(models: tuple[Path, Path]) -> None:
    with serving(model=models[0]) as server, connect(f"{server.socket}?rate=8000&posteriors=true") as stream:
        assert "wake" not in json.loads(stream.recv())
        stream.send(bursts(1, seconds=3).tobytes())
        stream.send(json.dumps({"type": "finish"}))
        messages = [json.loads(text) for text in stream]
        assert httpx.get(f"{server.url}/v1/model").json()["wake"] is None
    assert {message["type"] for message in messages} == {"event", "posteriors", "end"}
    assert not any({"until_s", "kind"} & set(message) for message in messages)


def test_both_models_count_as_the_cost_of_a_stream(models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    costs = iter([0.25, 0.5])
    monkeypatch.setattr("harken.serve.app.estimate_cost", lambda _: next(costs))
    seen = []
    monkeypatch.setattr("harken.serve.app.StreamLoad", lambda threads, cost, lag: seen.append(cost))
    commands, wake = map(Recognizer, models)
    create_app(commands, wake=wake)
    assert seen == [0.75]


def test_what_cannot_work_is_refused_at_the_start(run: Run, models: tuple[Path, Path]) -> None:
    recognizer = Recognizer(models[0])
    with pytest.raises(HarkenError, match="the same words"):
        create_app(recognizer, wake=recognizer)
    with pytest.raises(HarkenError, match="command_s=0"):
        create_app(recognizer, wake=Recognizer(models[1]), command_s=0)
    for options, message in (
        (["--wake", models[1], "--for", "-2"], "--for -2: give a number of seconds above 0"),
        (["--for", "2"], "--for 2 has an effect only with --wake"),
        (["--wake", models[0]], "the same words (yes, no)"),
    ):
        code, out, err = run("serve", "--port", "0", "--model", models[0], *options)
        assert (code, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1
