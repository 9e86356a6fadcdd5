"""`harken listen --wake`: options, output, and programs. The words are tones."""

import io
import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from conftest import MakeModel, Run
from harken.cli import live
from harken.cli.live import Action, listen
from harken.errors import HarkenError
from tones import RATE, WAKE_TONES, ToneRecognizer, quiet, tone


def wake_recognizer() -> ToneRecognizer:
    return ToneRecognizer(tones=WAKE_TONES)


@pytest.fixture
def recording(tmp_path: Path) -> str:
    """Return a file with `low` at 1 s, the phrase `bell` at 2.5 s, `high` at 4 s and `low` at 9 s."""
    parts = [
        quiet(1),
        tone("low"),
        quiet(1.2),
        tone("bell"),
        quiet(1.2),
        tone("high"),
        quiet(4.7),
        tone("low"),
        quiet(1),
    ]
    soundfile.write(tmp_path / "talk.wav", np.concatenate(parts), RATE)
    return str(tmp_path / "talk.wav")


def test_a_pipe_gets_the_phrase_and_the_commands_as_json_lines(
    recording: str, capsys: pytest.CaptureFixture[str]
) -> None:
    listen(ToneRecognizer(), recording, wake=wake_recognizer(), command_s=3)
    bell, high = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert list(bell) == ["word", "start_s", "end_s", "confidence", "kind", "until_s"]
    assert (bell["word"], bell["kind"]) == ("bell", "wake")
    assert (high["word"], high["kind"]) == ("high", "command")
    assert bell["until_s"] == high["until_s"] == bell["end_s"] + 3


def test_a_terminal_shows_whether_commands_count(
    recording: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(live, "Console", partial(Console, file=screen, force_terminal=True, width=100))
    states = []

    class Display(live._LiveDisplay):
        def show_word(self, event: live.Event) -> None:
            states.append([str(part) for part in self._draw_wake_state()])
            super().show_word(event)

    monkeypatch.setattr(live, "_LiveDisplay", Display)
    listen(ToneRecognizer(), recording, wake=wake_recognizer(), command_s=3)
    text = screen.getvalue()
    assert "waiting for “bell”" in text
    assert "wake phrase" in text
    assert states[1][0].startswith("listening for commands, ")
    assert states[1][0].endswith(" s left")
    assert capsys.readouterr().out == ""


def test_programs_start_for_the_phrase_and_for_commands_that_count(recording: str, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def note(word: str) -> Action:
        return Action((sys.executable, "-c", f"open({str(log)!r}, 'a').write({word + ' '!r})"))

    actions = {word: note(word) for word in ("low", "high", "bell")}
    listen(ToneRecognizer(), recording, wake=wake_recognizer(), command_s=3, actions=actions)
    deadline = time.monotonic() + 30
    while not (log.exists() and len(log.read_text().split()) == 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sorted(log.read_text().split()) == ["bell", "high"]


def test_the_program_of_a_shared_word_starts_for_the_command_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    signal = np.concatenate([quiet(1), tone("low"), quiet(1.5), tone("low"), quiet(1.5)])
    soundfile.write(tmp_path / "talk.wav", signal, RATE)
    started: list[object] = []
    monkeypatch.setattr(live.subprocess, "Popen", lambda command, **_: started.append(command) or Finished())
    shared = ToneRecognizer(tones={"low": 500.0})
    listen(ToneRecognizer(), str(tmp_path / "talk.wav"), wake=shared, actions={"low": Action(("go",))})
    kinds = [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()]
    assert sorted(kinds) == ["command", "wake", "wake"]
    assert started == [("go",)]


class Finished:
    def poll(self) -> int:
        return 0


def test_thresholds_go_to_the_model_that_has_the_word(recording: str, capsys: pytest.CaptureFixture[str]) -> None:
    for thresholds, expected in (({"bell": 1.0}, []), ({"high": 1.0}, ["bell"]), ({"high": 1, "bell": 0.5}, ["bell"])):
        listen(ToneRecognizer(), recording, wake=wake_recognizer(), settings={"thresholds": thresholds})
        assert [json.loads(line)["word"] for line in capsys.readouterr().out.splitlines()] == expected
    with pytest.raises(
        HarkenError, match="--threshold middle: neither model has this word; their words are low, high, b"
    ):
        listen(ToneRecognizer(), recording, wake=wake_recognizer(), settings={"thresholds": {"middle": 0.5}})


def test_clips_of_both_models_are_saved(recording: str, tmp_path: Path) -> None:
    settings = {"smoothing_ms": 200}
    listen(ToneRecognizer(), recording, wake=wake_recognizer(), settings=settings, save=tmp_path / "kept")
    assert sorted(path.name for path in (tmp_path / "kept" / "detections").iterdir()) == ["bell", "high"]


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e9"])
def test_a_bad_time_gives_one_line(run: Run, seconds: str) -> None:
    code, out, err = run("listen", "talk.wav", "--wake", "wake.onnx", f"--for={seconds}")
    assert (code, out) == (2, "")
    assert err == f"harken: --for {float(seconds):g}: give a number of seconds above 0 and at most 3600\n"


def test_the_time_has_an_effect_only_with_a_phrase(run: Run) -> None:
    code, out, err = run("listen", "talk.wav", "--for", "5")
    assert (code, out) == (2, "")
    assert err == "harken: --for 5 has an effect only with --wake: add the model of a wake phrase\n"


def test_the_same_model_twice_gives_one_line(run: Run, make_model: MakeModel, recording: str) -> None:
    model = make_model()
    code, out, err = run("listen", recording, "--model", model, "--wake", model)
    assert (code, out) == (2, "")
    assert "have the same words (yes, no): use a wake model with another phrase" in err
    assert err.count("\n") == 1


def test_the_command_runs_two_model_files(run: Run, make_model: MakeModel, tmp_path: Path) -> None:
    listener = {"smoothing_ms": 100.0, "isolation": 0.0, "refractory_ms": 2000.0}
    model = make_model(tmp_path / "commands.onnx", listener=listener)
    wake = make_model(tmp_path / "wake.onnx", labels=["hey robot", "hi", "_unknown_", "_silence_"], listener=listener)
    samples = np.zeros(6 * 8000, np.float32)
    for start_s in (1.0, 4.0):
        samples[round(start_s * 8000) : round((start_s + 0.25) * 8000)] = 0.9
    soundfile.write(tmp_path / "talk.wav", samples, 8000)
    code, out, err = run("listen", tmp_path / "talk.wav", "--model", model, "--wake", wake, "--for", "4")
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[0]["kind"] == "wake"
    assert {line["word"] for line in lines if line["kind"] == "wake"} <= {"hey robot", "hi"}
    assert {line["word"] for line in lines if line["kind"] == "command"} <= {"yes", "no"}
    assert {line["kind"] for line in lines} == {"wake", "command"}
