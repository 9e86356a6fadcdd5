"""The clips that exports are checked on: from any corpus, or else synthetic speech."""

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import OTHER_WORDS, TEN_WORDS
from harken.errors import HarkenError
from harken.export import clips as export_clips
from harken.export.clips import CheckClips, corpus_clips, synthetic_clips
from harken.runtime.modelfile import Card
from harken.synth import voices
from harken.tasks.recipe import find_recipe

RATE = 16_000
LABELS = (*TEN_WORDS, "_unknown_", "_silence_")
SILENCE = LABELS.index("_silence_")


@pytest.fixture
def card() -> Card:
    return Card(LABELS, RATE, RATE, {}, {"recipe": asdict(find_recipe("v12"))})


@pytest.fixture
def plain(tiny_corpus: Path, tmp_path: Path) -> Path:
    """Return a corpus of ten words and two others, without noise."""
    (tmp_path / "plain").mkdir()
    for word in (*TEN_WORDS, *OTHER_WORDS):
        (tmp_path / "plain" / word).symlink_to(tiny_corpus / word)
    return tmp_path / "plain"


def noise_folder(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        noise = 0.1 * np.random.default_rng(number).standard_normal(2 * RATE)
        soundfile.write(folder / f"{number}-{number}-A.wav", noise, RATE)
    return folder


def rows(found: CheckClips) -> set[bytes]:
    return {clip.tobytes() for clip in (*found.calibration, *found.clips)}


def test_a_plain_corpus_is_enough(card: Card, plain: Path) -> None:
    found = corpus_clips(card, [plain])
    assert len(found.calibration) + len(found.clips) == len(rows(found)) == 120 + 12  # none twice
    assert set(found.truth) == set(range(len(LABELS)))
    assert not found.synthesized
    assert [note.split()[:2] for note in found.notes] == [["all", "of"], ["no", "noise"]]
    again = corpus_clips(card, [plain])
    np.testing.assert_array_equal(again.clips, found.clips)


def test_noise_that_is_not_held_out_stands_for_silence(card: Card, plain: Path, tmp_path: Path) -> None:
    found = corpus_clips(card, [plain], noise=[noise_folder(tmp_path / "noise", 1)])
    assert not any("synthetic noise" in note for note in found.notes)
    recorded = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE)
    silence = found.clips[found.truth == SILENCE][0].astype(np.float64)
    correlation = np.correlate(recorded, silence, "valid") / np.linalg.norm(silence) / np.linalg.norm(recorded[:RATE])
    assert correlation.max() > 0.9


def test_a_model_without_silence_gets_none(card: Card, plain: Path) -> None:
    bare = Card(TEN_WORDS, RATE, RATE, {}, {})
    found = corpus_clips(bare, [plain])
    assert len(found.calibration) + len(found.clips) == 100
    assert set(found.truth) == set(range(10))


def test_only_a_large_validation_set_is_used(card: Card, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_clips, "FEW_CLIPS", 5)
    found = corpus_clips(card, [plain])
    assert len(found.calibration) + len(found.clips) < 40
    assert len(found.notes) == 1
    assert "synthetic noise stands for silence" in found.notes[0]


def test_bad_input_is_an_error(card: Card, plain: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(HarkenError, match=r"empty contains no WAV, FLAC, OGG or MP3 files to cut silence from"):
        corpus_clips(card, [plain], noise=[tmp_path / "empty"])
    with pytest.raises(HarkenError, match=r"--other is for models of the recipe own; leave it out"):
        corpus_clips(card, [plain], other=[plain])
    with pytest.raises(HarkenError, match=r"nowhere does not exist") as raised:
        corpus_clips(card, [tmp_path / "nowhere"])
    assert "--split" not in str(raised.value)


def test_clips_are_synthesized_without_a_corpus(card: Card, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="harken[synth] is not installed")
    monkeypatch.setenv("HARKEN_CACHE", str(tmp_path))
    monkeypatch.setattr(export_clips, "_SYNTHETIC_CLIPS", 12)
    few = Card(("yes", "no", "_unknown_", "_silence_"), RATE, RATE, {}, {})
    found = synthetic_clips(few)
    assert found.synthesized
    assert found.clips.shape == (15 + 2, RATE)  # three takes of five words, and silence
    assert found.calibration.shape == found.clips.shape
    assert np.bincount(found.truth).tolist() == [3, 3, 9, 2]
    assert not {clip.tobytes() for clip in found.calibration} & {clip.tobytes() for clip in found.clips}
    spoken = {
        side: {path.stem.split("_")[0] for path in tmp_path.glob(f"spoken/*/{side}/yes/*")}
        for side in ("train", "test")
    }
    assert len(spoken["test"]) > 1
    assert not spoken["train"] & spoken["test"]  # The calibration has other voices.
    np.testing.assert_array_equal(synthetic_clips(few).clips, found.clips)


def test_without_voices_the_error_names_both_fixes(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["harken.synth.voices"], "_installed", lambda engine: False)
    voices.cache_clear()
    monkeypatch.delitem(sys.modules, "harken.synth")
    try:
        with pytest.raises(HarkenError, match=r"give a corpus with --data DIR, or .* pip install .*\[synth\]'"):
            synthetic_clips(card)
    finally:
        voices.cache_clear()


def test_words_that_no_voice_can_say_are_an_error() -> None:
    pytest.importorskip("espeakng_loader", reason="harken[synth] is not installed")
    with pytest.raises(HarkenError, match=r"cannot say the model's words \(да, off_2\): give a corpus"):
        synthetic_clips(Card(("да", "off_2"), RATE, RATE, {}, {}))
