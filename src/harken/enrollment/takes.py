"""A take of a phrase: where in a recording the phrase is, and the embeddings that templates are made of.

Take          a recording with the phrase found in it
read_take     a recording -> Take
sequences_of  a take -> the embeddings of the phrase, clean and in four noises
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import AudioSource, clip_name, load_clip
from harken.corpus.synthetic_noise import steady_noise
from harken.enrollment.embedding import SAMPLE_RATE, STEP, SpeechEmbedding, samples_of
from harken.errors import HarkenError

SHORTEST_S, LONGEST_S = 0.2, 2.0  # of a phrase
_LONGEST_CLIP_S = 15.0
_QUIETEST_DB = -50.0  # peak of a recording in which somebody speaks
_FRAME = 160
_SMOOTHED = 5  # frames
_FLOOR_PERCENTILE = 15.0
_FLOOR_SHARE = 0.4  # of the way from the room's level to the peak's: what is above it is the phrase
_RANGE_DB = 30.0  # below the peak there is no more speech
_PAUSE_FRAMES = 25  # a longer pause parts two utterances
_CLEAR_DB = 6.0  # that speech stands above its room

# A step's embedding looks back 775 ms. Those between these times after the phrase's start and its end tell of the phrase.
_FIRST_S, _LAST_S = 0.24, 0.32
_BEFORE_S, _AFTER_S = 1.2, 1.0  # of silence around the recording, for the first and the last embedding to look at

# Takes are learned clean and in noise, since a phrase sounds different to the embedding in a noisy room.
_NOISES = (
    (("pink", "humming"), 5.0),
    (("brown", "pulsing"), 15.0),
    (("pulsing", "pink"), 10.0),
    (("white", "narrow"), 10.0),
)
_SPAN = 512  # samples over which levels of phrase and noise are compared


@dataclass(frozen=True)
class Take:
    """waveform : [samples] at 16 kHz, full scale 1.0. start, end : samples between which the phrase is. name : for messages."""

    name: str
    waveform: NDArray[np.float32]
    start: int
    end: int

    @property
    def seconds(self) -> float:
        """How long the phrase is."""
        return (self.end - self.start) / SAMPLE_RATE


def read_take(source: AudioSource, *, source_rate: int | None = None, name: str | None = None) -> Take:
    """Read a recording and find the phrase in it.

    Raises HarkenError when it cannot be read, is silent, too long, or what is spoken in it is no phrase of 0.2 to 2 s.
    """
    name = name or clip_name(source)
    waveform = load_clip(source, SAMPLE_RATE, source_rate=source_rate)
    if waveform.size > _LONGEST_CLIP_S * SAMPLE_RATE:
        raise HarkenError(
            f"{name} is {waveform.size / SAMPLE_RATE:.0f} s long: a take holds the phrase once; cut it to a few seconds"
        )
    peak = float(np.abs(waveform).max(initial=0.0))
    if 20 * np.log10(peak + 1e-9) < _QUIETEST_DB:
        raise HarkenError(f"{name} is silent: record the phrase again, nearer to the microphone")
    start, end = find_phrase(waveform, name)
    return Take(name, waveform, start, end)


def find_phrase(waveform: NDArray[np.float32], name: str) -> tuple[int, int]:
    """Return the first sample of what is spoken in a recording, and the one after its last.

    Speech is what stands out from the room: above 40 % of the way, in dB, from the level of the quietest sixth of the
    recording to its loudest moment. Of several utterances, the one with most of it counts.
    """
    size = waveform.size // _FRAME
    if size < _SMOOTHED:
        raise HarkenError(f"{name} is shorter than {1000 * SHORTEST_S:.0f} ms: record the whole phrase")
    power = np.square(waveform[: size * _FRAME].reshape(size, _FRAME), dtype=np.float64).mean(axis=1)
    around = np.pad(10 * np.log10(power + 1e-10), _SMOOTHED // 2, mode="edge")
    levels = np.convolve(around, np.ones(_SMOOTHED) / _SMOOTHED, "valid")
    floor, top = float(np.percentile(levels, _FLOOR_PERCENTILE)), float(levels.max())
    if top - floor < _CLEAR_DB:
        raise HarkenError(f"{name} holds steady noise without a phrase that stands out: record it in a quieter room")
    threshold = max(floor + _FLOOR_SHARE * (top - floor), top - _RANGE_DB)
    loud = np.flatnonzero(levels > threshold)
    utterances = np.split(loud, np.flatnonzero(np.diff(loud) > _PAUSE_FRAMES) + 1)
    spoken = max(utterances, key=lambda frames: float((levels[frames] - threshold).sum()))
    start, end = int(spoken[0]) * _FRAME, (int(spoken[-1]) + 1) * _FRAME
    seconds = (end - start) / SAMPLE_RATE
    if seconds < SHORTEST_S:
        raise HarkenError(f"{name} holds {1000 * seconds:.0f} ms of speech, too little for a phrase: record it again")
    if seconds > LONGEST_S:
        raise HarkenError(
            f"{name} holds {seconds:.1f} s of speech without a pause: a phrase lasts {LONGEST_S:g} s at most"
        )
    return start, end


def sequences_of(take: Take, embedding: SpeechEmbedding, *, seed: int = 0) -> list[NDArray[np.float32]]:
    """Return the embeddings [steps, 96] of a take's phrase: as it was recorded, and in four noises."""
    waveforms = [take.waveform]
    for number, (kinds, snr_db) in enumerate(_NOISES):
        kind = kinds[seed % len(kinds)]
        waveforms.append(_in_noise(take.waveform, kind, snr_db, seed=len(_NOISES) * seed + number))
    return [_embeddings_of(waveform, take, embedding) for waveform in waveforms]


def whole_embeddings(take: Take, embedding: SpeechEmbedding) -> NDArray[np.float32]:
    """Return the embeddings of the whole recording, silence around it."""
    return embedding.embed(_padded(take.waveform))


def _embeddings_of(waveform: NDArray[np.float32], take: Take, embedding: SpeechEmbedding) -> NDArray[np.float32]:
    padded = _padded(waveform)
    before = round(_BEFORE_S * SAMPLE_RATE)
    first = before + take.start + round(_FIRST_S * SAMPLE_RATE)  # where the first embedding ends
    last = before + take.end + round(_LAST_S * SAMPLE_RATE)
    steps = max(3, round((last - first) / STEP) + 1)
    start = first - samples_of(1)
    return embedding.embed(padded[start : start + samples_of(steps)])


def _padded(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.pad(waveform, (round(_BEFORE_S * SAMPLE_RATE), round(_AFTER_S * SAMPLE_RATE)))


def _in_noise(waveform: NDArray[np.float32], kind: str, snr_db: float, *, seed: int) -> NDArray[np.float32]:
    """Return the recording with noise whose loudest 32 ms are so many dB softer than the recording's."""
    noise = steady_noise(kind, 1, waveform.size, SAMPLE_RATE, seed=seed)[0]
    gain = np.sqrt(_loudest(waveform) / _loudest(noise) * 10 ** (-snr_db / 10))
    noisy = waveform + np.float32(gain) * noise
    return np.asarray(noisy / max(1.0, float(np.abs(noisy).max())), np.float32)


def _loudest(waveform: NDArray[np.float32]) -> float:
    size = max(1, waveform.size // _SPAN) * _SPAN
    padded = np.pad(waveform, (0, max(0, size - waveform.size)))[:size]
    return float(np.square(padded.reshape(-1, _SPAN), dtype=np.float64).sum(axis=1).max()) + 1e-12


def check_lengths(takes: Sequence[Take]) -> str:
    """Return a note about takes whose lengths differ much, or ""."""
    lengths = sorted(take.seconds for take in takes)
    if len(lengths) > 1 and lengths[-1] > 2.5 * lengths[0]:
        return f"the takes last from {lengths[0]:.1f} to {lengths[-1]:.1f} s: is the phrase in all of them whole and alone?"
    return ""
