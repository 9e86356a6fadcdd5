"""Other people's engines on harken's streams: a made-up engine with known answers, and the real ones where installed."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from conftest import Run, _shared
from harken.audio.clip import load_clip, to_int16
from harken.errors import HarkenError
from harken.evaluation.peers import porcupine as porcupine_module
from harken.evaluation.peers.engine import SAMPLE_RATE, Peer, import_package, plain_phrase, same_phrase, unknown_phrase
from harken.evaluation.peers.registry import PEERS, find_peer
from harken.evaluation.peers.run import evaluate_peer, peer_clips, run_peer
from harken.evaluation.stream.audio import StreamAudio

STEP = 320  # samples
MODULES = {
    "porcupine": "pvporcupine",
    "openwakeword": "pyopen_wakeword",
    "microwakeword": "pymicro_wakeword",
    "pocketsphinx": "pocketsphinx",
}
PHRASES = {
    "porcupine": "view glass",
    "openwakeword": "okay nabu",
    "microwakeword": "okay nabu",
    "pocketsphinx": "view glass",
}


def loud_sound(*, scored: bool) -> Callable[[str], Peer]:
    """Return an engine that detects a step whose peak reaches a level, or whose score is that peak."""

    def make(value: float) -> Callable[[NDArray[np.int16]], float]:
        def detect(samples: NDArray[np.int16]) -> float:
            assert samples.shape == (STEP,)
            assert samples.dtype == np.int16
            peak = float(np.abs(samples.astype(np.float32)).max() / 32768)
            return peak if scored else float(peak >= value)

        return detect

    values = () if scored else (0.8, 0.5, 0.2)
    return lambda phrase: Peer("Loud", plain_phrase(phrase), STEP, "level", 0.5, values, make)


def write_burst(path: Path, seconds: float, at_s: float, peak: float) -> None:
    """Write a recording with a burst of a quarter of a second."""
    samples = 0.002 * np.random.default_rng(1).standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32)
    samples[round(at_s * SAMPLE_RATE) : round((at_s + 0.25) * SAMPLE_RATE)] = peak
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, SAMPLE_RATE)


@pytest.fixture
def material(tmp_path: Path) -> tuple[Path, Path]:
    """Four recordings of the phrase with peaks of 0.9, 0.6, 0.4 and 0.1, and a minute of background with one of 0.3."""
    for number, peak in enumerate((0.9, 0.6, 0.4, 0.1)):
        write_burst(tmp_path / "words" / "Hey_House" / f"{number}.wav", 0.5, 0.1, peak)
    write_burst(tmp_path / "words" / "other" / "0.wav", 0.5, 0.1, 0.9)
    write_burst(tmp_path / "talk" / "speech.wav", 60, 10.0, 0.3)
    return tmp_path / "words", tmp_path / "talk"


def in_stream(peer: Peer, material: tuple[Path, Path]) -> StreamAudio:
    # At 60 dB, the background behind the words adds nothing to their peaks.
    return StreamAudio(peer_clips(peer, [material[0]]), {"talk": sorted(material[1].iterdir())}, SAMPLE_RATE, (60.0,))


def test_an_engine_without_scores_is_measured_at_each_of_its_settings(material: tuple[Path, Path]) -> None:
    peer = loud_sound(scored=False)("hey house")
    evaluation = evaluate_peer(peer, run_peer(peer, in_stream(peer, material)))
    assert [(point.value, point.miss_rate) for point in evaluation.points] == [(0.8, 0.75), (0.5, 0.5), (0.2, 0.25)]
    assert [round(60 * point.false_alarms_per_hour) for point in evaluation.points] == [0, 0, 3600]
    assert evaluation.miss_rate == 0.5  # at the default
    assert evaluation.outcome.false_alarms == 0
    assert evaluation.points[1].at_most == pytest.approx(evaluation.false_alarms_per_hour_interval[1])
    curve = evaluation.trade_off
    assert curve.shifts.tolist() == [-1.0, 0.0, 1.0]
    assert curve.missed.tolist() == [0.25, 0.5, 0.75]
    assert (np.diff(curve.false_alarms_per_hour) <= 0).all()
    found = evaluation.to_json()
    assert (found["engine"], found["phrase"], found["level"]) == ("Loud", "hey house", 0.5)
    assert [point["level"] for point in found["operating_points"]] == [0.8, 0.5, 0.2]
    assert {group["word"] for group in found["by_word"]} == {"hey house"}


def test_an_engine_with_scores_has_a_curve(material: tuple[Path, Path]) -> None:
    peer = loud_sound(scored=True)("hey house")
    runs = run_peer(peer, in_stream(peer, material))
    assert list(runs) == [0.5]
    evaluation = evaluate_peer(peer, runs)
    assert evaluation.points == []
    assert (evaluation.miss_rate, evaluation.outcome.false_alarms) == (0.5, 0)
    curve = evaluation.trade_off
    lax = int(np.flatnonzero(curve.shifts == -1.25)[0])  # logits: a threshold of 0.22
    assert (curve.missed[lax], round(60 * curve.false_alarms_per_hour[lax])) == (0.25, 3600)
    assert "at its default, 0.5" in evaluation.trade_off_note


def test_a_burst_is_one_event_and_its_latency_is_measured(material: tuple[Path, Path]) -> None:
    peer = loud_sound(scored=False)("hey house")
    evaluation = evaluate_peer(peer, run_peer(peer, in_stream(peer, material)))
    assert evaluation.outcome.repeated == 0
    # It is detected in the first steps of a burst of 0.25 s.
    assert evaluation.latencies_s.tolist() == pytest.approx([-0.24, -0.24], abs=0.025)


def test_a_stream_at_another_rate_is_refused(material: tuple[Path, Path]) -> None:
    peer = loud_sound(scored=True)("hey house")
    audio = StreamAudio(peer_clips(peer, [material[0]]), {"talk": sorted(material[1].iterdir())}, 8_000)
    with pytest.raises(HarkenError, match="make it at 16000 Hz for Loud"):
        run_peer(peer, audio)


def test_the_command_prints_the_figures_and_writes_the_report(
    run: Run, material: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PEERS, "loud", loud_sound(scored=False))
    figures, page = tmp_path / "figures.json", tmp_path / "page.html"
    given = ["--keywords", material[0], "--background", material[1], "--snr", 60, "--json", figures, "--report", page]
    code, out, err = run("evaluate-stream", "--peer", "loud:Hey House", *given)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "Loud, 'hey house', level 0.5"
    assert "miss rate 50.0 % of 4 words" in out
    assert "harken does not know which recordings this engine was trained on" in out
    rows = [line.split() for line in out.splitlines() if line.strip().startswith("0.")]
    assert [(row[0], row[3]) for row in rows] == [("0.8", "75.0"), ("0.5", "50.0"), ("0.2", "25.0")]
    assert out.splitlines()[-1] == str(page)
    assert json.loads(figures.read_text())["miss_rate"] == 0.5
    text = page.read_text(encoding="utf-8")
    assert "Loud: hey house" in text
    assert "measured at level 0.8, 0.5, 0.2; the dot is the default, 0.5" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--peer", "nobody:hey"], "where ENGINE is one of porcupine, openwakeword, microwakeword, pocketsphinx"),
        (["--peer", "loud:"], "lacks the phrase"),
        (["--peer", "loud"], "lacks the phrase"),
        (["--peer", "loud:hey hose"], "contains no clips of 'hey hose', only of Hey_House, other"),
        (["base", "--peer", "loud:hey house"], "the model base and --peer are both given"),
        (["--peer", "loud:hey house", "--hop-ms", "20"], "--hop-ms cannot be used with --peer"),
        (["--peer", "loud:hey house", "--tune", "1", "--out", "x.onnx"], "--tune, --out cannot be used with --peer"),
        (["--peer", "loud:hey house", "--split", "test"], "--split cannot be used with --peer"),
        (["--peer", "loud:hey house", "--report", "."], ". is a folder"),
        ([], "no model given"),
    ],
)
def test_impossible_requests_give_one_line(
    run: Run, material: tuple[Path, Path], options: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PEERS, "loud", loud_sound(scored=False))
    monkeypatch.setattr("harken.cli.peers.run_peer", lambda *_: pytest.fail("the engine ran"))
    if options[-1:] and "nobody" in options[-1]:
        monkeypatch.delitem(PEERS, "loud")
    code, out, err = run("evaluate-stream", *options, "--keywords", material[0], "--background", material[1])
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("engine", "module"), MODULES.items())
def test_a_missing_package_is_named_with_its_install_command(
    engine: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(HarkenError, match=rf"--peer needs {module}, .* run pip install .*{module.replace('_', '-')}"):
        find_peer(f"{engine}:hello")


def test_a_package_that_cannot_be_loaded_gives_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise OSError("no library\nfor this processor")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(HarkenError, match=r"engine cannot be loaded \(no library for this processor\)"):
        import_package("engine", "pip install engine")


def test_a_porcupine_with_access_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pvporcupine", SimpleNamespace(KEYWORD_PATHS={}))
    monkeypatch.setattr(porcupine_module, "version", lambda _: "3.0.5")
    with pytest.raises(HarkenError, match=r"pvporcupine 3\.0\.5 needs an access key: run pip .*pvporcupine==1\.9\.5"):
        find_peer("porcupine:porcupine")


def test_the_phrases_that_an_engine_knows_are_listed_closest_first() -> None:
    error = unknown_phrase("Engine", "okay nabo", ["hey mycroft", "okay nabu", "alexa"])
    assert str(error).startswith("Engine does not know 'okay nabo': give one of okay nabu, ")


def test_spellings_of_one_phrase() -> None:
    assert same_phrase("Snow_Boy", "snowboy")
    assert same_phrase("view  glass", "view glass")
    assert not same_phrase("view glass", "view glasses")


@pytest.fixture(params=MODULES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of a real engine that is installed."""
    name: str = request.param
    pytest.importorskip(MODULES[name], reason=f"the engine is not installed: pip install {MODULES[name]}")
    return name


def test_a_real_engine_detects_nothing_in_silence(engine: str) -> None:
    peer = find_peer(f"{engine}:{PHRASES[engine].replace(' ', '_')}")
    assert peer.phrase == PHRASES[engine]
    detect = peer.make(peer.default)
    assert all(0 <= detect(np.zeros(peer.step, np.int16)) < 0.5 for _ in range(5 * SAMPLE_RATE // peer.step))


def test_a_real_engine_says_what_it_knows(engine: str) -> None:
    with pytest.raises(HarkenError, match="does not know") as raised:
        find_peer(f"{engine}:snowboyy" if engine == "porcupine" else f"{engine}:okaynabuu")
    assert str(raised.value).count("\n") == 0
    expected = {"porcupine": "give one of snowboy", "pocketsphinx": "the closest of its"}
    assert expected.get(engine, "give one of okay nabu") in str(raised.value)


def test_pocketsphinx_proposes_two_words_for_one_that_it_lacks() -> None:
    pytest.importorskip("pocketsphinx", reason="the engine is not installed: pip install pocketsphinx")
    with pytest.raises(HarkenError, match="for example 'hey snow boy'"):
        find_peer("pocketsphinx:hey snowboy")


@pytest.mark.parametrize(
    ("engine", "name", "content", "message"),
    [
        ("openwakeword", "mine.tflite", b"not a network at all", "mine.tflite is something else"),
        ("openwakeword", "gone.tflite", None, "gone.tflite cannot be read"),
        ("microwakeword", "mine.json", b"[]", "does not describe a microWakeWord model"),
        (
            "microwakeword",
            "mine.json",
            b'{"wake_word": "a", "micro": {"probability_cutoff": 2}, "model": "a"}',
            "cutoff 2",
        ),
        ("porcupine", "mine.ppn", b"not a keyword", "mine.ppn: give a keyword file of version 1.9"),
    ],
)
def test_bad_model_files_give_one_line(
    tmp_path: Path, engine: str, name: str, content: bytes | None, message: str
) -> None:
    pytest.importorskip(MODULES[engine], reason=f"the engine is not installed: pip install {MODULES[engine]}")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(HarkenError, match=message):
        find_peer(f"{engine}:{tmp_path / name}").make(0.5)


def test_a_model_file_is_the_same_as_the_model_by_name() -> None:
    package = pytest.importorskip(
        "pymicro_wakeword", reason="the engine is not installed: pip install pymicro-wakeword"
    )
    by_file = find_peer(f"microwakeword:{Path(package.__file__).parent / 'models' / 'okay_nabu.json'}")
    by_name = find_peer("microwakeword:okay_nabu")
    assert (by_file.phrase, by_file.default) == (by_name.phrase, by_name.default)
    sound = (3000 * np.random.default_rng(2).standard_normal((60, by_name.step))).astype(np.int16)
    first, second = by_file.make(0.5), by_name.make(0.5)
    assert [first(step) for step in sound] == [second(step) for step in sound]


def test_porcupine_detects_its_phrase() -> None:
    pytest.importorskip("pvporcupine", reason="the engine is not installed: pip install --no-deps pvporcupine==1.9.5")
    recordings = sorted((_shared("wake_phrases") / "view glass").glob("*.ogg"))[:5]
    peer = find_peer("porcupine:view glass")
    for path in recordings:
        detect = peer.make(0.9)
        samples = np.pad(to_int16(load_clip(path, SAMPLE_RATE)), (8_000, 8_000))
        steps = samples[: samples.size // peer.step * peer.step].reshape(-1, peer.step)
        assert sum(detect(step) for step in steps) == 1.0, path.name
