"""Make labeled continuous audio: words placed in speech, noise and silence at random signal-to-noise ratios.

StreamAudio         the sections of a stream, made one at a time
Utterance           a section with a word placed in background
BackgroundSection   a section of background without a word
spoken_part         find the word within its clip
keyword_clips       choose the clips of a corpus to evaluate on
read_backgrounds    list recordings without the words, from folders
read_wake_clips     list the recordings of a wake phrase in a folder
read_part           read some seconds of a recording
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import soundfile
from numpy.typing import NDArray

from harken.audio.channels import mix_channels
from harken.audio.clip import LENGTH_UNKNOWN, clip_rate, in_16_bits, load_clip
from harken.audio.decoder import libsndfile_path
from harken.audio.resampler import Resampler
from harken.audio.sources import open_file
from harken.corpus.layout import require_spelling
from harken.corpus.recordings import SpeechSide, speech_side
from harken.corpus.table import Clip, audio_files, read_corpus
from harken.errors import HarkenError
from harken.runtime.modelfile import Card

SILENCE_BACKGROUND = "silence"
SNRS_DB = (20.0, 15.0, 10.0, 5.0)
DETECTION_DEADLINE_S = 1.0  # An event up to this long after the end of a word (or a recording) still belongs to it.

_BEFORE_S = (1.2, 2.0)  # range of the background before a clip
_PAUSE_S = (0.5, 1.5)  # range of the pause between a wake phrase and a word
_AFTER_S = (1.5, 2.0)  # range of the background after a clip; longer than the deadline of its event
_FADE_S = 0.01  # The background around a word fades in and out, so that no click announces the word.
_FRAME_S = 0.01
_SPOKEN_RANGE_DB = 30.0  # Frames within this range of the loudest frame count as the word.
_MAX_SNR_DB = 100
_SILENT_RMS = 1e-5  # A third of a 16-bit step: what is below is digital silence, which has no signal-to-noise ratio.
_LEAST_PART_S = 0.1  # of a recording that is read
_MAX_TRIES = 100  # to find background that is not silent

_Waveform = NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """A section with one word placed in background.

    Attributes
    ----------
    word
        The word.
    clip
        Name of its clip.
    background
        Name of the background.
    snr_db
        Signal-to-noise ratio; None in silence.
    start_s, end_s
        Start and end of the spoken part.
    phrase_start_s, phrase_end_s
        Start and end of the wake phrase before the word; None if there is none.
    """

    word: str
    clip: str
    background: str
    snr_db: float | None
    start_s: float
    end_s: float
    phrase_start_s: float | None = None
    phrase_end_s: float | None = None

    def moved(self, by_s: float) -> "Utterance":
        """Return the section with all times moved by some seconds."""
        names = ("start_s", "end_s", "phrase_start_s", "phrase_end_s")
        times = {name: time + by_s for name in names if (time := getattr(self, name)) is not None}
        return replace(self, **times)


@dataclass(frozen=True)
class BackgroundSection:
    """A section with a whole background recording and no word: every event in it is a false alarm.

    A second of silence follows, for events that the end of the recording causes.

    Attributes
    ----------
    background
        Name of the background.
    path
        The recording.
    start_s, end_s
        Start and end of the recording.
    """

    background: str
    path: Path
    start_s: float
    end_s: float


@dataclass(frozen=True)
class StreamAudio:
    """The content of a stream. Iterating over `sections` makes the audio, the same each time.

    At most one recording is in memory at a time. Samples are clipped to full scale and rounded to 16 bits, as a recorder
    would.

    Attributes
    ----------
    clips
        The clips of words. Each is placed once, in background cut at random from a random recording. The kinds of
        background, and silence, take turns.
    backgrounds
        The recordings of each kind of background, by name. Each recording is also played once from end to end,
        without a word.
    sample_rate
        Sample rate of the stream, in Hz.
    snrs_db
        Signal-to-noise ratios to draw from: RMS of the word's spoken part over RMS of the background around it.
    seed
        Random seed.
    wake_clips
        Recordings of a wake phrase. A random one is placed before each word, with a pause of 0.5 to 1.5 s, and as loud as
        the word. Default: none.

    Raises
    ------
    HarkenError
        There is no clip or no background, or a ratio is not a number.
    """

    clips: Sequence[Clip]
    backgrounds: Mapping[str, Sequence[Path]]
    sample_rate: int
    snrs_db: Sequence[float] = SNRS_DB
    seed: int = 0
    wake_clips: Sequence[Path] = ()

    def __post_init__(self) -> None:
        if not self.clips:
            raise HarkenError("no clips of words to place in the stream: give a corpus with --keywords DIR")
        for name, paths in self.backgrounds.items():
            if not paths:
                raise HarkenError(f"{name} contains no recordings: give a folder with WAV, FLAC, OGG or MP3 files")
        if not self.backgrounds:
            raise HarkenError("no background to count false alarms in: give a folder with --background DIR")
        if not self.snrs_db or not (np.abs(self.snrs_db) <= _MAX_SNR_DB).all():
            raise HarkenError(
                f"signal-to-noise ratios {list(self.snrs_db)}: give one or more numbers from -{_MAX_SNR_DB} to {_MAX_SNR_DB} dB"
            )

    def __len__(self) -> int:
        """Return the number of sections: one for each clip and one for each background recording."""
        return len(self.clips) + sum(map(len, self.backgrounds.values()))

    def sections(self) -> Iterator[tuple[Utterance | BackgroundSection, Iterator[_Waveform]]]:
        """Yield each section with its samples, piece by piece.

        Times count from the start of the section. The end of a BackgroundSection is given as 0, since it is not known
        before its samples are made.
        """
        recordings = [(name, path) for name, paths in self.backgrounds.items() for path in paths]
        kinds = (SILENCE_BACKGROUND, *self.backgrounds)
        order = np.random.default_rng(self.seed).permutation(len(self)).tolist()
        placed = 0
        for index in order:
            if index >= len(self.clips):
                name, path = recordings[index - len(self.clips)]
                yield BackgroundSection(name, path, 0.0, 0.0), self._recording(path)
            else:
                rng = np.random.default_rng((self.seed, index))
                utterance, samples = self._place_word(self.clips[index], kinds[placed % len(kinds)], rng)
                placed += 1
                yield utterance, iter([samples])

    def _recording(self, path: Path) -> Iterator[_Waveform]:
        with open_file(path) as source:
            resampler = Resampler(source.sample_rate, self.sample_rate)
            for chunk in source.chunks:
                yield in_16_bits(resampler.push(chunk))
            yield in_16_bits(resampler.finish())
        yield np.zeros(
            round(DETECTION_DEADLINE_S * self.sample_rate), np.float32
        )  # Without this silence, the last events would fall into the next section.

    def _place_word(self, clip: Clip, kind: str, rng: np.random.Generator) -> tuple[Utterance, _Waveform]:
        waveform = load_clip(clip.path, self.sample_rate)
        first, last = spoken_part(waveform, self.sample_rate)
        before, after = (round(rng.uniform(*limits) * self.sample_rate) for limits in (_BEFORE_S, _AFTER_S))
        level = _rms(waveform[first:last])
        phrase, pause = self._draw_phrase(level, rng) if self.wake_clips else (np.zeros(0, np.float32), 0)
        before += phrase.size + max(0, pause - first)
        samples = np.pad(waveform, (before, after))
        phrase_end = before + first - pause
        samples[phrase_end - phrase.size : phrase_end] += phrase
        snr_db = None
        if kind != SILENCE_BACKGROUND:
            snr_db = float(rng.choice(np.asarray(self.snrs_db)))
            noise = self._cut_background(kind, samples.size, rng)
            gain = level / (_rms(noise) * 10 ** (snr_db / 20))
            samples = samples + np.float32(gain) * noise
        rate = self.sample_rate
        utterance = Utterance(clip.word, clip.name, kind, snr_db, (before + first) / rate, (before + last) / rate)
        if self.wake_clips:
            phrase_start_s, phrase_end_s = (phrase_end - phrase.size) / rate, phrase_end / rate
            utterance = replace(utterance, phrase_start_s=phrase_start_s, phrase_end_s=phrase_end_s)
        return utterance, in_16_bits(samples)

    def _draw_phrase(self, level: float, rng: np.random.Generator) -> tuple[_Waveform, int]:
        """Return the spoken part of a random wake phrase at a level, and the pause after it in samples."""
        path = self.wake_clips[int(rng.integers(len(self.wake_clips)))]
        pause = round(rng.uniform(*_PAUSE_S) * self.sample_rate)
        waveform = load_clip(path, self.sample_rate)
        first, last = spoken_part(waveform, self.sample_rate)
        phrase = waveform[first:last]
        if (own := _rms(phrase)) <= _SILENT_RMS:
            raise HarkenError(f"{path} is digital silence: remove it from --wake-clips")
        return phrase * np.float32(level / own), pause

    def _cut_background(self, kind: str, size: int, rng: np.random.Generator) -> _Waveform:
        paths = self.backgrounds[kind]
        for _ in range(_MAX_TRIES):
            parts: list[_Waveform] = []
            missing = size
            while missing > 0:
                parts.append(_random_part(paths[int(rng.integers(len(paths)))], missing, self.sample_rate, rng))
                missing -= parts[-1].size
            noise = np.concatenate(parts)
            if _rms(noise) > _SILENT_RMS:
                fade = np.linspace(0, 1, round(_FADE_S * self.sample_rate), dtype=np.float32)
                noise[: fade.size] *= fade
                noise[-fade.size :] *= fade[::-1]
                return noise
        raise HarkenError(f"{kind} is digital silence: give recordings with sound in them")


def spoken_part(waveform: _Waveform, sample_rate: int) -> tuple[int, int]:
    """Find the word in a clip: return the index of its first sample, and the index after its last.

    The word reaches from the first to the last frame of 10 ms whose level is within 30 dB of the loudest frame.
    """
    frame = round(_FRAME_S * sample_rate)
    whole = np.pad(waveform, (0, -waveform.size % frame)).reshape(-1, frame)
    power = np.square(whole).mean(axis=1)
    loud = np.flatnonzero(power >= power.max() * 10 ** (-_SPOKEN_RANGE_DB / 10))
    return int(loud[0]) * frame, min(waveform.size, (int(loud[-1]) + 1) * frame)


def keyword_clips(card: Card, given: Sequence[str], split: Literal["validation", "test", "all"]) -> list[Clip]:
    """Return the clips of a model's words in corpus folders.

    Parameters
    ----------
    card
        The model's card, with its words and the recipe that made its split.
    given
        Corpus folders. `:thresholds` or `:measure` after a path selects half of the speakers, by the SHA-1 of their names, so
        that thresholds are not measured on the recordings that they were chosen on. A clip whose speaker is not known counts
        as a speaker of its own.
    split
        "validation" or "test", as the model's recipe splits the folders, or "all" for every clip.

    Raises
    ------
    HarkenError
        There are no such clips, the folders are not of the same side, or the model does not state how its split was made.
    """
    parts = [_folder_side(path) for path in given]
    folders, (side, *other) = [Path(folder) for folder, _ in parts], dict.fromkeys(side for _, side in parts)
    if other:
        raise HarkenError(
            f"{given[0]} and {given[-1]} are not of the same side: give the same after each folder, or none"
        )
    if side == "train":
        raise HarkenError(
            f"{given[0]}: clips of words are divided into two sides, {folders[0]}:thresholds and :measure"
        )
    if split == "all":
        corpus = read_corpus(folders)
        require_spelling(corpus.words, card.words, corpus.roots)
        clips = [clip for clip in corpus.clips if clip.word in card.words]
    else:
        if "recipe" not in card.fields:
            raise HarkenError(f"the model does not state how its {split} set was made: use every clip with --split all")
        from harken.tasks.protocol import Material, make_task
        from harken.tasks.recipe import Recipe

        # The split of the words does not depend on what else a recipe trains with.
        recipe = replace(Recipe.from_json(card.fields["recipe"]), unknown_share=0, silence_share=0, noise_probability=0)
        task = make_task(recipe, Material(data=tuple(folders)), evaluation_only=True)
        clips = [task.clips[row] for row in task.rows(split) if task.clips[row].word in card.words]
    if side:
        clips = [clip for clip in clips if _half_of(clip.speaker or clip.name) == side]
    if not clips:
        words = ", ".join(card.words)
        kind, fix = ("clips", "give another corpus") if split == "all" else (f"{split} clips", "add --split all")
        raise HarkenError(f"{given[0]} contains no {kind} of the model's words ({words}): {fix}")
    return clips


def _half_of(speaker: str) -> SpeechSide:
    name = speaker.encode(errors="surrogateescape")  # a file's name can be any bytes
    return "thresholds" if hashlib.sha1(name).digest()[-1] % 2 else "measure"


def _folder_side(given: str) -> tuple[str, SpeechSide | None]:
    """Divide `FOLDER:SIDE`. Without a side, the whole text is the folder."""
    folder, _, side = given.rpartition(":")
    return (folder, cast(SpeechSide, side)) if side in get_args(SpeechSide) else (given, None)


def read_backgrounds(folders: Sequence[str]) -> dict[str, list[Path]]:
    """Return the recordings of background folders, by the name of the folder.

    Parameters
    ----------
    folders
        Paths. `:train`, `:thresholds` or `:measure` after a path selects only those speakers, as
        harken.corpus.recordings.speech_side divides them.

    Raises
    ------
    HarkenError
        A folder does not exist or contains no such recordings, or two of them contain the same.
    """
    backgrounds: dict[str, list[Path]] = {}
    seen: dict[Path, str] = {}
    for given in folders:
        folder, side = _folder_side(given)
        paths = audio_files(folder)
        if not paths:
            raise HarkenError(f"{folder} contains no recordings: give a folder with WAV, FLAC, OGG or MP3 files")
        if side and not (paths := speech_side(paths, side)):
            raise HarkenError(
                f"{folder} contains recordings, but of no speaker on the side {side}: add other speakers, or give the folder "
                f"without :{side}"
            )
        real = [path.resolve() for path in paths]
        for path in real:
            if path in seen:  # its hours and false alarms would count twice
                raise HarkenError(f"{seen[path]} and {given} contain the same recording, {path.name}: give it once")
        seen |= dict.fromkeys(real, given)
        name = Path(folder).resolve().name
        backgrounds[given if name in (*backgrounds, SILENCE_BACKGROUND) else name] = paths
    return backgrounds


def read_wake_clips(folder: Path) -> list[Path]:
    """Return the recordings of a wake phrase in a folder.

    Raises
    ------
    HarkenError
        The folder does not exist or contains no recordings.
    """
    if not (paths := audio_files(folder)):
        raise HarkenError(
            f"--wake-clips {folder} contains no recordings: give a folder with WAV, FLAC, OGG or MP3 files"
        )
    return paths


def read_part(path: Path, start_s: float, end_s: float, sample_rate: int) -> _Waveform:
    """Return a part of a recording as mono audio. It is shorter if the recording does not cover all of it.

    Parameters
    ----------
    path
        The recording.
    start_s, end_s
        Start and end of the part.
    sample_rate
        Wanted sample rate, in Hz.

    Raises
    ------
    HarkenError
        The recording cannot be read, or has no samples in this part.
    """
    rate = clip_rate(path)  # Raises a clear error if the file cannot be read.
    first, end = (max(0, round(time * rate)) for time in (start_s, end_s))
    with soundfile.SoundFile(libsndfile_path(path)) as file:
        if _is_seekable(file):
            first, end = min(first, file.frames), min(end, file.frames)
            file.seek(first)
            samples = file.read(end - first, dtype="float32", always_2d=True)
        else:
            samples = load_clip(path, rate)[first:end]
    if not len(samples):
        raise HarkenError(f"{path} has no samples from {start_s:.1f} s on: record it again, or remove it")
    # `load_clip` takes an array with more channels than samples for a transposed one.
    mono = mix_channels(samples) if samples.ndim == 2 and samples.shape[1] > 1 else samples.reshape(-1)
    return load_clip(mono, sample_rate, source_rate=rate)


def _is_seekable(file: soundfile.SoundFile) -> bool:
    """Return whether a file is seekable. Some codecs are not, nor is FLAC that was written into a pipe.

    A WAV whose recorder was cut off states no samples: only `load_clip` reads it.
    """
    return bool(file.seekable() and 0 < file.frames < LENGTH_UNKNOWN)


def _random_part(path: Path, size: int, sample_rate: int, rng: np.random.Generator) -> _Waveform:
    """Return `size` samples of a recording from a random position, or fewer if the recording ends before."""
    # A few samples at another rate can be none in the recording.
    wanted_s = max(size / sample_rate, _LEAST_PART_S)
    rate = clip_rate(path)  # Raises a clear error if the file cannot be read.
    with soundfile.SoundFile(libsndfile_path(path)) as file:
        duration_s = (file.frames if _is_seekable(file) else load_clip(path, rate).size) / rate
    start_s = rng.uniform(0, max(0.0, duration_s - wanted_s))
    # One frame more, since both ends are rounded to whole frames.
    return read_part(path, start_s, start_s + wanted_s + 1 / rate, sample_rate)[:size]


def _rms(samples: _Waveform) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
