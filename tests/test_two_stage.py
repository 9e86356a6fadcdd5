"""Two models for one stream: when the second one is asked, and that its answers then count."""

import inspect
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from conftest import MakeModel, Run
from harken import HarkenError, Listener, ModelFile, Recognizer, StreamFile, TwoStage
from harken.cli.stream import listen
from harken.cli.wyoming import wyoming
from harken.models.onnx_writer import change_metadata
from harken.runtime.two_stage import DEFAULT_STREAM_MODEL, open_stream_model, two_stages
from harken.serve import load

RATE = 16_000


@pytest.fixture(scope="module")
def stream() -> np.ndarray:
    """Return ten seconds of noise whose loudness changes, so that the answers of a network vary."""
    draws = np.random.default_rng(2)
    loudness = np.interp(np.arange(10 * RATE), np.arange(0, 10 * RATE, RATE // 8), draws.uniform(0, 0.3, 80))
    return (loudness * draws.standard_normal(10 * RATE)).astype(np.float32)


def hops(listener: Listener, stream: np.ndarray) -> Iterator[np.ndarray]:
    """Push a stream hop by hop, and yield the network's probabilities at each hop."""
    for start in range(0, stream.size - listener.hop + 1, listener.hop):
        listener.push(stream[start : start + listener.hop])
        yield listener._history[(listener.hops - 1) % len(listener._history)].copy()


@pytest.mark.parametrize("wake_at", [0.0, 0.02, 1.0])
def test_the_second_model_decides_where_the_first_finds_words(stream: np.ndarray, wake_at: float) -> None:
    models = TwoStage("tiny.stream", "base", wake_at=wake_at)
    first, second, both = (
        np.stack(list(hops(Listener(model, source_rate=RATE, gate_db=-90), stream)))
        for model in (models.first, models.second, models)
    )
    words = first[:, :10].sum(axis=1)
    assert set(models.labels[10:]) == {"_unknown_", "_silence_"}
    assert 0 < (words >= 0.02).mean() < 1
    asked = words >= wake_at
    np.testing.assert_array_equal(both, np.where(asked[:, None], second, first))


def test_settings_and_thresholds_are_those_of_the_second_model() -> None:
    models = TwoStage("tiny.stream", "large", sensitivity=0.7)
    listener = Listener(models, source_rate=48_000)
    assert listener.settings == Listener(Recognizer("large", sensitivity=0.7), source_rate=48_000).settings
    assert listener.settings != Listener(Recognizer("large"), source_rate=48_000).settings
    assert models.path.name == "large.onnx"


def test_a_copy_begins_anew_and_in_silence_no_network_runs(stream: np.ndarray) -> None:
    listener = Listener(TwoStage("tiny.stream", "base"), source_rate=RATE)
    before = np.stack(list(hops(listener, stream)))
    list(hops(listener, np.zeros(3 * RATE, np.float32)))
    assert listener.skipped >= 20
    copied = pickle.loads(pickle.dumps(listener))
    listener.reset()
    for again in (listener, copied):
        np.testing.assert_array_equal(np.stack(list(hops(again, stream))), before)


def test_the_step_is_that_of_the_first_model_whatever_the_second_was_tuned_for(tmp_path: Path) -> None:
    tuned, settings = tmp_path / "tuned.onnx", {**ModelFile("base").card.fields["listener"], "hop_ms": 50.0}
    change_metadata(ModelFile("base").path, tuned, {"listener": settings})
    models = TwoStage("tiny.stream", tuned)
    assert Listener(models, source_rate=RATE).settings.hop_ms == 100
    with pytest.raises(HarkenError, match=r"hop_ms=50.* does not match the step of .*: set it to 100"):
        Listener(models, source_rate=RATE, hop_ms=50)


def test_names_joined_by_a_plus_are_two_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_stream_model("tiny.stream+base")
    assert isinstance(opened, TwoStage)
    assert (opened.first.path.stem, opened.path.stem) == ("tiny.stream", "base")
    assert isinstance(open_stream_model("tiny.stream"), StreamFile)
    assert [two_stages(name) for name in ("base", "+base", "base+", "x" * 5000)] == [None] * 4
    monkeypatch.chdir(tmp_path)
    Path("a+b.onnx").write_bytes(Recognizer("tiny").model.path.read_bytes())
    assert isinstance(open_stream_model("a+b.onnx"), Recognizer)


@pytest.mark.parametrize(
    ("first", "second", "wake_at", "message"),
    [
        ("tiny", "base", 0.02, "tiny is not a streaming model"),
        ("tiny.stream", "base.stream", 0.02, "is a streaming model"),
        ("tiny.stream", "missing", 0.02, "missing"),
        ("tiny.stream", "base", -0.1, "wake_at=-0.1: give a number from 0 to 1"),
        ("tiny.stream", "base", "0.1", "wake_at='0.1': give a number from 0 to 1"),
    ],
)
def test_models_that_do_not_make_a_pair_are_refused(first: str, second: str, wake_at: Any, message: str) -> None:
    with pytest.raises(HarkenError, match=message):
        TwoStage(first, second, wake_at=wake_at)


def test_both_commands_have_the_same_default() -> None:
    assert inspect.signature(listen).parameters["model"].default == DEFAULT_STREAM_MODEL
    assert (
        f"Default: `{DEFAULT_STREAM_MODEL}`"
        in inspect.signature(wyoming).parameters["model"].annotation.__metadata__[0].help
    )


def test_models_of_different_words_are_refused(make_model: MakeModel, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other.onnx")
    with pytest.raises(HarkenError, match=r"the classes or sample rate of tiny.stream are not those of .*other.onnx"):
        TwoStage("tiny.stream", other)


def test_a_server_reckons_with_both_models(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    class TimedListener:
        def __init__(self, recognizer: object, **_: object) -> None:
            self.cost = 1.0 if isinstance(recognizer, StreamFile) else 10.0

        def push(self, _: np.ndarray) -> None:
            nonlocal now
            now += self.cost

    monkeypatch.setattr(load, "Listener", TimedListener)
    monkeypatch.setattr(load.time, "perf_counter", lambda: now)
    assert load.estimate_cost(TwoStage("tiny.stream", "base")) == pytest.approx(2 * (1 + 0.2 * 10))


def test_the_commands_take_a_pair(run: Run, tmp_path: Path, stream: np.ndarray) -> None:
    soundfile.write(tmp_path / "talk.wav", stream, RATE)
    assert run("listen", str(tmp_path / "talk.wav"), "--model", "tiny.stream+base")[0] == 0
    code, _, err = run("listen", str(tmp_path / "talk.wav"), "--model", "base+large")
    assert (code, err.count("\n")) == (2, 1)
    assert "base is not a streaming model" in err
    for command, model, problem in (
        ("predict", "tiny.stream+base", "two models joined by + work only for streams"),
        ("predict", "my.stream.onnx+tuned.onnx", "two models joined by + work only for streams"),
        ("predict", "c++/model.onnx", "c++/model.onnx is neither a model file nor a bundled model"),
        ("listen", "c++/model.onnx", "c++/model.onnx: c is neither a model file nor a bundled model"),
    ):
        code, _, err = run(command, str(tmp_path / "talk.wav"), "--model", model)
        assert (code, err.count("\n")) == (2, 1)
        assert problem in err


def test_a_pair_is_evaluated_and_tuned_as_a_copy_of_the_second_model(
    run: Run, tmp_path: Path, stream: np.ndarray
) -> None:
    words, talk, tuned = tmp_path / "words", tmp_path / "talk", tmp_path / "tuned.onnx"
    talk.mkdir()
    soundfile.write(talk / "1-1.wav", stream, RATE)
    for number, word in enumerate(Recognizer("base").card.words):
        (words / word).mkdir(parents=True)
        start = number * RATE // 4
        soundfile.write(words / word / f"person{number}.wav", stream[start : start + RATE // 2], RATE)
    given = ["--keywords", words, "--split", "all", "--background", talk, "--report", tmp_path / "page.html"]
    code, out, err = run("evaluate-stream", "tiny.stream+base", *given, "--tune", 3600, "--out", tuned)
    assert code == 0, err
    assert "of 10 words" in out
    assert ModelFile(tuned).card.labels == ModelFile("base").card.labels
    assert ModelFile(tuned).card.fields["tuned_on"] != ModelFile("base").card.fields["tuned_on"]
    assert run("evaluate-stream", f"tiny.stream+{tuned}", *given)[0] == 0
    assert "tiny.stream+tuned" in (tmp_path / "page.html").read_text(encoding="utf-8")
