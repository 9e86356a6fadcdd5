"""A spoken corpus without a microphone: `<word>/<speaker>_nohash_<take>.wav` in synthetic voices.

synthesize_corpus    words -> DIR/train and, spoken by voices that train never has, DIR/test
SynthesizedCorpus    where they lie
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from harken.errors import HarkenError
from harken.files import replacing
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
from harken.synth.voices import Voice, draw_voices, voice_named, voices_of
from harken.synth.workers import claim_folder, run_in_parallel

_LONGEST_WORD = int(0.9 * SAMPLE_RATE)
_RATES = (0.8, 1.3)  # times the voice's own pace
_PITCHES = (0.85, 1.2)  # times the voice's own pitch
_TRACTS = (0.92, 1.1)  # all formants and the pitch once more, as a longer or shorter vocal tract moves them
_ENDINGS = ("", "", "!", "?")  # how a word is said: told, called, asked
_PEAKS_DB = (-24.0, -1.0)
_TILTS_DB = (-3.0, 3.0)  # per octave
_BABBLE_WORDS = 24
_CHUNK = 16  # clips a task: enough to hide what handing it over costs


@dataclass(frozen=True)
class SynthesizedCorpus:
    """Corpus folders; `test` is None when no voice was held out."""

    train: Path
    test: Path | None


@dataclass(frozen=True)
class _Take:
    """One clip to make: its place below the corpus folder, and what is said by whom."""

    path: str
    word: str
    voice: str
    seed: tuple[int, ...]


@dataclass(frozen=True)
class _Job:
    """Clips that one process makes in one go. `babble` are (voice, word) pairs that talk in the background."""

    folder: Path
    takes: tuple[_Take, ...]
    babble: tuple[tuple[str, str], ...]
    room_fraction: float
    snr_db: tuple[float, float]


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
    workers: int | None = None,
) -> SynthesizedCorpus:
    """Speak each word `takes` times, into DIR/train/WORD and DIR/test/WORD.

    A clip is 16 kHz mono, 16 bits, exactly one second, with the whole word somewhere in it; voice, pitch, pace,
    loudness, room, microphone and background noise are drawn. The same arguments and the same installed voices give
    the same bytes, however many processes work. A run that was stopped is taken up where it stopped.

    Parameters
    ----------
    words : what is said; also the names of the folders.
    directory : new, empty, or of an earlier run of the same call.
    takes : clips a word, both sides together.
    seed : another seed, another corpus.
    held_out_fraction : share of voices (whole families of them) and of takes that go to DIR/test, 0 to 0.9.
    room_fraction : share of clips that sound in a simulated small room, 0 to 1.
    snr_db : lowest and highest ratio of the word to the background noise.
    engines : whose voices speak, as `harken.synth.voices` names them; all that are installed by default.
    voices_named : names of the voices to use, among those of `engines`; all of these by default.
    workers : processes; all cores by default.

    Raises
    ------
    HarkenError : a value is out of range, an engine is not there, a word cannot be spoken within a second, or DIR holds
        anything that was not made by the same call.
    """
    words = list(words)
    _check(words, takes, seed, held_out_fraction, room_fraction, snr_db)
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
    train_voices, test_voices = hold_out(candidates, held_out_fraction, seed)
    test_takes = round(takes * held_out_fraction) if test_voices else 0
    claim_folder(folder, settings)
    jobs: list[_Job] = []
    sides = (("train", train_voices, takes - test_takes), ("test", test_voices, test_takes))
    for number, (side, speaking, count) in enumerate(sides):
        if count == 0:
            continue
        rng = np.random.default_rng([seed, number])
        # All words are spoken by the same voices, so that no voice gives a word away.
        speakers = draw_voices(speaking, count, rng)
        talkers = draw_voices(speaking, _BABBLE_WORDS, rng)
        nouns = rng.permutation([noun for noun in NOUNS if noun not in words])
        babble = tuple((talker.name, str(noun)) for talker, noun in zip(talkers, nouns, strict=False))
        missing = [take for take in _plan(side, number, words, speakers, seed) if not (folder / take.path).is_file()]
        for start in range(0, len(missing), _CHUNK):
            chunk = tuple(missing[start : start + _CHUNK])
            jobs.append(_Job(folder, chunk, babble, room_fraction, snr_db))
    run_in_parallel(_write_takes, jobs, f"speaking {len(words)} words", workers=workers)
    return SynthesizedCorpus(folder / "train", folder / "test" if test_takes else None)


def hold_out(candidates: Sequence[Voice], fraction: float, seed: int) -> tuple[list[Voice], list[Voice]]:
    """Part voices into those to train with and those held out: `fraction` of the families, rounded up.

    One family at least is left to train with, so that of a single one none is held out.
    """
    families = sorted({voice.family for voice in candidates})
    count = min(len(families) - 1, math.ceil(fraction * len(families)))
    held = {families[i] for i in np.random.default_rng(seed).permutation(len(families))[:count]}
    kept = [voice for voice in candidates if voice.family not in held]
    return kept, [voice for voice in candidates if voice.family in held]


def _check(
    words: Sequence[str],
    takes: int,
    seed: int,
    held_out_fraction: float,
    room_fraction: float,
    snr_db: tuple[float, float],
) -> None:
    if not words or len(set(words)) < len(words):
        raise HarkenError("the words to speak must be given, each once")
    for word in words:
        if not word.isalpha():
            raise HarkenError(f"{word!r} is not a word of letters: it names a folder, so give letters alone")
    if takes < 1:
        raise HarkenError(f"takes is {takes}: ask for at least 1 clip a word")
    if seed < 0:
        raise HarkenError(f"seed is {seed}: give 0 or more")
    if not 0 <= held_out_fraction <= 0.9:
        raise HarkenError(f"held_out_fraction is {held_out_fraction}: choose 0 to 0.9")
    if not 0 <= room_fraction <= 1:
        raise HarkenError(f"room_fraction is {room_fraction}: choose 0 to 1")
    if not (math.isfinite(snr_db[0]) and math.isfinite(snr_db[1])):
        raise HarkenError(f"snr_db is {snr_db}: give two numbers, in dB")
    if snr_db[0] > snr_db[1]:
        raise HarkenError(f"snr_db is {snr_db}: name the lower ratio first")


def _plan(side: str, number: int, words: Sequence[str], speakers: Sequence[Voice], seed: int) -> list[_Take]:
    plan: list[_Take] = []
    for word in words:
        spoken: dict[str, int] = {}
        for index, voice in enumerate(speakers):
            nth = spoken[voice.name] = spoken.get(voice.name, -1) + 1
            path = f"{side}/{word}/{voice.name}_nohash_{nth}.wav"
            plan.append(_Take(path, word, voice.name, (seed, number, zlib.crc32(word.encode()), index)))
    return plan


def _write_takes(job: _Job) -> None:
    for take in job.takes:
        clip = _make(take, job)
        with replacing(job.folder / take.path) as temporary:
            soundfile.write(temporary, clip, SAMPLE_RATE, subtype="PCM_16")


def _make(take: _Take, job: _Job) -> Waveform:
    """Return one clip, [SAMPLE_RATE] samples."""
    rng = np.random.default_rng(take.seed)
    word = tilt(_speak(take, rng), rng.uniform(*_TILTS_DB))
    power = float(np.mean(np.square(word)))
    start = int(rng.integers(0, SAMPLE_RATE - word.size + 1))
    if rng.random() < job.room_fraction:
        word = reverberate(word, room_response(rng))
    clip = np.zeros(SAMPLE_RATE, np.float32)
    heard = word[: SAMPLE_RATE - start]
    clip[start : start + heard.size] = heard
    background = noise(str(rng.choice(NOISES)), SAMPLE_RATE, rng, babble=_babble(job.babble))
    clip = add_noise(clip, background, speech_power=power, snr_db=rng.uniform(*job.snr_db))
    return np.asarray(clip * (10 ** (rng.uniform(*_PEAKS_DB) / 20) / np.abs(clip).max()), np.float32)


def _speak(take: _Take, rng: np.random.Generator) -> Waveform:
    """Return the word alone, without silence around it, at most _LONGEST_WORD samples."""
    voice = voice_named(take.voice)
    rate, pitch, tract = (float(np.exp(rng.uniform(*np.log(limits)))) for limits in (_RATES, _PITCHES, _TRACTS))
    said = take.word + str(rng.choice(_ENDINGS))
    seed = int(rng.integers(2**31))
    while True:
        samples, sample_rate = voice.speak(said, rate=rate, pitch=pitch, seed=seed)
        word = trim(np.asarray(soxr.resample(samples, sample_rate * tract, SAMPLE_RATE), np.float32))
        if word.size == 0:
            raise HarkenError(f"{take.voice} speaks {take.word!r} without a sound: choose another word")
        if word.size <= _LONGEST_WORD:
            return word
        if rate == 2.0:
            raise HarkenError(f"{take.word!r} is too long for a clip of one second: choose a shorter word")
        rate = min(2.0, rate * 1.1 * word.size / _LONGEST_WORD)


@lru_cache(maxsize=2)
def _babble(spoken: tuple[tuple[str, str], ...]) -> Waveform:
    """Return the words one after the other, all equally loud."""
    parts = []
    for name, word in spoken:
        samples, sample_rate = voice_named(name).speak(word)
        voice = trim(np.asarray(soxr.resample(samples, sample_rate, SAMPLE_RATE), np.float32))
        parts.append(voice / np.sqrt(np.mean(np.square(voice)) + 1e-20))
    return np.concatenate(parts)
