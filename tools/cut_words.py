"""Cut single words out of running speech, and keep those that a model takes most readily for its own.

    python tools/cut_words.py SPEECH WORDS.tsv FOLDER [--model base] [--count 8000]

SPEECH contains running speech without the model's words, and tools/align_words.py writes WORDS.tsv. Only speakers whose side is
training are used. FOLDER becomes a corpus of clips of other words, for `harken train --data FOLDER`.

A network that learned from single words and from running speech still takes an exclamation between two pauses ("now!") for a
keyword. Each word is therefore placed in the noise of the longest pause of its recording.

cut_word      a word and its noise -> a clip
pause_noise   the noise between the words of a recording
all_words     the clips of all words
choose        the clips to keep
write_corpus  clips -> a corpus
"""

import argparse
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from align_words import FRAME, SAMPLE_RATE, Utterance, read_aligned
from numpy.typing import NDArray

from harken.audio.clip import load_clip
from harken.corpus.recordings import speech_side
from harken.errors import HarkenError
from harken.progress import progress
from harken.runtime.modelfile import ModelFile, find_model

# Words that sound the same as a keyword. "of", cut out of a sentence, is often said like "off".
HOMOPHONES = frozenset({"know", "knows", "of", "rite", "wright", "write"})
SHORTEST, LONGEST = 12, 80  # frames of a word
BEFORE, AFTER = 480, 800  # samples kept before and after a word
FADE_IN, FADE_OUT = 480, 640
FURTHEST = 1_600  # samples of a word from the middle of its clip
SHORTEST_PAUSE = 20  # frames
PAUSE_MARGIN = 4  # frames, in which the words around a pause still sound
LOUDEST_NOISE, GENERATED_NOISE = 0.05, 0.001  # RMS
QUIETEST = 0.01  # peak of a word
PER_WORD = 80  # clips
LEAST_PROBABILITY = 0.01
BATCH = 256

Samples = NDArray[np.float32]


def pause_noise(recording: Samples, utterance: Utterance, rng: np.random.Generator) -> Samples:
    """Return the noise in the longest pause of a recording, or generated noise if there is no pause."""
    ends = [0, *(end for _, _, end in utterance.words)]
    starts = [*(start for _, start, _ in utterance.words), recording.size // FRAME]
    length, first, last = max((start - end, end, start) for end, start in zip(ends, starts, strict=True))
    noise = recording[(first + PAUSE_MARGIN) * FRAME : (last - PAUSE_MARGIN) * FRAME]
    if length < SHORTEST_PAUSE or np.sqrt(np.mean(np.square(noise))) > LOUDEST_NOISE:
        return GENERATED_NOISE * rng.standard_normal(SAMPLE_RATE).astype(np.float32)
    return noise


def cut_word(recording: Samples, start: int, end: int, noise: Samples, rng: np.random.Generator) -> Samples | None:
    """Return a clip [16,000] of the word between two frames, near its middle. None if there is hardly any sound."""
    word = recording[max(0, start * FRAME - BEFORE) : end * FRAME + AFTER].copy()
    if np.abs(word).max() < QUIETEST:
        return None
    word[:FADE_IN] *= np.linspace(0, 1, FADE_IN, dtype=np.float32)
    word[-FADE_OUT:] *= np.linspace(1, 0, FADE_OUT, dtype=np.float32)
    there_and_back = np.concatenate([noise, noise[::-1]])  # repeated without a click
    clip = np.resize(np.roll(there_and_back, rng.integers(there_and_back.size)), SAMPLE_RATE)
    place = (SAMPLE_RATE - word.size) // 2 + int(rng.integers(-FURTHEST, FURTHEST + 1))
    place = min(max(0, place), SAMPLE_RATE - word.size)
    clip[place : place + word.size] += word
    return clip * min(1.0, 0.9 / np.abs(clip).max())


def all_words(
    speech: Path, utterances: Sequence[Utterance], known: frozenset[str], rng: np.random.Generator
) -> Iterator[tuple[str, str, Samples]]:
    """Yield each word that is not in `known`, its speaker, and its clip."""
    for utterance in progress(utterances, "cutting"):
        recording = load_clip(speech / utterance.name, SAMPLE_RATE)
        noise = pause_noise(recording, utterance, rng)
        for word, start, end in utterance.words:
            if word in known or not SHORTEST <= end - start <= LONGEST:
                continue
            if (clip := cut_word(recording, start, end, noise, rng)) is not None:
                yield word, utterance.name.partition("-")[0], clip


def choose(words: Sequence[str], probabilities: Sequence[float], count: int) -> list[int]:
    """Return which words to keep: those with the highest probabilities, but not too often the same word."""
    kept: list[int] = []
    times: Counter[str] = Counter()
    for index in sorted(range(len(words)), key=lambda index: -probabilities[index]):
        if probabilities[index] >= LEAST_PROBABILITY and times[words[index]] < PER_WORD and len(kept) < count:
            times[words[index]] += 1
            kept.append(index)
    return kept


def write_corpus(clips: Iterable[tuple[str, str, NDArray[np.int16]]], out: Path) -> None:
    """Write clips (word, speaker, samples) as a corpus whose speakers are all for training."""
    temporary = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    rows = ["path,split"]
    for number, (word, speaker, samples) in enumerate(clips):
        path = temporary / word.replace("'", "") / f"{speaker}_nohash_{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
        rows.append(f"{path.parent.name}/{path.name},train")
    (temporary / "splits.csv").write_text("\n".join(rows) + "\n", "utf-8")
    temporary.rename(out)


def main() -> None:
    """Write the corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path, metavar="SPEECH")
    parser.add_argument("words", type=Path, metavar="WORDS.tsv")
    parser.add_argument("out", type=Path, metavar="FOLDER", help="folder that does not exist yet")
    parser.add_argument("--model", default="base", help="model that chooses the clips")
    parser.add_argument("--count", type=int, default=8_000, help="clips to keep at most")
    options = parser.parse_args()
    if options.out.exists():
        raise HarkenError(f"{options.out} already exists: name a new folder")
    model = ModelFile(find_model(options.model))
    utterances = read_aligned(options.words)
    training = {path.name for path in speech_side([options.speech / one.name for one in utterances], "train")}
    utterances = [utterance for utterance in utterances if utterance.name in training]
    keywords = frozenset(model.card.words)
    found = all_words(options.speech, utterances, keywords | HOMOPHONES, np.random.default_rng(0))
    columns = [model.card.labels.index(word) for word in model.card.words]
    words: list[str] = []
    probabilities: list[float] = []
    likely: dict[int, tuple[str, str, NDArray[np.int16]]] = {}
    while batch := list(islice(found, BATCH)):
        scores = model.probabilities(np.stack([clip for _, _, clip in batch]))[:, columns].max(axis=1)
        for (word, speaker, clip), score in zip(batch, scores, strict=True):
            if score >= LEAST_PROBABILITY:
                likely[len(words)] = word, speaker, np.round(clip * 32767).astype(np.int16)
            words.append(word)
            probabilities.append(float(score))
    kept = choose(words, probabilities, options.count)
    write_corpus((likely[index] for index in kept), options.out)
    print(f"{options.out}: {len(kept)} of {len(words)} words")


if __name__ == "__main__":
    main()
