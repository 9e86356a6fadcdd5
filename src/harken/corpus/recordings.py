"""Long recordings, of noise or of speech, as one array to cut windows from; and which of them training may hear."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
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
    """Recordings end to end in one array.

    names : a name each. samples : int16 [total]. starts, lengths : [recordings], in samples.
    groups : how many recordings each group holds, one after the other; whoever draws from them draws from all groups
    alike, however long they are.
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
        """Return the length of all recordings together."""
        return float(self.lengths.sum() / self.sample_rate)

    def one(self, index: int) -> NDArray[np.int16]:
        """Return the samples of one recording."""
        return self.samples[self.starts[index] : self.starts[index] + self.lengths[index]]


def read_recordings(paths: Sequence[Path], sample_rate: int) -> Recordings:
    """Decode recordings at `sample_rate` Hz. Raises HarkenError when one cannot be read or there is none."""
    if not paths:
        raise HarkenError("there is no recording to read: name a folder that holds WAV, FLAC, OGG or MP3")
    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(lambda path: to_int16(load_clip(path, sample_rate)), paths))
    return from_arrays([path.stem for path in paths], decoded, sample_rate)


def from_arrays(names: Sequence[str], parts: Sequence[NDArray[np.int16]], sample_rate: int) -> Recordings:
    """Return arrays of int16 samples, each a recording, as Recordings."""
    lengths = np.array([part.size for part in parts], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64) if parts else lengths
    samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    return Recordings(tuple(names), samples, starts, lengths, sample_rate)


def joined(recordings: Sequence[Recordings]) -> Recordings:
    """Return recordings of one sample rate in one, each a group of its own."""
    names = [name for part in recordings for name in part.names]
    parts = [part.one(index) for part in recordings for index in range(len(part))]
    return replace(from_arrays(names, parts, recordings[0].sample_rate), groups=tuple(map(len, recordings)))


def noise_side(recordings: Recordings, side: NoiseSide) -> Recordings:
    """Return the noise that training hears, or the fifth of it that only measures.

    Of a recording of 30 seconds or more the last fifth is held out. A shorter one goes whole, by the SHA-1 of its name
    up to the last "-", so that ESC-50's takes of one source (`fold-source-take`, with or without `-class`) stay together.
    """
    names, parts = [], []
    for index, name in enumerate(recordings.names):
        samples = recordings.one(index)
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
    return from_arrays(names, parts, recordings.sample_rate)


def speech_side(paths: Iterable[Path], side: SpeechSide) -> list[Path]:
    """Return the recordings of speech without commands that train, that set thresholds, or that only measure.

    The speaker is the name up to the first "-". LibriSpeech's numbers below 2035 train, from 2035 to 3000 set
    thresholds, the rest measure; speakers with other names are dealt out by the SHA-1 of the name, 25, 30 and 45 %.
    """
    return [path for path in paths if _speaker_side(path.stem.partition("-")[0]) == side]


def _speaker_side(speaker: str) -> SpeechSide:
    if speaker.isdecimal():
        number = int(speaker)
        return "train" if number < 2035 else "thresholds" if number <= 3000 else "measure"
    percent = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % 100
    return "train" if percent < 25 else "thresholds" if percent < 55 else "measure"
