"""How benchmarks/wake.py counts, and what its streams contain."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

_PATH = Path(__file__).parents[1] / "benchmarks" / "wake.py"


@pytest.fixture(scope="module")
def wake() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wake", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["wake"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_an_event_that_lasts_past_a_phrase_is_no_false_alarm(wake: ModuleType) -> None:
    stream = wake.Stream(Path("s.pcm"), np.array([[10.0, 13.5], [30.0, 33.5]]), 0.5)
    times = np.array([3.0, 3.5, 12.0, 12.5, 13.0, 13.6, 14.2, 20.0, 29.5])
    scores = np.array([1.0, 2.0, 5.0, 5.0, 5.0, 5.0, 5.0, 3.0, 1.0])
    found = wake.Detections(times, scores, 0.01, 5.0)
    assert wake.count_errors(found, stream, 0.0) == (1, 3)
    assert wake.count_errors(found, stream, 2.5) == (1, 1)
    assert wake.count_errors(found, stream, 4.0) == (1, 0)
    assert wake.count_errors(found, stream, 9.0) == (2, 0)
    assert wake.missed_at([found], stream, 2.0) == 0.5
    assert wake.missed_at([wake.Detections(times[:1], scores[:1], 0.01, 5.0)], stream, 1.0) is None


def test_a_stream_has_every_recording_and_only_as_much_speech_as_wanted(wake: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = {"phrase": [f"{n}.wav" for n in range(3)], "speech": ["3170-1-1.flac"], "noise": ["3-1-A.wav"]}
    paths = {}
    for kind, files in names.items():
        paths[kind] = [tmp_path / name for name in files]
        for path in paths[kind]:
            soundfile.write(path, 0.1 * rng.standard_normal(16_000), 16_000)
    made = {}
    for only in (False, True):
        maker = wake.StreamMaker(paths["phrase"], paths["speech"], paths["noise"], hours=0.01, speech_only=only, seed=1)
        made[only] = maker.write(tmp_path / f"{only}.pcm")
        assert made[only].spans.shape == (3, 2)
        assert (np.diff(made[only].spans.ravel()) > 0).all()
        before = made[only].path.stat().st_mtime_ns
        assert maker.write(made[only].path).spans.tolist() == made[only].spans.tolist()
        assert made[only].path.stat().st_mtime_ns == before
    # 36 s of speech and silence with three phrases, or 7 s of speech that count as 35.
    assert made[False].path.stat().st_size == (36 + 3) * 32_000
    assert made[True].path.stat().st_size == (8 + 3) * 32_000
    assert made[True].hours == pytest.approx(8 / 3600 / 0.2)


def test_a_result_of_another_enrollment_is_not_used_again(
    wake: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = wake.Stream(tmp_path / "phrase-1.pcm", np.array([[10.0, 13.5]]), 0.5)
    asked: list[Path] = []
    monkeypatch.setattr(wake, "detect", lambda *given: asked.append(given[3]))
    for content in (b"as before", b"as before", b"with another calibration"):
        monkeypatch.setattr(wake, "enroll", lambda *_, content=content, stream, **__: Path(stream).write_bytes(content))
        wake.detect_enrolled("phrase", [Path("1.ogg")], stream)
    assert asked[0] == asked[1] != asked[2]
    assert {path.parent for path in asked} == {tmp_path}


def test_figures_have_their_intervals(wake: ModuleType) -> None:
    stream = wake.Stream(Path("s.pcm"), np.zeros((200, 2)), 10.0)
    assert wake.hourly(0, stream.hours) == "0.00 (0.00 to 0.37)"
    assert wake.hourly(1, stream.hours) == "0.10 (0.00 to 0.56)"
    assert wake.missed_share(20, stream) == "10.0 % (6.6 to 14.9)"
