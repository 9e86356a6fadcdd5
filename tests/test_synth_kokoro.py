"""Kokoro's voices, with a small network in place of its model. Its output shows the length of the text and the style."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import Run

if not all(importlib.util.find_spec(name) for name in ("espeakng_loader", "hibari", "onnx")):
    pytest.skip("hibari and onnx are not installed: pip install 'harken[synth,train]'", allow_module_level=True)

import onnx

from harken.errors import HarkenError
from harken.synth import kokoro, synthesize_corpus, voices
from harken.synth.corpus import hold_out
from harken.synth.kokoro import KokoroVoice, kokoro_voices
from harken.synth.voices import engine_of, find_voice, voices_of

NAMES = [*(f"af_{letter}" for letter in "abcdefghi"), *(f"bm_{letter}" for letter in "abcdefghi")]
LENGTHS = 20


def write_model(path: Path) -> None:
    """Write a network with Kokoro's inputs.

    It returns 2,400 samples per token, divided by the speed. They alternate between the mean of the first half of the style
    (timbre) and the mean of the second half (manner).
    """
    make = onnx.helper.make_node
    nodes = [
        make("Shape", ["tokens"], ["shape"], start=1),
        make("Cast", ["shape"], ["count"], to=onnx.TensorProto.FLOAT),
        make("Mul", ["count", "per_token"], ["long"]),
        make("Div", ["long", "speed"], ["length"]),
        make("Cast", ["length"], ["samples"], to=onnx.TensorProto.INT64),
        make("Split", ["style"], ["timbre", "manner"], axis=1, num_outputs=2),
        make("ReduceMean", ["timbre", "axis"], ["height"], keepdims=0),
        make("ReduceMean", ["manner", "axis"], ["swing"], keepdims=0),
        make("Concat", ["height", "swing"], ["pair"], axis=0),
        make("Div", ["samples", "two"], ["pairs"]),
        make("Tile", ["pair", "pairs"], ["audio"]),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array([2400], np.float32), "per_token"),
        onnx.numpy_helper.from_array(np.array([1], np.int64), "axis"),
        onnx.numpy_helper.from_array(np.array([2], np.int64), "two"),
    ]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "stand-in",
        [
            value("tokens", onnx.TensorProto.INT64, [1, "n"]),
            value("style", onnx.TensorProto.FLOAT, [1, 256]),
            value("speed", onnx.TensorProto.FLOAT, [1]),
        ],
        [value("audio", onnx.TensorProto.FLOAT, ["samples"])],
        constants,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def styles() -> dict[str, np.ndarray]:
    """Return the styles of all voices. Voice n has a timbre of n / 100 and a manner of minus half of that, for any length."""
    made = {}
    for number, name in enumerate(NAMES, 1):
        table = np.full((LENGTHS, 256), number / 100, np.float32)
        table[:, 128:] *= -0.5
        made[name] = table
    return made


def clear_caches() -> None:
    for cached in (voices, find_voice.__globals__["_by_name"], kokoro._session, kokoro._styles):
        cached.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "kokoro"
    (place / "voices").mkdir(parents=True)
    write_model(place / "model.onnx")
    for name, table in styles().items():
        table.tofile(place / "voices" / f"{name}.bin")
    monkeypatch.setenv("HARKEN_KOKORO", str(place))
    clear_caches()
    yield place
    clear_caches()


def timbre_and_manner(voice: KokoroVoice, seed: int) -> tuple[float, float]:
    """Return the timbre and the manner of one speaker of the voice."""
    samples, _ = voice.speak("stop", seed=seed)
    return float(samples[0]), float(samples[1])


def test_its_voices_are_only_listed_if_the_folder_is_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [voice.name for voice in voices() if engine_of(voice) == "kokoro"]
    assert names == [f"kokoro-{name}" for name in NAMES]
    assert all(engine_of(voice) == "kokoro" for voice in voices_of(["kokoro"]))
    assert find_voice("kokoro-bm_a").accent == "en-gb"
    assert find_voice("kokoro-af_a").accent == "en-us"
    monkeypatch.delenv("HARKEN_KOKORO")
    clear_caches()
    assert not any(engine_of(voice) == "kokoro" for voice in voices())


def test_a_seed_gives_a_speaker_between_voices_of_one_family(folder: Path) -> None:
    every = {voice.name: voice for voice in kokoro_voices()}
    first, last = every["kokoro-af_a"], every["kokoro-bm_a"]
    assert first.family == last.family != every["kokoro-af_b"].family
    own, other = 0.01, 0.10  # timbres of the two
    seen = [timbre_and_manner(first, seed) for seed in range(30)]
    timbres, manners = (np.array(part) for part in zip(*seen, strict=True))
    assert timbres.min() >= own - 1e-6
    assert timbres.max() <= own + 0.6 * (other - own) + 1e-6
    assert np.ptp(timbres) > 0.02
    # They are drawn separately, so that the manner is not minus half of the timbre.
    assert np.abs(manners + timbres / 2).max() > 0.005
    assert timbre_and_manner(first, 3) == seen[3]


def test_no_blend_contains_voices_of_both_sides(folder: Path) -> None:
    train, test = hold_out(kokoro_voices(), 0.2, 1)
    assert train
    assert test
    partners = [{partner for voice in side for partner in voice.partners} for side in (train, test)]
    assert not partners[0] & partners[1]


def test_both_published_layouts_give_the_same_voices(folder: Path) -> None:
    before = [timbre_and_manner(voice, 1) for voice in kokoro_voices()]
    for path in (folder / "voices").iterdir():
        path.unlink()
    with (folder / "voices-v1.0.bin").open("wb") as file:
        np.savez(file, **{name: table[:, None] for name, table in styles().items()})
    clear_caches()
    assert [timbre_and_manner(voice, 1) for voice in kokoro_voices()] == before


def test_rate_and_pitch_change_length_and_sample_rate(folder: Path) -> None:
    voice = kokoro_voices()[0]
    plain, rate = voice.speak("stop")
    assert rate == 24_000
    assert plain.dtype == np.float32
    faster, _ = voice.speak("stop", rate=2.0)
    assert faster.size == plain.size / 2
    higher, rate = voice.speak("stop", pitch=1.25)
    assert rate == 30_000
    assert higher.size / rate == pytest.approx(plain.size / 24_000, rel=1e-3)


def test_british_voices_have_british_pronunciation(folder: Path) -> None:
    assert kokoro._tokens("dog", british=True) != kokoro._tokens("dog", british=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "cannot speak"), ("one two three four five six", "is too long for Kokoro")],
)
def test_texts_that_cannot_be_spoken_are_refused(folder: Path, text: str, message: str) -> None:
    with pytest.raises(HarkenError, match=message):
        kokoro_voices()[0].speak(text)


def test_a_corpus_of_only_its_voices(folder: Path, tmp_path: Path) -> None:
    made = synthesize_corpus(["stop"], tmp_path / "corpus", takes=6, held_out_fraction=0, engines=["kokoro"], workers=1)
    clips = sorted((made.train / "stop").iterdir())
    assert len(clips) == 6
    assert all(path.name.startswith("kokoro-") for path in clips)
    assert soundfile.info(clips[0]).frames == 16_000


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.onnx").unlink(), "0 files end in .onnx"),
        (lambda folder: (folder / "second.onnx").touch(), "2 files end in .onnx"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"<html>"), "model.onnx is not a usable ONNX model"),
        (lambda folder: [path.unlink() for path in (folder / "voices").iterdir()], "contains no voices of Kokoro"),
        (lambda folder: (folder / "voices" / "af_a.bin").write_bytes(b"x" * 1000), "af_a.bin contains no voices"),
        (lambda folder: (folder / "voices-v1.0.bin").write_bytes(b"PK"), "voices-v1.0.bin contains no voices"),
    ],
)
def test_a_damaged_folder_is_reported_in_one_line(
    folder: Path, tmp_path: Path, run: Run, damage: Callable[[Path], object], message: str
) -> None:
    damage(folder)
    out = tmp_path / "corpus"
    code, _, error = run("corpus", "speak", out, "--words", "stop", "--takes", 1, "--engines", "kokoro")
    assert code == 2
    assert message in error
    assert error.strip().count("\n") == 0
    assert not list(out.rglob("*.wav"))


def test_an_unknown_engine_is_refused(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "corpus"
    for command in (["speak", out, "--words", "stop"], ["talk", out]):
        code, _, error = run("corpus", *command, "--engines", "hibari,festival")
        assert code == 2
        assert "no voices of 'festival': choose from espeak, hibari, piper" in error
        assert "HARKEN_KOKORO" in error
    assert not out.exists()
