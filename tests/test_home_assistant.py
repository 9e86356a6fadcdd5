"""`harken wyoming` and a real Home Assistant: its config flow, its wake word entity, and audio through that entity.

Home Assistant fixes the versions of its requirements, so it needs an environment of its own. HARKEN_HOME_ASSISTANT names
its interpreter. docs/how-to/home-assistant.md tells how to make one.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("wyoming")

from conftest import MakeModel
from harken.audio.clip import load_clip
from harken.labels import COMMANDS

RATE = 16_000
LISTENER = {"hop_ms": 50.0, "smoothing_ms": 0.0, "refractory_ms": 0.0, "gate_db": -60.0, "isolation": 0.0}


@pytest.fixture
def interpreter() -> str:
    given = os.environ.get("HARKEN_HOME_ASSISTANT")
    if given:
        return given
    if importlib.util.find_spec("homeassistant") is None:
        pytest.skip("Home Assistant is not installed; HARKEN_HOME_ASSISTANT=PATH names an interpreter that has it")
    return sys.executable


@contextmanager
def serving(*options: object) -> Iterator[int]:
    """Run `harken wyoming`, and yield its port."""
    command = [sys.executable, "-m", "harken", "wyoming", "--uri", "tcp://127.0.0.1:0", *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def walk(interpreter: str, folder: Path, port: int, word: str, *audio: Any) -> Any:
    """Give audio to Home Assistant, floats within 1, and return what it says."""
    files = []
    for number, samples in enumerate(audio):
        files.append(folder / f"{number}.pcm")
        files[-1].write_bytes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    script = Path(__file__).with_name("home_assistant_walk.py")
    (folder / "config").mkdir()
    command = [interpreter, str(script), str(folder / "config"), str(port), word, *map(str, files)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_home_assistant_adds_the_server_and_wakes(interpreter: str, make_model: MakeModel, tmp_path: Path) -> None:
    labels = ["go away", "hey house", "_unknown_", "_silence_"]
    model = make_model(tmp_path / "house.onnx", labels=labels, listener=LISTENER, thresholds={"hey house": 0.5})
    burst = np.pad(0.9 * np.sin(2 * np.pi * 440 * np.arange(3200) / RATE), (4800, 19_200))
    with serving("--model", model) as port:
        found = walk(interpreter, tmp_path, port, "hey_house", burst, np.zeros(2 * RATE))
    assert found["added"] == "create_entry"
    assert found["title"] == "harken"
    assert found["entity"] == "wake_word.harken"
    assert found["wake_words"] == [["go_away", "go away", "go away"], ["hey_house", "hey house", "hey house"]]
    detected, silent = found["results"]
    assert detected["word"] == "hey_house"
    assert 600 <= detected["timestamp"] <= 1600  # half a second after the burst, which ends at 500 ms
    assert silent is None
    assert found["state"] not in (None, "unknown")  # when it detected a word


def test_home_assistant_wakes_to_a_recorded_word(interpreter: str, speech_commands: Path, tmp_path: Path) -> None:
    stop, go = (
        np.pad(load_clip(sorted((speech_commands / word).iterdir())[4], RATE), (RATE, RATE)) for word in ("stop", "go")
    )
    with serving("--model", "base") as port:
        found = walk(interpreter, tmp_path, port, "stop", stop, go)
    assert [entry[0] for entry in found["wake_words"]] == list(COMMANDS)
    assert found["results"][0]["word"] == "stop"
    assert found["results"][1] is None
