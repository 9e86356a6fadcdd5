"""A corpus of synthetic voices, in the layout of Speech Commands: `<word>/<speaker>_nohash_<take>.wav`.

synthesize_corpus    words -> DIR/train, and DIR/test with other voices
SynthesizedCorpus    the two folders
hold_out             split voices into those for training and those held out
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soxr

from harken.audio.save import save_audio
from harken.errors import HarkenError
from harken.synth.effects import (
    NOISES,
    SAMPLE_RATE,
    Waveform,
    add_noise,
    noise,
    reverberate,
    room_response,
    tilt,
    trim,
)
from harken.synth.sentences import NOUNS
from harken.synth.voices import Voice, draw_voices, find_voice, voices_of
from harken.synth.workers import claim_folder, run_in_parallel

_SHORTEST_S, _LONGEST_S = 0.5, 3.0  # limits of the length of a clip
_WORD_SHARE = 0.9  # largest part of a clip that the word takes up
_RATES = (0.8, 1.3)  # range of the factor for the speed
_PITCHES = (0.85, 1.2)  # range of the factor for the pitch
_TRACTS = (0.92, 1.1)  # range of the factor for formants and pitch together, like another length of the vocal tract
_ENDINGS = ("", "", "!", "?")  # punctuation, for different intonation
_PEAKS_DB = (-24.0, -1.0)
_TILTS_DB = (-3.0, 3.0)  # per octave
_BABBLE_WORDS = 24
_CHUNK = 16  # clips per task; enough that the overhead of a task does not matter


@dataclass(frozen=True)
class SynthesizedCorpus:
    """Corpus folders of synthetic speech. `test` is None if no voice was held out."""

    train: Path
    test: Path | None


@dataclass(frozen=True)
class _Take:
    """A clip to create: its path below the corpus folder, its word and its voice."""

    path: str
    word: str
    voice: str
    seed: tuple[int, ...]


@dataclass(frozen=True)
class _Job:
    """Clips that one process creates as one task. `babble` contains (voice, word) pairs for the background."""

    folder: Path
    takes: tuple[_Take, ...]
    babble: tuple[tuple[str, str], ...]
    room_fraction: float
    snr_db: tuple[float, float]
    samples: int


def synthesize_corpus(
    words: Sequence[str],
    directory: str | Path,
    *,
    takes: int,
    seed: int = 0,
    held_out_fraction: float = 0.2,
    room_fraction: float = 0.5,
    snr_db: tuple[float, float] = (5.0, 45.0),
    engines: Sequence[str] = (),
    voices_named: Sequence[str] = (),
    seconds: float = 1.0,
    workers: int | None = None,
) -> SynthesizedCorpus:
    """Create a corpus of synthetic speech in DIR/train/WORD and DIR/test/WORD.

    A clip has 16 kHz, 16 bits and one channel, and contains the whole word. Voice, pitch, speed, level,
    room, microphone and background noise are random. The same arguments and the same installed voices give the same bytes,
    for any number of processes. An interrupted call continues when it is repeated.

    Parameters
    ----------
    words
        Words or phrases to speak. They are also the names of the folders.
    directory
        Folder for the corpus: a new one, an empty one, or one of an earlier call with the same arguments.
    takes
        Number of clips for each word, on both sides together.
    seed
        Random seed.
    held_out_fraction
        Share of voices (by family) and of clips for DIR/test, 0 to 0.9.
    room_fraction
        Share of clips with the reverberation of a small simulated room, 0 to 1.
    snr_db
        Lowest and highest ratio of the word to the background noise, in dB.
    engines
        Speech engines to use, such as `espeak` or `piper`. Default: all that are installed.
    voices_named
        Names of the voices to use, among those of `engines`. Default: all of these.
    seconds
        Length of a clip in seconds, 0.5 to 3. A phrase may need more than one second.
    workers
        Number of processes. Default: one for each core.

    Raises
    ------
    HarkenError
        If a value is out of range, an engine is missing, a word does not fit in a clip, or the folder contains anything
        else.
    """
    words = list(words)
    _check_arguments(words, takes, seed, held_out_fraction, room_fraction, snr_db)
    if not _SHORTEST_S <= seconds <= _LONGEST_S:
        raise HarkenError(f"seconds is {seconds:g}: choose {_SHORTEST_S:g} to {_LONGEST_S:g}")
    folder = Path(directory)
    candidates = voices_of(engines)
    if voices_named:
        wanted = set(voices_named)
        candidates = tuple(voice for voice in candidates if voice.name in wanted)
        if len(candidates) < len(wanted):
            missing_voices = sorted(wanted - {voice.name for voice in candidates})
            raise HarkenError(f"there is no voice {missing_voices[0]!r}: choose among harken.synth.voices()")
    settings = {
        "words": words,
        "takes": takes,
        "seed": seed,
        "held_out_fraction": held_out_fraction,
        "room_fraction": room_fraction,
        "snr_db": list(snr_db),
        "voices": zlib.crc32(" ".join(voice.name for voice in candidates).encode()),
    }
    if seconds != 1:  # a folder of an earlier version, whose clips were all one second long, can be continued
        settings["seconds"] = seconds
    train_voices, test_voices = hold_out(candidates, held_out_fraction, seed)
    test_takes = min(takes - 1, round(takes * held_out_fraction)) if test_voices else 0
    claim_folder(folder, settings)
    jobs: list[_Job] = []
    sides = (("train", train_voices, takes - test_takes), ("test", test_voices, test_takes))
    for number, (side, side_voices, count) in enumerate(sides):
        if count == 0:
            continue
        rng = np.random.default_rng([seed, number])
        # All words have the same voices, so that a network cannot recognize a word by its voice.
        speakers = draw_voices(side_voices, count, rng)
        talkers = draw_voices(side_voices, _BABBLE_WORDS, rng)
        nouns = rng.permutation([noun for noun in NOUNS if noun not in words])
        babble = tuple((talker.name, str(noun)) for talker, noun in zip(talkers, nouns, strict=False))
        missing = [take for take in _plan(side, number, words, speakers, seed) if not (folder / take.path).is_file()]
        for start in range(0, len(missing), _CHUNK):
            chunk = tuple(missing[start : start + _CHUNK])
            jobs.append(_Job(folder, chunk, babble, room_fraction, snr_db, round(seconds * SAMPLE_RATE)))
    run_in_parallel(_write_takes, jobs, f"speaking {len(words)} words", workers=workers)
    return SynthesizedCorpus(folder / "train", folder / "test" if test_takes else None)


def hold_out(candidates: Sequence[Voice], fraction: float, seed: int) -> tuple[list[Voice], list[Voice]]:
    """Split voices into those for training and those held out. Voices of a family stay together.

    Parameters
    ----------
    candidates
        Voices to split.
    fraction
        Share of the families to hold out, rounded up. At least one family is left for training.
    seed
        Random seed.

    Returns
    -------
    tuple of list
        The voices for training, and the voices held out.
    """
    families = sorted({voice.family for voice in candidates})
    count = min(len(families) - 1, math.ceil(fraction * len(families)))
    held = {families[i] for i in np.random.default_rng(seed).permutation(len(families))[:count]}
    kept = [voice for voice in candidates if voice.family not in held]
    return kept, [voice for voice in candidates if voice.family in held]


def _check_arguments(
    words: Sequence[str],
    takes: int,
    seed: int,
    held_out_fraction: float,
    room_fraction: float,
    snr_db: tuple[float, float],
) -> None:
    if not words or len(set(words)) < len(words):
        raise HarkenError("the words to speak must be given, and each only once")
    for word in words:
        if not all(part.isalpha() for part in word.replace("'", "").split(" ")):
            raise HarkenError(
                f"{word!r} is not a word or a phrase: use only letters, apostrophes and single spaces, because it is the "
                "name of a folder"
            )
    if takes < 1:
        raise HarkenError(f"takes is {takes}: choose at least 1 clip per word")
    if seed < 0:
        raise HarkenError(f"seed is {seed}: choose 0 or more")
    if not 0 <= held_out_fraction <= 0.9:
        raise HarkenError(f"held_out_fraction is {held_out_fraction}: choose 0 to 0.9")
    if not 0 <= room_fraction <= 1:
        raise HarkenError(f"room_fraction is {room_fraction}: choose 0 to 1")
    if not (math.isfinite(snr_db[0]) and math.isfinite(snr_db[1])):
        raise HarkenError(f"snr_db is {snr_db}: give two numbers, in dB")
    if snr_db[0] > snr_db[1]:
        raise HarkenError(f"snr_db is {snr_db}: give the lower ratio first")


def _plan(side: str, number: int, words: Sequence[str], speakers: Sequence[Voice], seed: int) -> list[_Take]:
    plan: list[_Take] = []
    for word in words:
        takes: dict[str, int] = {}
        for index, voice in enumerate(speakers):
            take = takes[voice.name] = takes.get(voice.name, -1) + 1
            path = f"{side}/{word}/{voice.name}_nohash_{take}.wav"
            plan.append(_Take(path, word, voice.name, (seed, number, zlib.crc32(word.encode()), index)))
    return plan


def _write_takes(job: _Job) -> None:
    for take in job.takes:
        save_audio(job.folder / take.path, _make_clip(take, job), SAMPLE_RATE)


def _make_clip(take: _Take, job: _Job) -> Waveform:
    """Return one clip, [job.samples] samples."""
    rng = np.random.default_rng(take.seed)
    word = tilt(_speak(take, rng, int(_WORD_SHARE * job.samples)), rng.uniform(*_TILTS_DB))
    power = float(np.mean(np.square(word)))
    start = int(rng.integers(0, job.samples - word.size + 1))
    if rng.random() < job.room_fraction:
        word = reverberate(word, room_response(rng))
    clip = np.zeros(job.samples, np.float32)
    audible = word[: job.samples - start]
    clip[start : start + audible.size] = audible
    background = noise(str(rng.choice(NOISES)), job.samples, rng, babble=_babble(job.babble))
    clip = add_noise(clip, background, speech_power=power, snr_db=rng.uniform(*job.snr_db))
    return np.asarray(clip * (10 ** (rng.uniform(*_PEAKS_DB) / 20) / np.abs(clip).max()), np.float32)


def _speak(take: _Take, rng: np.random.Generator, longest: int) -> Waveform:
    """Return the word without silence around it, at most `longest` samples."""
    voice = find_voice(take.voice)
    rate, pitch, tract = (float(np.exp(rng.uniform(*np.log(limits)))) for limits in (_RATES, _PITCHES, _TRACTS))
    text = take.word + str(rng.choice(_ENDINGS))
    seed = int(rng.integers(2**31))
    while True:
        samples, sample_rate = voice.speak(text, rate=rate, pitch=pitch, seed=seed)
        word = trim(np.asarray(soxr.resample(samples, sample_rate * tract, SAMPLE_RATE), np.float32))
        if word.size == 0:
            raise HarkenError(f"{take.voice} makes no sound for {take.word!r}: choose another word")
        if word.size <= longest:
            return word
        if rate == 2.0:
            clip_s = longest / _WORD_SHARE / SAMPLE_RATE
            raise HarkenError(
                f"{take.word!r} is too long for a clip of {clip_s:.2g} s: choose a shorter word, or longer clips"
            )
        rate = min(2.0, rate * 1.1 * word.size / longest)


@lru_cache(maxsize=2)
def _babble(voices_and_words: tuple[tuple[str, str], ...]) -> Waveform:
    """Return the words one after the other, all with the same power."""
    parts = []
    for name, word in voices_and_words:
        samples, sample_rate = find_voice(name).speak(word)
        voice = trim(np.asarray(soxr.resample(samples, sample_rate, SAMPLE_RATE), np.float32))
        parts.append(voice / np.sqrt(np.mean(np.square(voice)) + 1e-20))
    return np.concatenate(parts)
