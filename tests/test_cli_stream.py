"""The commands `evaluate-stream` and `listen`, on streams with known answers."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import MakeModel, Run
from harken.runtime.modelfile import ModelFile

RATE = 8_000


def bursts(path: Path, seconds: float, at_s: tuple[float, ...] = (), level: float = 0.0) -> Path:
    """Write a quiet recording with loud bursts of a quarter of a second."""
    samples = level * np.random.default_rng(1).standard_normal(round(seconds * RATE)).astype(np.float32)
    for start in at_s:
        samples[round(start * RATE) : round((start + 0.25) * RATE)] = 0.9
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE)
    return path


@pytest.fixture
def stream(tmp_path: Path, make_model: MakeModel) -> list[object]:
    """Return the arguments for a stream with four words, and a minute of background in which one burst is a false alarm."""
    for number in range(4):
        bursts(tmp_path / "words" / ("yes", "no")[number % 2] / f"{number}.wav", 0.5, (0.1 + 0.01 * number,))
    bursts(tmp_path / "talk" / "2100-1-0001.wav", 30, (10.0,), 0.002)
    bursts(tmp_path / "talk" / "3170-1-0001.wav", 30, (), 0.002)
    listener = {"thresholds": {"yes": 0.6, "no": 0.6}, "smoothing_ms": 100.0}
    model = make_model(sample_rate=RATE, window=RATE, listener=listener, thresholds=None)
    return [model, "--keywords", tmp_path / "words", "--split", "all", "--background", tmp_path / "talk"]


def test_the_figures_the_page_and_the_json_agree(run: Run, stream: list[object], tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.html"
    code, out, err = run("evaluate-stream", *stream, "--json", figures, "--report", page)
    assert (code, err) == (0, "")
    found = json.loads(figures.read_text())
    assert found["words"] == 4
    assert found["hours"] == pytest.approx(1 / 60, rel=0.01)
    # A burst passes through every quarter of the window: first the last one (silence), then unknown, no, yes.
    assert found["false_alarms"] >= 1
    assert found["false_alarms_per_hour"] == pytest.approx(found["false_alarms"] / found["hours"])
    low, high = found["false_alarms_per_hour_interval"]
    assert low < found["false_alarms_per_hour"] < high
    assert {"miss_rate", "latency_s", "real_time_factor"} <= set(found)
    assert f"false alarms per hour {found['false_alarms_per_hour']:.2f}, at most " in out
    assert out.splitlines()[-1] == str(page)
    text = page.read_text(encoding="utf-8")
    assert text.count("<audio") == found["false_alarms"]
    assert "2100-1-0001.wav" in text


def test_a_background_can_be_limited_to_one_group_of_speakers(run: Run, stream: list[object], tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    stream[-1] = f"{stream[-1]}:measure"
    code, _, _ = run("evaluate-stream", *stream, "--json", figures, "--report", tmp_path / "page.html")
    assert code == 0
    found = json.loads(figures.read_text())
    assert found["hours"] == pytest.approx(0.5 / 60, rel=0.01)
    assert found["false_alarms"] == 0


def test_tuning_writes_a_copy_with_the_evaluated_thresholds(run: Run, stream: list[object], tmp_path: Path) -> None:
    figures, tuned = tmp_path / "figures.json", tmp_path / "tuned.onnx"
    options = ["--tune", 600, "--out", tuned, "--json", figures, "--report", tmp_path / "page.html"]
    before = Path(str(stream[0])).read_bytes()
    code, out, _ = run("evaluate-stream", *stream, *options)
    assert code == 0
    stored = ModelFile(tuned).card.fields["listener"]
    assert stored == json.loads(figures.read_text())["settings"]
    assert stored["thresholds"] != {"yes": 0.6, "no": 0.6}
    assert stored["smoothing_ms"] == 100.0
    assert Path(str(stream[0])).read_bytes() == before
    assert str(tuned) in out
    assert "tuned for 600 false alarms per hour" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_listener_is_evaluated_and_tuned_with_the_given_settings(
    run: Run, stream: list[object], tmp_path: Path
) -> None:
    figures, tuned = tmp_path / "figures.json", tmp_path / "tuned.onnx"
    given = ["--hop-ms", 50, "--smoothing-ms", 150, "--refractory-ms", 700, "--gate-db", -50, "--isolation", 1.5]
    options = ["--json", figures, "--report", tmp_path / "page.html", "--out", tuned, "--tune", 600]
    assert run("evaluate-stream", *stream, *given, *options)[0] == 0
    settings = json.loads(figures.read_text())["settings"]
    assert ModelFile(tuned).card.fields["listener"] == settings
    values = {"hop_ms": 50, "smoothing_ms": 150, "refractory_ms": 700, "gate_db": -50, "isolation": 1.5}
    assert {name: settings[name] for name in values} == values


def test_tuning_on_too_little_background_prints_a_note(run: Run, stream: list[object], tmp_path: Path) -> None:
    options = ["--out", tmp_path / "tuned.onnx", "--report", tmp_path / "page.html"]
    assert "too few to tune" not in run("evaluate-stream", *stream, "--tune", 600, *options)[2]
    assert (
        "0.02 hours of background are too few to tune for 100 false"
        in run("evaluate-stream", *stream, "--tune", 100, *options)[2]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tune", "1"], "--tune RATE and --out FILE go together"),
        (["--out", "x.onnx"], "--tune RATE and --out FILE go together"),
        (["--split", "half"], "give validation, test or all"),
        (["--snr", "nan"], "signal-to-noise ratios"),
        (["--tune", "-1", "--out", "x.onnx"], "--tune -1: give the allowed false alarms per hour"),
        (["--tune", "nan", "--out", "x.onnx"], "--tune nan"),
        (["--tune", "inf", "--out", "x.onnx"], "--tune inf"),
        (["--hop-ms", "0"], "hop_ms=0.0 must be above 0"),
        (["--isolation", "-1"], "isolation=-1.0 must be 0 or more"),
        (["--json", "."], ". is a folder: name a file to write"),
        (["--report", f"{__file__}/page.html"], "cannot write"),
        (["--tune", "1", "--out", f"{__file__}/x.onnx"], "cannot write"),
    ],
)
def test_impossible_options_give_one_line_before_the_listener_runs(
    run: Run, stream: list[object], options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "harken.evaluation.stream.listener_run.run_listener", lambda *_, **__: pytest.fail("the listener ran")
    )
    code, out, err = run("evaluate-stream", *stream, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("samples", [[0.1, float("nan")], [], [1e10]])
def test_a_bad_background_is_reported_before_the_listener_runs(
    run: Run, stream: list[object], tmp_path: Path, samples: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "harken.evaluation.stream.listener_run.run_listener", lambda *_, **__: pytest.fail("the listener ran")
    )
    soundfile.write(tmp_path / "talk" / "bad.wav", np.array(samples, np.float32), RATE, subtype="FLOAT")
    code, out, err = run("evaluate-stream", *stream, "--report", tmp_path / "page.html")
    assert (code, out) == (2, "")
    assert err.startswith(f"harken: {tmp_path / 'talk' / 'bad.wav'} contains ")
    assert err.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


def test_options_of_listen_replace_the_settings_of_the_model(run: Run, stream: list[object], tmp_path: Path) -> None:
    recording = tmp_path / "talk" / "2100-1-0001.wav"
    code, out, err = run("listen", recording, "--model", stream[0])
    assert (code, err) == (0, "")
    assert [json.loads(line)["word"] for line in out.splitlines()] == ["no"]
    options = ["--threshold", "no=1", "--smoothing-ms", "0", "--refractory-ms", "50", "--hop-ms", "50"]
    code, out, err = run("listen", recording, "--model", stream[0], *options, "--gate-db", "-inf")
    assert (code, err) == (0, "")
    assert [json.loads(line)["word"] for line in out.splitlines()] == ["yes"]
    assert run("listen", recording, "--model", stream[0], "--gate-db", "-0.5")[:2] == (0, "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "yes"], "WORD=VALUE"),
        (["--threshold", "dog=0.5"], "thresholds: the model does not know dog"),
        (["--threshold", "yes=2"], "it must be from 0 to 1"),
        (["--hop-ms", "0"], "hop_ms=0.0"),
        (["--smoothing-ms", "-1"], "smoothing_ms=-1.0"),
        (["--refractory-ms", "nan"], "refractory_ms=nan"),
        (["--gate-db", "3"], "gate_db=3.0"),
    ],
)
def test_impossible_settings_give_one_line(
    run: Run, stream: list[object], tmp_path: Path, options: list[str], message: str
) -> None:
    code, out, err = run("listen", tmp_path / "talk" / "2100-1-0001.wav", "--model", stream[0], *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
