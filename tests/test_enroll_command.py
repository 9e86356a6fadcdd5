"""The command `harken enroll`, with recordings and with a simulated microphone."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from harken.audio import sources
from harken.audio.sources import Source
from harken.cli.main import main
from harken.enrollment.takes import read_take
from harken.runtime.modelfile import ModelFile
from test_enrollment import RATE, TUNE, tune

PAUSE_S, TAKE_S = 0.4, 3.0  # of the recording


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"take{seed}.wav" for seed in range(4)]
    for seed, path in enumerate(paths):
        soundfile.write(path, tune(TUNE, seed), RATE)
    return paths


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harken", "enroll", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
        return int(done.value.code or 0), *capsys.readouterr()

    return call


def speak(monkeypatch: pytest.MonkeyPatch, *takes: NDArray[np.float32]) -> None:
    """Let the microphone hear these takes, one for each prompt."""

    def chunks() -> Iterator[Any]:
        for take in takes:
            yield np.zeros((round(PAUSE_S * RATE), 1), np.float32)
            yield from np.split(np.pad(take, (0, round(TAKE_S * RATE) - take.size))[:, None], 20)

    @contextmanager
    def open_microphone(_: str | None = None, *, channel: int | None = None) -> Iterator[Source]:
        yield Source("microphone", RATE, chunks())

    monkeypatch.setattr(sources, "open_microphone", open_microphone)


def test_the_command_writes_a_model_and_prints_the_accuracy_to_expect(clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "tune.onnx"
    run = subprocess.run(
        [sys.executable, "-m", "harken", "enroll", "hey tune", *map(str, clips), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert re.search("false alarms? in 2.3 hours of other people's speech", run.stdout)
    assert "100 % of the takes would be recognized" in run.stdout
    assert run.stdout.strip().endswith(str(out))
    refused = subprocess.run(
        [sys.executable, "-m", "harken", "enroll", "hey tune", "missing.wav", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith("harken: missing.wav does not exist")


def test_one_recording_beside_synthetic_voices_is_what_was_tested(
    run: Command, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    voices = [read_take(path) for path in clips[1:]]
    monkeypatch.setattr("harken.enrollment.learn.speak_phrase", lambda _: (voices, "espeak (3 takes)"))
    monkeypatch.setattr(import_module("harken.synth.voices"), "voices", list)
    code, out, err = run("hey [b]tune", str(clips[0]), "--typed", "--out", "hey.onnx")
    assert code == 0, err
    assert "100 % of the takes would be recognized" in out


def test_a_phrase_in_the_prompt_is_text(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, *(tune(TUNE, seed) for seed in range(2)))
    code, _, err = run("hey [b]tune", "--record", "2", "--out", "hey.onnx")
    assert code == 0, err
    assert "say “hey [b]tune”, 2 of 2" in err


def test_a_background_is_checked_before_the_user_speaks(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch)
    Path("room").mkdir()
    code, _, err = run("hey tune", "--record", "3", "--background", "room", "--out", "hey.onnx")
    assert (code, err) == (2, "harken: room contains no recordings: give a folder with WAV, FLAC, OGG or MP3 files\n")


def test_a_long_phrase_is_recorded_and_enrolled(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    long = [tune(TUNE + "uae", seed, pause_s=0.3) for seed in range(4)]
    assert all(take.size > 1.9 * RATE for take in long)
    speak(monkeypatch, np.zeros(RATE, np.float32), *long)
    code, out, err = run("hey tune", "--record", "4", "--out", "hey.onnx")
    assert code == 0, err
    assert "100 % of the takes" in out
    assert err.splitlines()[:3] == [
        "say “hey tune”, 1 of 4",
        "say “hey tune”, 1 of 4 (“hey tune” was too quiet: move closer to the microphone)",
        "say “hey tune”, 2 of 4",
    ]
    assert not Path("hey-takes").exists()


def test_recorded_takes_are_kept_if_they_cannot_be_used(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    takes = enumerate([TUNE, TUNE, "sss", TUNE])
    speak(monkeypatch, *(tune(sounds, seed, noise=0.001) for seed, sounds in takes))
    code, _, err = run("hey tune", "--record", "4", "--out", "hey.onnx")
    assert code == 2
    assert "take-3.wav sounds unlike the other takes" in err
    assert err.rstrip().endswith("the takes are in hey-takes")
    assert sorted(path.name for path in Path("hey-takes").iterdir()) == [
        f"take-{number}.wav" for number in (1, 2, 3, 4)
    ]
    assert not Path("hey.onnx").exists()
    speak(monkeypatch, tune(TUNE, 5), tune(TUNE, 6))
    code, _, err = run("hey tune", "--record", "3", "--out", "hey.onnx")
    assert (code, "microphone ended before all takes were recorded" in err) == (2, True)
    assert err.rstrip().endswith("the takes are in hey-takes-2")  # nothing is overwritten
    code, _, err = run("hey tune", "hey-takes/take-1.wav", "hey-takes/take-2.wav")
    assert code == 0, err


def test_recorded_takes_are_kept_if_a_note_names_one(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(monkeypatch, *(tune(sounds, seed) for seed, sounds in enumerate([TUNE, TUNE, "usa"])))
    code, _, err = run("hey tune", "--record", "3", "--out", "hey.onnx")
    assert code == 0, err
    notes = [line for line in err.splitlines() if line.startswith("harken: ")]
    assert notes[0].startswith("harken: hey-takes/take-")
    assert notes[-1] == "harken: the takes are in hey-takes"
    assert len(list(Path("hey-takes").iterdir())) == 3


def test_recorded_takes_are_kept_whatever_fails(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_disk(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device", "hey.onnx")

    monkeypatch.setattr("harken.enrollment.learn.enrolled_model", fill_the_disk)
    speak(monkeypatch, tune(TUNE, 0), tune(TUNE, 1))
    code, _, err = run("hey tune", "--record", "2", "--out", "hey.onnx")
    assert (code, err.splitlines()[-2]) == (2, "the takes are in hey-takes")
    monkeypatch.setattr("shutil.copytree", fill_the_disk)
    speak(monkeypatch, tune(TUNE, 0), tune(TUNE, 1))
    _, _, err = run("hey tune", "--record", "2", "--out", "hey.onnx")
    kept = Path(err.splitlines()[-2].removeprefix("the takes are in "))  # where they were recorded
    assert sorted(path.name for path in kept.iterdir()) == ["take-1.wav", "take-2.wav"]
    assert not Path("hey-takes-2").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--false-alarms", "100"], "100.0 false alarms per hour: give a number from 0.001 to below 60"),
        (["--into", "take0.wav"], "take0.wav is not a complete ONNX model"),
        (["--stream", "s.wav"], "s.wav is the name of a recording"),
        (["--out", "notes.txt"], "notes.txt is not the name of a model file: name it notes.onnx"),
        (["--background", "nowhere"], "nowhere is not a folder"),
        (["--encoder", "other"], "other"),
        (["missing.ogg"], "missing.ogg does not exist"),
        (["take0.wav", "take0.wav"], "take0.wav and take0.wav are the same recording: give different ones"),
        (["take0.wav"] * 38, "41 takes are more than enrolling can use: choose 40 or fewer"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_options_are_checked_before_the_user_speaks(
    options: list[str], problem: str, run: Command, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def open_microphone(_: str | None = None, *, channel: int | None = None) -> Iterator[Source]:
        pytest.fail("the microphone was opened")
        yield

    monkeypatch.setattr(sources, "open_microphone", open_microphone)
    code, _, err = run("hey tune", "--record", "3", "--out", "hey.onnx", *options)
    assert code == 2
    assert problem in err


def test_the_default_name_does_not_overwrite_another_phrase(run: Command, clips: list[Path]) -> None:
    names = [path.name for path in clips]
    assert run("hey tune", *names)[0] == 0
    assert run("hey  tune", *names[:2])[0] == 0  # the same phrase again
    before = ModelFile("hey-tune.onnx").card
    code, _, err = run("hey-tune", *names)
    assert code == 2
    assert "hey-tune.onnx exists and is no model of 'hey-tune' alone: add --out FILE, or --into hey-tune.onnx" in err
    assert ModelFile("hey-tune.onnx").card == before


@pytest.mark.skipif(os.name == "nt", reason="Windows reports other errors")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["hey tune", "--out", "x" * 300], "cannot write x"),
        (["hey tune", "--background", "x" * 300], "x cannot be opened: File name too long"),
        (["x" * 400], "the phrase has 400 characters"),
        (
            ["what's up?"],
            "contains characters that the name of a folder cannot (?): leave them out, or write them as words",
        ),
        (["on/off: 1"], "the name of a folder cannot (/ :): leave them out"),
        (["hey tune", "--record", "3", "--out", "a.onnx", "--stream", "loop"], "cannot write loop"),
    ],
    ids=["out", "background", "phrase", "question", "slash", "loop"],
)
def test_names_that_cannot_be_used_are_one_line(
    arguments: list[str], problem: str, run: Command, clips: list[Path]
) -> None:
    Path("loop").symlink_to("loop")
    code, _, err = run(*arguments, "take0.wav", "take1.wav")
    assert (code, err.count("\n")) == (2, 1)
    assert problem in err


def test_a_forgotten_phrase_or_quotation_mark_is_noticed(run: Command, clips: list[Path], tmp_path: Path) -> None:
    names = [clip.name for clip in clips]
    before = sorted(tmp_path.iterdir())
    for arguments, problem in (
        (names, "take0.wav is a recording, not a phrase: write the phrase before it"),
        (["hey", "tune", *names], 'tune does not exist: check the path, or write the phrase in quotes, "hey tune"'),
    ):
        code, out, err = run(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert problem in err
    assert sorted(tmp_path.iterdir()) == before
