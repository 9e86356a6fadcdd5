"""Pairs of recordings of the same phrase, for tools/refine_embedding.py.

Phrase       a stretch of a recording: one to four words, and where they are
PhrasePairs  draws pairs of the same phrase, and distorts them
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soxr
from align_words import FRAME, Utterance, read_aligned
from build_bank import on_training_side, rms
from numpy.typing import NDArray
from train_embedding import may_train, noise_of, speaker_of

from harken.audio.clip import load_clip
from harken.enrollment.takes import find_phrase
from harken.errors import HarkenError
from harken.models.speech_embedding import SAMPLE_RATE

SHORTEST, LONGEST = 40, 130  # frames of a phrase
LONGEST_PAUSE = 12  # frames between two words of a phrase
LEAST_LETTERS = 6
MAX_WORDS = 4
CLIPS_PER_WORD = 250  # of Speech Commands
WORD_SHARE, SPEAKERS_SHARE = 0.15, 0.5  # of the pairs; the others are one recording, distorted twice
CONTEXT_S = 2.2  # around a phrase
# What an embedding needs before the end of its first step, and after a phrase (see `harken.enrollment.takes`).
BEFORE_S, AFTER_S = 0.56, 0.34

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Phrase:
    """A stretch of a recording.

    Attributes
    ----------
    recording, speaker
        Names of the recording and of the speaker.
    start, end
        First sample of the phrase, and the one after its last.
    words
        The words in it.
    """

    recording: str
    speaker: str
    start: int
    end: int
    words: frozenset[str]


def phrases_of(utterance: Utterance) -> list[tuple[str, Phrase]]:
    """Return all stretches of one to four words that are long enough, and have no pause inside, with their text."""
    found = []
    for first in range(len(utterance.words)):
        for last in range(first, min(first + MAX_WORDS, len(utterance.words))):
            words = utterance.words[first : last + 1]
            pauses = [after[1] - before[2] for before, after in pairwise(words)]
            if max(pauses, default=0) > LONGEST_PAUSE:
                break
            start, end = words[0][1], words[-1][2]
            text = " ".join(word for word, _, _ in words)
            if SHORTEST <= end - start <= LONGEST and len(text.replace(" ", "")) >= LEAST_LETTERS:
                spoken = frozenset(word for word, _, _ in words)
                speaker = speaker_of(Path(utterance.name))
                found.append((text, Phrase(utterance.name, speaker, start * FRAME, end * FRAME, spoken)))
    return found


class PhrasePairs:
    """Draws pairs of the same phrase, and distorts them.

    Attributes
    ----------
    samples
        The recordings, by name.
    words
        All words of each recording.
    """

    def __init__(
        self, speech: Path, aligned: Path, words: Path, noise: list[Samples], rng: np.random.Generator
    ) -> None:
        self._noise = noise
        self.samples: dict[str, Samples] = {}
        self.words: dict[str, frozenset[str]] = {}
        self._phrases: list[Phrase] = []
        by_text: dict[str, list[Phrase]] = defaultdict(list)
        for utterance in read_aligned(aligned):
            if not may_train(Path(utterance.name)):
                continue
            self.samples[utterance.name] = load_clip(speech / utterance.name, SAMPLE_RATE)
            self.words[utterance.name] = frozenset(word for word, _, _ in utterance.words)
            for text, phrase in phrases_of(utterance):
                by_text[text].append(phrase)
                self._phrases.append(phrase)
        self._by_text = [found for found in by_text.values() if len({phrase.speaker for phrase in found}) > 1]
        self._by_word = [
            found
            for folder in sorted(words.glob("[!_]*/"))
            if len(found := self._clips_of(folder, rng)) > CLIPS_PER_WORD // 2
        ]

    def _clips_of(self, folder: Path, rng: np.random.Generator) -> list[Phrase]:
        paths = [path for path in sorted(folder.glob("*.wav")) if on_training_side(path)]
        found = []
        for index in rng.permutation(len(paths))[:CLIPS_PER_WORD]:
            path = paths[index]
            clip = load_clip(path, SAMPLE_RATE)
            try:
                start, end = find_phrase(clip, path.name)
            except HarkenError:  # no word that stands out
                continue
            name = f"{folder.name}/{path.name}"
            self.samples[name], self.words[name] = clip, frozenset([folder.name])
            found.append(Phrase(name, path.name.split("_")[0], start, end, self.words[name]))
        return found

    def summary(self) -> str:
        """Return how many phrases there are."""
        shared, clips = sum(map(len, self._by_text)), sum(map(len, self._by_word))
        return f"{len(self._phrases):,} phrases; {len(self._by_text):,} of several speakers, {shared:,} times; {clips:,} clips"

    def draw(self, rng: np.random.Generator) -> tuple[Phrase, Phrase]:
        """Return two recordings of a phrase by different speakers, or one recording twice."""
        kind = rng.random()
        if kind >= WORD_SHARE + SPEAKERS_SHARE:
            phrase = self._phrases[rng.integers(len(self._phrases))]
            return phrase, phrase
        groups = self._by_word if kind < WORD_SHARE else self._by_text
        group = groups[rng.integers(len(groups))]
        first = group[rng.integers(len(group))]
        others = [phrase for phrase in group if phrase.speaker != first.speaker]
        return first, others[rng.integers(len(others))]

    def view(self, phrase: Phrase, size: int, rng: np.random.Generator) -> tuple[Samples, Samples, int, int]:
        """Return a distorted recording of a phrase, alone or among its neighbors.

        Returns
        -------
        tuple
            The speech and the noise [samples], which are to be added, and the first sample of the phrase and the one after
            its last.
        """
        recording, context = self.samples[phrase.recording], round(CONTEXT_S * SAMPLE_RATE)
        first = max(0, phrase.start - context)
        speech = recording[first : phrase.end + context].copy()
        start, end = phrase.start - first, phrase.end - first
        if rng.random() < 0.7:
            speed = float(np.exp(rng.uniform(np.log(0.84), np.log(1.2))))
            speech = soxr.resample(speech, SAMPLE_RATE * speed, SAMPLE_RATE).astype(np.float32)
            start, end = int(start / speed), int(end / speed)
        if rng.random() < 0.5:
            speech[1:] -= np.float32(rng.uniform(-0.5, 0.5)) * speech[:-1]
        if rng.random() < 0.5:
            speech = alone(speech, start, end, rng)
        level = np.float32(rms(speech[start:end]) + 1e-6)
        place = int(
            rng.integers(round(BEFORE_S * SAMPLE_RATE), size - round(AFTER_S * SAMPLE_RATE) - (end - start) + 1)
        )
        window = np.zeros(size, np.float32)
        skipped = max(0, start - place)
        shown = speech[skipped : skipped + size - max(0, place - start)]
        window[max(0, place - start) :][: shown.size] = shown
        if rng.random() < 0.75:
            noise = noise_of(size, self._noise, rng) * level * np.float32(10 ** (-rng.uniform(0, 25) / 20))
        else:
            noise = rng.standard_normal(size, np.float32) * level * np.float32(10 ** (-rng.uniform(25, 50) / 20))
        return window, noise, place, place + end - start


def alone(speech: Samples, start: int, end: int, rng: np.random.Generator) -> Samples:
    """Return a phrase without its neighbors."""
    kept = np.zeros(speech.size, np.float32)
    kept[
        max(0, start - int(rng.uniform(0.02, 0.1) * SAMPLE_RATE)) : end + int(rng.uniform(0.03, 0.12) * SAMPLE_RATE)
    ] = 1
    return speech * np.convolve(kept, np.full(FRAME, 1 / FRAME, np.float32), "same")
