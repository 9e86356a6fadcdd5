"""The tools that refine the speech embedding: phrase_pairs.py, speak_phrases.py and refine_embedding.py in tools/."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import speak_phrases
import torch
from numpy.typing import NDArray
from phrase_pairs import Phrase, PhrasePairs, Utterance, phrases_of, read_aligned
from refine_embedding import alignment, excluded, mix, speech_cost
from train_embedding import may_train

from harken.enrollment.graph import SpeechModel, Templates, TemplateScorer
from harken.models.speech_embedding import DIMENSIONS, SAMPLE_RATE


def normalized(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    values = rng.standard_normal((*shape, DIMENSIONS)).astype(np.float32)
    return np.asarray(values / np.linalg.norm(values, axis=-1, keepdims=True), np.float32)


def test_training_scores_a_phrase_as_an_enrolled_model_does() -> None:
    rng = np.random.default_rng(0)
    sequences = [normalized(rng, steps) for steps in (5, 9, 12)]
    typical, windows = normalized(rng, 40), normalized(rng, 4, 30)
    templates = Templates.of(sequences, [0, 0, 0])
    speech = SpeechModel(np.zeros(DIMENSIONS, np.float32), typical, 0.5)
    expected = np.stack([TemplateScorer(templates, speech).scores(window).max(axis=1) for window in windows], axis=1)
    heard = torch.from_numpy(windows)[None]
    scores = alignment(
        torch.from_numpy(templates.vectors),
        heard,
        speech_cost(heard, torch.from_numpy(typical)),
        torch.from_numpy(templates.lengths).float(),
    )
    assert scores.numpy() == pytest.approx(expected, abs=1e-5)


def test_a_window_with_a_word_of_the_phrase_does_not_count_as_another_one() -> None:
    found = excluded([frozenset({"good", "night"})], [frozenset({"night", "owl"}), frozenset({"day"})])
    assert found.tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("name", "allowed"), [("tc10019-19-227-0000", True), ("dev3170-3170-1-0000", False), ("ocean9645-096450001", True)]
)
def test_only_speakers_that_no_benchmark_uses_may_train(name: str, allowed: bool) -> None:
    assert may_train(Path(f"{name}.flac")) is allowed


def test_phrases_are_neighboring_words_without_a_pause() -> None:
    words = [("tell", 0, 30), ("people", 32, 70), ("about", 75, 110), ("it", 150, 165), ("tomorrow", 166, 220)]
    texts = [text for text, _ in phrases_of(Utterance("a.flac", "1", words))]
    assert texts == ["tell people", "tell people about", "people about", "it tomorrow", "tomorrow"]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A second of tone in the middle of three, by two people."""
    (tmp_path / "speech").mkdir()
    for speaker in (11, 12):
        sound = np.zeros(3 * SAMPLE_RATE, np.float32)
        sound[SAMPLE_RATE : 2 * SAMPLE_RATE] = tone(1.0)
        soundfile.write(tmp_path / "speech" / f"set-{speaker}-0.flac", sound, SAMPLE_RATE)
    lines = (f"set-{speaker}-0.flac\tlanguage,100,200\n" for speaker in (11, 12))
    (tmp_path / "words.tsv").write_text("".join(lines), "utf-8")
    return tmp_path


def tone(seconds: float) -> NDArray[np.float32]:
    return np.asarray(0.5 * np.sin(np.arange(round(seconds * SAMPLE_RATE)) * 0.3), np.float32)


class Buzzer:
    """A voice that says everything in the same way, and counts how often."""

    name, family, accent = "espeak-buzzer", "buzzer", "en-us"

    def __init__(self) -> None:
        self.spoken: list[str] = []

    def speak(
        self, text: str, *, rate: float = 1.0, pitch: float = 1.0, seed: int = 0
    ) -> tuple[NDArray[np.float32], int]:
        self.spoken.append(text)
        return tone(0.6), SAMPLE_RATE


def speak(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    buzzer = Buzzer()
    monkeypatch.setattr(speak_phrases, "voices", lambda: [buzzer])
    arguments = ["speak_phrases.py", "--aligned", str(recordings / "words.tsv"), "--out", str(recordings / "spoken")]
    monkeypatch.setattr("sys.argv", arguments)
    speak_phrases.main()
    return buzzer.spoken


def pairs_of(recordings: Path, rng: np.random.Generator) -> PhrasePairs:
    noise = [rng.standard_normal(50_000).astype(np.float32)]
    folders = [recordings / name for name in ("speech", "words.tsv", "words", "spoken")]
    return PhrasePairs(*folders, noise, rng)


def test_synthetic_voices_speak_what_people_say(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert speak(recordings, monkeypatch) == ["language", "language"]
    assert speak(recordings, monkeypatch) == []  # continues
    (first, *_) = (recordings / "spoken" / "phrases.tsv").read_text("utf-8").splitlines()
    name, text, start, end = first.split("\t")
    assert (name, text) == ("00000-0-espeak-buzzer.flac", "language")
    assert int(start) / SAMPLE_RATE == pytest.approx(0.4, abs=0.05)
    assert int(end) / SAMPLE_RATE == pytest.approx(1.0, abs=0.05)


def test_pairs_are_of_two_people_or_of_a_person_with_a_synthetic_voice(
    recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speak(recordings, monkeypatch)
    rng = np.random.default_rng(0)
    pairs = pairs_of(recordings, rng)
    pairs._by_word = pairs._by_text  # there are no clips of Speech Commands here
    speakers = {
        tuple(sorted((first.speaker, second.speaker))) for first, second in (pairs.draw(rng) for _ in range(200))
    }
    people = {("11", "12"), ("11", "11"), ("12", "12")}
    assert speakers == people | {("11", "espeak-buzzer"), ("12", "espeak-buzzer")}


def test_a_distorted_phrase_is_where_it_is_said_to_be(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speak(recordings, monkeypatch)
    assert [utterance.speaker for utterance in read_aligned(recordings / "words.tsv")] == ["11", "12"]
    rng = np.random.default_rng(0)
    pairs = pairs_of(recordings, rng)
    phrase = Phrase("set-11-0.flac", "11", SAMPLE_RATE, 2 * SAMPLE_RATE, frozenset({"language"}))
    for _ in range(20):
        window, noise, start, end = pairs.view(phrase, 47_072, rng)
        assert window.size == noise.size == 47_072
        power = np.square(window, dtype=np.float64)
        assert power[start:end].sum() > 0.97 * power.sum()


def test_mix_weighs_the_refined_weights(tmp_path: Path) -> None:
    for name, value in (("before", 1.0), ("refined", 3.0)):
        torch.save(
            {"network": {"weight": torch.full((2,), value), "count": torch.tensor(7)}}, tmp_path / f"{name}.ckpt"
        )
    mix(tmp_path / "before.ckpt", tmp_path / "refined.ckpt", 0.25, tmp_path / "mixed.ckpt")
    mixed = torch.load(tmp_path / "mixed.ckpt")["network"]
    assert mixed["weight"].tolist() == [1.5, 1.5]
    assert mixed["count"] == 7
