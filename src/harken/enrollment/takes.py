"""Takes of a phrase: find the phrase in a recording, and compute the embeddings that templates are made of.

Take              a recording, and the position of the phrase in it
read_take         a recording -> Take
read_takes        several, no two of which may be the same
find_phrase       the position of the phrase in a recording
sequences_of      a take -> the embeddings of the phrase, clean and in four kinds of noise
talk_sequences_of a take -> the embeddings of the phrase with talk behind it
noises_of         the noise of those four kinds
whole_embeddings  a take -> the embeddings of the whole recording
check_lengths     a note on takes of very different length

serve/page/phrase-takes.js has the same rules. A test compares the two.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import AudioSource, clip_name, load_clip
from harken.corpus.synthetic_noise import steady_noise
from harken.errors import HarkenError
from harken.models.speech_embedding import SAMPLE_RATE, STEP, SpeechEmbedding, samples_of

SHORTEST_S, LONGEST_S = 0.2, 2.0  # duration of a phrase
_MAX_CLIP_S = 15.0
_MIN_PEAK_DB = -50.0  # a recording with a lower peak counts as silent
_FRAME = 160  # samples
_SMOOTHING_FRAMES = 5
_ROOM_PERCENTILE = 15.0  # of the levels in a recording: the level of the room
_THRESHOLD_SHARE = 0.4  # speech is above this fraction of the way, in dB, from the room's level to the peak
_SPEECH_RANGE_DB = 30.0  # frames more than this below the peak are never speech
_PAUSE_FRAMES = 25  # a longer pause separates two utterances
_MIN_CONTRAST_DB = 6.0  # between the room's level and the peak

# An embedding covers the last 775 ms. A template contains those that end between FIRST_S after the start of the phrase and
# LAST_S after its end, since these depend mostly on the phrase.
FIRST_S, LAST_S = 0.24, 0.32
_BEFORE_S, _AFTER_S = 1.2, 1.0  # silence added around a recording, for the first and the last embedding

# Kinds of noise, and the signal-to-noise ratio in dB. Takes are also learned in noise, because noise changes the embedding.
_NOISES = (
    (("pink", "humming"), 5.0),
    (("brown", "pulsing"), 15.0),
    (("pulsing", "pink"), 10.0),
    (("white", "narrow"), 10.0),
)
# Talk behind a phrase, and how much softer it is, in dB. It is made of the phrase itself, backwards.
_TALK_SNRS_DB = (8.0, 14.0, 20.0)
_LEVEL_SAMPLES = 512  # length of the loudest part of phrase and noise, whose levels are compared


@dataclass(frozen=True)
class Take:
    """A recording, and the position of the phrase in it.

    Attributes
    ----------
    name
        Name of the recording in messages.
    waveform
        The recording [samples] at 16 kHz, full scale 1.0.
    start, end
        First sample of the phrase, and the one after its last.
    """

    name: str
    waveform: NDArray[np.float32]
    start: int
    end: int

    @property
    def seconds(self) -> float:
        """Duration of the phrase in seconds."""
        return (self.end - self.start) / SAMPLE_RATE


def read_take(source: AudioSource, *, source_rate: int | None = None, name: str | None = None) -> Take:
    """Read a recording and find the phrase in it.

    Parameters
    ----------
    source
        Path, open binary file, or array.
    source_rate
        Sample rate of an array in Hz.
    name
        Name of the recording in messages. Default: its file name.

    Raises
    ------
    HarkenError
        If the recording cannot be read, is silent or too long, or contains no phrase of 0.2 to 2 s.
    """
    name = name or clip_name(source)
    waveform = load_clip(source, SAMPLE_RATE, source_rate=source_rate)
    if waveform.size > _MAX_CLIP_S * SAMPLE_RATE:
        raise HarkenError(
            f"{name} is {waveform.size / SAMPLE_RATE:.0f} s long: a take contains the phrase once; cut it to a few seconds"
        )
    peak = float(np.abs(waveform).max(initial=0.0))
    if 20 * np.log10(peak + 1e-9) < _MIN_PEAK_DB:
        raise HarkenError(f"{name} is silent: record the phrase again, closer to the microphone")
    start, end = find_phrase(waveform, name)
    return Take(name, waveform, start, end)


def read_takes(clips: Iterable[AudioSource], *, source_rate: int | None = None) -> list[Take]:
    """Read recordings with `read_take`. Arrays, at `source_rate` in Hz, are named `clip 1`, `clip 2`, ....

    Raises
    ------
    HarkenError
        As for `read_take`, or if two recordings are the same.
    """
    takes: list[Take] = []
    for number, clip in enumerate(clips, 1):
        if isinstance(clip, np.ndarray):
            take = read_take(clip, source_rate=source_rate, name=f"clip {number}")
        else:
            take = read_take(clip)
        for earlier in takes:
            if np.array_equal(earlier.waveform, take.waveform):
                raise HarkenError(f"{earlier.name} and {take.name} are the same recording: give different ones")
        takes.append(take)
    return takes


def find_phrase(waveform: NDArray[np.float32], name: str) -> tuple[int, int]:
    """Find the phrase in a recording.

    The level of the room is the 15th percentile of the levels in the recording. Speech is what is above 40 % of the way, in
    dB, from there to the loudest moment. If there are several utterances, the most prominent one is the phrase.

    Parameters
    ----------
    waveform
        The recording [samples] at 16 kHz.
    name
        Name of the recording in messages.

    Returns
    -------
    tuple of int
        The first sample of the phrase, and the one after its last.

    Raises
    ------
    HarkenError
        If nothing stands out from the room, or the utterance is not 0.2 to 2 s long.
    """
    size = waveform.size // _FRAME
    if size < _SMOOTHING_FRAMES:
        raise HarkenError(f"{name} is shorter than {1000 * SHORTEST_S:.0f} ms: record the whole phrase")
    power = np.square(waveform[: size * _FRAME].reshape(size, _FRAME), dtype=np.float64).mean(axis=1)
    padded_levels = np.pad(10 * np.log10(power + 1e-10), _SMOOTHING_FRAMES // 2, mode="edge")
    levels = np.convolve(padded_levels, np.ones(_SMOOTHING_FRAMES) / _SMOOTHING_FRAMES, "valid")
    room, top = float(np.percentile(levels, _ROOM_PERCENTILE)), float(levels.max())
    if top - room < _MIN_CONTRAST_DB:
        raise HarkenError(f"{name} contains steady noise without a phrase that stands out: record it in a quieter room")
    threshold = max(room + _THRESHOLD_SHARE * (top - room), top - _SPEECH_RANGE_DB)
    loud = np.flatnonzero(levels > threshold)
    utterances = np.split(loud, np.flatnonzero(np.diff(loud) > _PAUSE_FRAMES) + 1)
    phrase = max(utterances, key=lambda frames: float((levels[frames] - threshold).sum()))
    start, end = int(phrase[0]) * _FRAME, (int(phrase[-1]) + 1) * _FRAME
    seconds = (end - start) / SAMPLE_RATE
    if seconds < SHORTEST_S:
        raise HarkenError(
            f"{name} contains {1000 * seconds:.0f} ms of speech, too little for a phrase: record it again"
        )
    if seconds > LONGEST_S:
        raise HarkenError(
            f"{name} contains {seconds:.1f} s of speech without a pause: a phrase may last {LONGEST_S:g} s"
        )
    return start, end


def sequences_of(take: Take, embedding: SpeechEmbedding, *, seed: int = 0) -> list[NDArray[np.float32]]:
    """Return the embeddings [steps, 96] of a take's phrase: as it was recorded, and in each of four kinds of noise."""
    noises = noises_of(seed, take.waveform.size)
    noisy = [_in_noise(take.waveform, noise, snr_db) for noise, (_, snr_db) in zip(noises, _NOISES, strict=True)]
    return [_embeddings_of(_padded(waveform), take, embedding) for waveform in (take.waveform, *noisy)]


def talk_sequences_of(take: Take, embedding: SpeechEmbedding) -> list[NDArray[np.float32]]:
    """Return the embeddings [steps, 96] of a take's phrase with talk behind it, at each of three levels.

    An embedding depends on what is heard for half a second before the phrase. In a take, that is silence; behind somebody
    else's speech, the same embeddings would not be found again. Backwards, the phrase has the sounds and the voice of speech,
    but not its words, so no other recordings are needed.
    """
    padded, backwards = _padded(take.waveform), take.waveform[take.start : take.end][::-1]
    sequences = []
    for number, snr_db in enumerate(_TALK_SNRS_DB):
        shift = number * backwards.size // len(_TALK_SNRS_DB)
        talk = np.resize(np.roll(backwards, -shift), padded.size)
        noisy = padded + np.float32(10 ** (-snr_db / 20)) * talk
        noisy = np.asarray(noisy / max(1.0, float(np.abs(noisy).max())), np.float32)
        sequences.append(_embeddings_of(noisy, take, embedding))
    return sequences


def noises_of(seed: int, samples: int) -> list[NDArray[np.float32]]:
    """Return the noise [samples] of each of the four kinds in which a take is learned. The level is arbitrary."""
    return [
        steady_noise(kinds[seed % len(kinds)], 1, samples, SAMPLE_RATE, seed=len(_NOISES) * seed + number)[0]
        for number, (kinds, _) in enumerate(_NOISES)
    ]


def whole_embeddings(take: Take, embedding: SpeechEmbedding) -> NDArray[np.float32]:
    """Return the embeddings [steps, 96] of the whole recording, with silence before and after it."""
    return embedding.embed(_padded(take.waveform))


def _embeddings_of(padded: NDArray[np.float32], take: Take, embedding: SpeechEmbedding) -> NDArray[np.float32]:
    """Return the embeddings of the phrase in a recording with silence before and after it."""
    before = round(_BEFORE_S * SAMPLE_RATE)
    first = before + take.start + round(FIRST_S * SAMPLE_RATE)  # end of the first embedding
    last = before + take.end + round(LAST_S * SAMPLE_RATE)
    steps = max(3, round((last - first) / STEP) + 1)
    start = first - samples_of(1)
    return embedding.embed(padded[start : start + samples_of(steps)])


def _padded(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.pad(waveform, (round(_BEFORE_S * SAMPLE_RATE), round(_AFTER_S * SAMPLE_RATE)))


def _in_noise(waveform: NDArray[np.float32], noise: NDArray[np.float32], snr_db: float) -> NDArray[np.float32]:
    """Mix a recording with noise. The loudest 32 ms of the noise are `snr_db` below the loudest 32 ms of the recording."""
    gain = np.sqrt(_loudest_energy(waveform) / _loudest_energy(noise) * 10 ** (-snr_db / 10))
    noisy = waveform + np.float32(gain) * noise
    return np.asarray(noisy / max(1.0, float(np.abs(noisy).max())), np.float32)


def _loudest_energy(waveform: NDArray[np.float32]) -> float:
    size = max(1, waveform.size // _LEVEL_SAMPLES) * _LEVEL_SAMPLES
    padded = np.pad(waveform, (0, max(0, size - waveform.size)))[:size]
    return float(np.square(padded.reshape(-1, _LEVEL_SAMPLES), dtype=np.float64).sum(axis=1).max()) + 1e-12


def check_lengths(takes: Sequence[Take]) -> str:
    """Return a note if the lengths of the takes differ by a factor above 2.5, else an empty text."""
    lengths = sorted(take.seconds for take in takes)
    if len(lengths) > 1 and lengths[-1] > 2.5 * lengths[0]:
        return f"the takes last from {lengths[0]:.1f} to {lengths[-1]:.1f} s: each must contain the phrase alone"
    return ""
