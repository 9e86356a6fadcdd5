"""The tools that cut single words out of running speech: tools/align_words.py and tools/cut_words.py."""

import sys
from pathlib import Path

import cut_words
import numpy as np
import pytest
import soundfile
from align_words import FRAME, SAMPLE_RATE, Utterance, read_aligned
from cut_words import choose, cut_word, pause_noise

from harken.audio.clip import load_clip
from harken.corpus.split import official
from harken.corpus.table import read_corpus
from harken.errors import HarkenError

RNG = np.random.default_rng(0)
TRAIN, MEASURE = 84, 3170  # speakers of LibriSpeech


def tone(seconds: float, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(np.arange(round(seconds * SAMPLE_RATE)) * 0.3)).astype(np.float32)


def test_the_noise_is_that_of_the_longest_pause() -> None:
    recording = np.concatenate([tone(0.5), np.full(SAMPLE_RATE, 0.01, np.float32), tone(0.5)])
    noise = pause_noise(recording, Utterance("1-a.flac", [("good", 0, 50), ("night", 150, 200)]), RNG)
    assert noise.size == 92 * FRAME
    assert noise == pytest.approx(0.01)


def test_without_a_pause_the_noise_is_generated() -> None:
    noise = pause_noise(tone(1.0), Utterance("1-a.flac", [("good", 0, 50), ("night", 55, 100)]), RNG)
    assert noise.size == SAMPLE_RATE
    assert 0.0005 < noise.std() < 0.002


def test_a_clip_contains_the_word_and_nothing_of_its_neighbors() -> None:
    recording = np.concatenate(
        [tone(0.5, 0.9), np.zeros(8_000, np.float32), tone(0.3), np.zeros(8_000, np.float32), tone(1)]
    )
    clip = cut_word(recording, 100, 130, np.full(100, 0.001, np.float32), RNG)
    assert clip is not None
    assert clip.size == SAMPLE_RATE
    loud = np.flatnonzero(np.abs(clip) > 0.01)
    assert loud[-1] - loud[0] == pytest.approx(0.3 * SAMPLE_RATE, abs=100)
    assert abs((loud[0] + loud[-1]) / 2 - SAMPLE_RATE / 2) < 2_000
    assert cut_word(np.zeros(SAMPLE_RATE, np.float32), 20, 60, np.zeros(100, np.float32), RNG) is None


def test_the_most_probable_words_are_kept_but_no_word_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut_words, "PER_WORD", 2)
    words, probabilities = ["now", "now", "now", "own", "oh"], [0.5, 0.9, 0.8, 0.7, 0.001]
    assert choose(words, probabilities, 10) == [1, 2, 3]
    assert choose(words, probabilities, 1) == [1]


def test_the_clips_are_a_corpus_of_training_speakers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speech, out = tmp_path / "speech", tmp_path / "cut"
    speech.mkdir()
    lines = []
    for speaker in (TRAIN, MEASURE):
        name = f"{speaker}-1-0.flac"
        soundfile.write(speech / name, np.concatenate([tone(0.5), np.zeros(8_000), tone(0.4), tone(0.3)]), SAMPLE_RATE)
        lines.append(f"{name}\tdon't,0,50 know,100,140 yes,140,170\n")
    (tmp_path / "words.tsv").write_text("".join(lines), "utf-8")
    assert read_aligned(tmp_path / "words.tsv")[0].words == [("don't", 0, 50), ("know", 100, 140), ("yes", 140, 170)]
    monkeypatch.setattr(cut_words, "LEAST_PROBABILITY", 0.0)
    monkeypatch.setattr(sys, "argv", ["cut_words.py", str(speech), str(tmp_path / "words.tsv"), str(out)])
    cut_words.main()
    assert capsys.readouterr().out == f"{out}: 1 of 1 words\n"  # neither a keyword, nor what sounds like one
    corpus = read_corpus([out])
    assert [(clip.word, clip.speaker) for clip in corpus.clips] == [("dont", str(TRAIN))]
    assert official(corpus) == ["train"]
    assert load_clip(corpus.clips[0].path, SAMPLE_RATE).size == SAMPLE_RATE
    with pytest.raises(HarkenError, match="already exists"):
        cut_words.main()
