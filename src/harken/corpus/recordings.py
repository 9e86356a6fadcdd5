"""Recordings of noise or speech, to cut windows from, and their split into training and evaluation.

Recordings         many recordings in one array
read_recordings    audio files -> Recordings
join_recordings    several Recordings -> one, each a group
noise_side         noise for training, or held-out noise
speech_side        speech for training, for setting thresholds, or for measuring
"""

import csv
import hashlib
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import load_clip, to_int16
from harken.corpus.split import official_side
from harken.errors import HarkenError

NoiseSide = Literal["train", "held_out"]
SpeechSide = Literal["train", "thresholds", "measure"]

_LONG_SECONDS = 30.0
_HELD_OUT_FRACTION = 0.2


@dataclass(frozen=True)
class Recordings:
    """Recordings, one after the other in one array.

    Attributes
    ----------
    names
        Name of each recording.
    samples
        All recordings, int16 [total].
    starts, lengths
        Start and length of each recording in `samples`, [recordings].
    sample_rate
        In Hz.
    groups
        Number of recordings in each group, in order. Windows are drawn from all groups equally often, however long they
        are. Empty: all recordings are one group.
    """

    names: tuple[str, ...]
    samples: NDArray[np.int16]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    sample_rate: int
    groups: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def seconds(self) -> float:
        """Return the total length of all recordings, in seconds."""
        return float(self.lengths.sum() / self.sample_rate)

    def recording(self, index: int) -> NDArray[np.int16]:
        """Return the samples of one recording, int16."""
        return self.samples[self.starts[index] : self.starts[index] + self.lengths[index]]


def read_recordings(paths: Sequence[Path], sample_rate: int) -> Recordings:
    """Decode audio files.

    Parameters
    ----------
    paths
        Audio files. Each becomes a recording, named after the file without its extension.
    sample_rate
        Sample rate of the result, in Hz.

    Raises
    ------
    HarkenError
        If there are no files, or one of them cannot be read.
    """
    if not paths:
        raise HarkenError("no recording to read: give a folder that contains WAV, FLAC, OGG or MP3 files")
    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(lambda path: to_int16(load_clip(path, sample_rate)), paths))
    return recordings_from_arrays([path.stem for path in paths], decoded, sample_rate)


def recordings_from_arrays(names: Sequence[str], parts: Sequence[NDArray[np.int16]], sample_rate: int) -> Recordings:
    """Return Recordings made of int16 arrays, one for each recording."""
    lengths = np.array([part.size for part in parts], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64) if parts else lengths
    samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    return Recordings(tuple(names), samples, starts, lengths, sample_rate)


def join_recordings(recordings: Sequence[Recordings]) -> Recordings:
    """Join recordings of the same sample rate. Each of them becomes a group."""
    names = [name for part in recordings for name in part.names]
    parts = [part.recording(index) for part in recordings for index in range(len(part))]
    return replace(recordings_from_arrays(names, parts, recordings[0].sample_rate), groups=tuple(map(len, recordings)))


def noise_side(recordings: Recordings, side: NoiseSide) -> Recordings:
    """Return the noise for training, or the fifth of it that is held out for evaluation.

    A recording of 30 seconds or more is cut: its last fifth is held out. A shorter one is used whole on one side, chosen
    by the SHA-1 of its name up to the last "-". That keeps together ESC-50's takes of one source, named
    `fold-source-take` or `fold-source-take-class`.
    """
    names, parts = [], []
    for index, name in enumerate(recordings.names):
        samples = recordings.recording(index)
        if samples.size >= _LONG_SECONDS * recordings.sample_rate:
            cut = round(samples.size * (1 - _HELD_OUT_FRACTION))
            parts.append(samples[:cut] if side == "train" else samples[cut:])
            names.append(name)
        else:
            take = re.sub(r"(-[A-Z])-\d+$", r"\1", name)
            source = take.rpartition("-")[0] or name
            drawn = official_side(f"{source}_nohash_", 100 * _HELD_OUT_FRACTION, 0) == "validation"
            if drawn == (side == "held_out"):
                parts.append(samples)
                names.append(name)
    return recordings_from_arrays(names, parts, recordings.sample_rate)


def speech_side(paths: Iterable[Path], side: SpeechSide) -> list[Path]:
    """Return the recordings of running speech that are on one side. All recordings of a speaker are on the same side.

    The speaker is the file's name up to the first "-". A number is taken for a speaker of LibriSpeech: speech_sides.tsv lists
    those of dev-clean, dev-other, test-clean and test-other, and all others are for training. A speaker listed as `reserved`
    is on no side: those recordings are kept for a final measurement. For other names the SHA-1 of the name decides: 60 % of
    the speakers are for training, 20 % for thresholds, and 20 % for measuring.

    Parameters
    ----------
    paths
        Audio files of speech without the keywords.
    side
        `train`, `thresholds` or `measure`.
    """
    return [path for path in paths if _speaker_side(path.stem.partition("-")[0]) == side]


def _speaker_side(speaker: str) -> str:
    if speaker.isdecimal():
        return _listed_sides().get(speaker, "train")
    name = speaker.encode(errors="surrogateescape")  # a file's name can be any bytes
    percent = int(hashlib.sha1(name).hexdigest(), 16) % 100
    return "train" if percent < 60 else "thresholds" if percent < 80 else "measure"


@lru_cache(maxsize=1)
def _listed_sides() -> dict[str, str]:
    text = files("harken.corpus").joinpath("speech_sides.tsv").read_text(encoding="utf-8")
    return {row["speaker"]: row["side"] for row in csv.DictReader(text.splitlines(), delimiter="\t")}
