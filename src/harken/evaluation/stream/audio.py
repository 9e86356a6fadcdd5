"""Labelled continuous audio: words placed in speech, noise and silence at drawn signal-to-noise ratios.

StreamAudio        the sections of a stream, made one at a time
Utterance          a word placed in it                     Stretch   a piece of background on its own
spoken_part        where the word lies within its clip
keyword_clips      the clips of a corpus that judge a model
read_backgrounds   folders of recordings without the words, or one side of their speakers
read_part          some seconds of a recording
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import soundfile
from numpy.typing import NDArray

from harken.audio.clip import clip_rate, load_clip, to_int16
from harken.audio.resampler import Resampler
from harken.audio.sources import open_file
from harken.corpus.recordings import SpeechSide, speech_side
from harken.corpus.table import Clip, audio_files, read_corpus
from harken.errors import HarkenError
from harken.runtime.modelfile import Card

SILENCE_BACKGROUND = "silence"
SNRS_DB = (20.0, 15.0, 10.0, 5.0)
LATEST_S = 1.0  # after the end of a word, or of a recording, an event is still its own

_BEFORE_S = (1.2, 2.0)  # of background before a clip, drawn evenly
_AFTER_S = (1.5, 2.0)  # and after it: more than the second in which its event may come
_FADE_S = 0.01  # of the background around a word, so that no click announces it
_FRAME_S = 0.01
_WITHIN_DB = 30.0  # of the loudest frame: what of a clip is its word
_QUIET = 1e-5  # an RMS below a third of a 16-bit step: digital silence has no ratio to anything
_TRIES = 100
_NO_LENGTH = 1 << 40  # samples: more stands for a length that is not stated

_Waveform = NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """A word in the stream. start_s, end_s : of its spoken part. snr_db : None in silence."""

    word: str
    clip: str
    background: str
    snr_db: float | None
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Stretch:
    """A whole recording of background in the stream, in which no word is: what is heard in it is a false alarm.

    A second of silence follows, in which events that are due to its end may still come.
    """

    background: str
    path: Path
    start_s: float
    end_s: float


@dataclass(frozen=True)
class StreamAudio:
    """What a stream is made of; iterating over `sections` makes it, the same each time, a recording in memory at most.

    clips : the words, each placed once, in a background cut at random from a random recording: the kinds of background, and
    silence, take turns. A background is scaled to an SNR drawn from `snrs_db`: the RMS of the word's spoken part over that
    of the background around it. backgrounds : a name and the recordings for each kind, every recording also heard once
    on its own, from end to end. Samples are clipped to full scale and rounded to 16 bits, as a recorder would.

    Raises HarkenError when there is no clip, no background, or the ratios are impossible.
    """

    clips: Sequence[Clip]
    backgrounds: Mapping[str, Sequence[Path]]
    sample_rate: int
    snrs_db: Sequence[float] = SNRS_DB
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.clips:
            raise HarkenError("there is no clip of a word to place in the stream: name a corpus with --keywords DIR")
        for name, paths in self.backgrounds.items():
            if not paths:
                raise HarkenError(f"{name} holds no recording: name a folder with WAV, FLAC, OGG or MP3")
        if not self.backgrounds:
            raise HarkenError("there is no background to hear false alarms in: name a folder with --background DIR")
        if not self.snrs_db or not np.isfinite(self.snrs_db).all():
            raise HarkenError(f"signal-to-noise ratios {list(self.snrs_db)}: give one or more numbers, in dB")

    def __len__(self) -> int:
        """How many sections there are: one a clip, and one a recording of background."""
        return len(self.clips) + sum(map(len, self.backgrounds.values()))

    def sections(self) -> Iterator[tuple[Utterance | Stretch, Iterator[_Waveform]]]:
        """Yield each section, its times counted from its own start, and its samples piece by piece.

        The end of a stretch is not known before its samples are made: it is given as 0.
        """
        recordings = [(name, path) for name, paths in self.backgrounds.items() for path in paths]
        kinds = (SILENCE_BACKGROUND, *self.backgrounds)
        order = np.random.default_rng(self.seed).permutation(len(self)).tolist()
        placed = 0
        for index in order:
            if index >= len(self.clips):
                name, path = recordings[index - len(self.clips)]
                yield Stretch(name, path, 0.0, 0.0), self._recording(path)
            else:
                rng = np.random.default_rng((self.seed, index))
                utterance, samples = self._placed(self.clips[index], kinds[placed % len(kinds)], rng)
                placed += 1
                yield utterance, iter([samples])

    def _recording(self, path: Path) -> Iterator[_Waveform]:
        with open_file(path) as source:
            resampler = Resampler(source.sample_rate, self.sample_rate)
            for chunk in source.chunks:
                yield _recorded(resampler.push(chunk))
            yield _recorded(resampler.finish())
        yield np.zeros(
            round(LATEST_S * self.sample_rate), np.float32
        )  # else the next section would take its last events

    def _placed(self, clip: Clip, kind: str, rng: np.random.Generator) -> tuple[Utterance, _Waveform]:
        waveform = load_clip(clip.path, self.sample_rate)
        first, last = spoken_part(waveform, self.sample_rate)
        before, after = (round(rng.uniform(*limits) * self.sample_rate) for limits in (_BEFORE_S, _AFTER_S))
        samples = np.pad(waveform, (before, after))
        snr_db = None
        if kind != SILENCE_BACKGROUND:
            snr_db = float(rng.choice(np.asarray(self.snrs_db)))
            noise = self._background(kind, samples.size, rng)
            gain = _rms(waveform[first:last]) / (_rms(noise) * 10 ** (snr_db / 20))
            samples = samples + np.float32(gain) * noise
        rate = self.sample_rate
        utterance = Utterance(clip.word, clip.name, kind, snr_db, (before + first) / rate, (before + last) / rate)
        return utterance, _recorded(samples)

    def _background(self, kind: str, size: int, rng: np.random.Generator) -> _Waveform:
        paths = self.backgrounds[kind]
        for _ in range(_TRIES):
            parts: list[_Waveform] = []
            missing = size
            while missing > 0:
                parts.append(_cut(paths[int(rng.integers(len(paths)))], missing, self.sample_rate, rng))
                missing -= parts[-1].size
            noise = np.concatenate(parts)
            if _rms(noise) > _QUIET:
                fade = np.linspace(0, 1, round(_FADE_S * self.sample_rate), dtype=np.float32)
                noise[: fade.size] *= fade
                noise[-fade.size :] *= fade[::-1]
                return noise
        raise HarkenError(f"{kind} is digital silence: name recordings with something to hear")


def spoken_part(waveform: _Waveform, sample_rate: int) -> tuple[int, int]:
    """Return the first sample of the word in a clip, and the one after its last.

    The word reaches from the first to the last 10 ms whose RMS is within 30 dB of that of the loudest 10 ms.
    """
    frame = round(_FRAME_S * sample_rate)
    whole = np.pad(waveform, (0, -waveform.size % frame)).reshape(-1, frame)
    power = np.square(whole).mean(axis=1)
    loud = np.flatnonzero(power >= power.max() * 10 ** (-_WITHIN_DB / 10))
    return int(loud[0]) * frame, min(waveform.size, (int(loud[-1]) + 1) * frame)


def keyword_clips(card: Card, folders: Sequence[Path], split: Literal["validation", "test", "all"]) -> list[Clip]:
    """Return the clips of a model's words on one side of the split that its recipe made; "all" takes every clip.

    Raises HarkenError when there is none, or the model does not say how its sides were made.
    """
    if split == "all":
        clips = [clip for clip in read_corpus(folders).clips if clip.word in card.words]
    else:
        if "recipe" not in card.fields:
            raise HarkenError(f"the model does not say how its {split} side was made: take every clip with --split all")
        from harken.tasks.protocol import Material, make_task
        from harken.tasks.recipe import Recipe

        # The sides of the words do not depend on what else a recipe trains with.
        recipe = replace(Recipe.from_json(card.fields["recipe"]), unknown_share=0, silence_share=0, noise_probability=0)
        task = make_task(recipe, Material(data=tuple(folders)), judging=True)
        clips = [task.clips[row] for row in task.rows(split) if task.clips[row].word in card.words]
    if not clips:
        words = ", ".join(card.words)
        raise HarkenError(f"{folders[0]} holds no clip of the model's words ({words}) to judge it with: --split all")
    return clips


def read_backgrounds(folders: Sequence[str]) -> dict[str, list[Path]]:
    """Return the recordings of background folders by the name of the folder.

    A folder may end in `:train`, `:thresholds` or `:measure`: then it stands for those of its speakers alone, as
    harken.corpus.recordings.speech_side parts them. Raises HarkenError when a folder does not exist or holds none.
    """
    backgrounds: dict[str, list[Path]] = {}
    for given in folders:
        folder, _, side = given.rpartition(":")
        if side not in get_args(SpeechSide):
            folder, side = given, ""
        paths = audio_files(folder)
        if side:
            paths = speech_side(paths, cast(SpeechSide, side))
        if not paths:
            raise HarkenError(f"{given} holds no recording: name a folder with WAV, FLAC, OGG or MP3")
        name = Path(folder).name
        backgrounds[given if name in (*backgrounds, SILENCE_BACKGROUND) else name] = paths
    return backgrounds


def read_part(path: Path, start_s: float, end_s: float, sample_rate: int) -> _Waveform:
    """Return a part of a recording, mono at `sample_rate`; of the seconds asked for, those that there are.

    Raises HarkenError when there are none, or the recording cannot be read.
    """
    rate = clip_rate(path)  # says what is wrong with a file that cannot be read
    first, end = (max(0, round(time * rate)) for time in (start_s, end_s))
    with soundfile.SoundFile(path) as file:
        if _seeks(file):
            first, end = min(first, file.frames), min(end, file.frames)
            file.seek(first)
            samples = file.read(end - first, dtype="float32", always_2d=True).mean(axis=1)
        else:
            samples = load_clip(path, rate)[first:end]
    if not len(samples):
        raise HarkenError(f"{path} holds no samples from {start_s:.1f} s on: record it again, or take it away")
    return load_clip(samples, sample_rate, source_rate=rate)


def _seeks(file: soundfile.SoundFile) -> bool:
    """Whether a place in a file can be gone to: not in some codecs, nor in FLAC that was written into a pipe."""
    return bool(file.seekable() and file.frames < _NO_LENGTH)


def _cut(path: Path, most: int, sample_rate: int, rng: np.random.Generator) -> _Waveform:
    """Return `most` samples of a recording from a random place, or all of it where it is shorter."""
    wanted_s = most / sample_rate
    rate = clip_rate(path)  # says what is wrong with a file that cannot be read
    with soundfile.SoundFile(path) as file:
        duration_s = (file.frames if _seeks(file) else load_clip(path, rate).size) / rate
    start_s = rng.uniform(0, max(0.0, duration_s - wanted_s))
    return read_part(path, start_s, start_s + wanted_s, sample_rate)[:most]


def _rms(samples: _Waveform) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def _recorded(samples: _Waveform) -> _Waveform:
    return to_int16(samples).astype(np.float32) / np.float32(32768.0)
