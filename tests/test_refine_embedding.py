"""The tools that refine the speech embedding: tools/phrase_pairs.py and tools/refine_embedding.py."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from align_words import Utterance
from numpy.typing import NDArray
from phrase_pairs import Phrase, PhrasePairs, phrases_of
from refine_embedding import alignment, excluded, mix, speech_cost
from train_embedding import may_train

from harken.enrollment.templates import SpeechModel, Templates, TemplateScorer
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
    texts = [text for text, _ in phrases_of(Utterance("set-1-a.flac", words))]
    assert texts == ["tell people", "tell people about", "people about", "it tomorrow", "tomorrow"]


def test_a_distorted_phrase_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    speech, words = tmp_path / "speech", tmp_path / "words"
    speech.mkdir()
    for speaker in (11, 12, 3170):  # the last may not train
        sound = np.zeros(3 * SAMPLE_RATE, np.float32)
        sound[SAMPLE_RATE : 2 * SAMPLE_RATE] = 0.5 * np.sin(np.arange(SAMPLE_RATE) * 0.3)
        soundfile.write(speech / f"set-{speaker}-0.flac", sound, SAMPLE_RATE)
    (tmp_path / "words.tsv").write_text(
        "".join(f"set-{speaker}-0.flac\tlanguage,100,200\n" for speaker in (11, 12, 3170)), "utf-8"
    )
    rng = np.random.default_rng(0)
    pairs = PhrasePairs(speech, tmp_path / "words.tsv", words, [rng.standard_normal(50_000).astype(np.float32)], rng)
    assert sorted(pairs.samples) == ["set-11-0.flac", "set-12-0.flac"]
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
