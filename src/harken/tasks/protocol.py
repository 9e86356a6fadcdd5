"""Turn a corpus into a task: the classes, and the class and the side of each clip.

Material          the folders of a run
Task              the result
make_task         a recipe and folders -> Task
side_waveforms    the waveforms and classes of one side

There are four protocols:

tutorial    only the words, clips of exact length, the tutorial's random split (speakers are on several sides)
v12         ten words, `_unknown_` and `_silence_`; the official split (arXiv:1804.03209)
v35         every word is a class; the official split
own         the words of any folder, `_unknown_` from its folder of that name and from other corpora, and `_silence_`; split by
            speaker
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.corpus import split
from harken.corpus.pack import PackedClips, pack
from harken.corpus.recordings import Recordings, join_recordings, noise_side, read_recordings, speech_side
from harken.corpus.synthetic_noise import make_synthetic_noise
from harken.corpus.table import Clip, Corpus, audio_files, read_corpus, same_content, skipped_audio
from harken.errors import HarkenError
from harken.labels import SILENCE, UNKNOWN
from harken.tasks.recipe import Recipe
from harken.tasks.silence import SilenceWindow, draw_silence, silence_waveforms

_OWN_VALIDATION = 0.15  # share of validation in the protocol `own`
_OFFICIAL_SHARE = 0.1  # validation examples of `_unknown_` and of `_silence_`, as a fraction of the word clips


@dataclass(frozen=True, kw_only=True)
class Material:
    """The folders that a run learns from.

    Attributes
    ----------
    data
        Corpora, split into training, validation and test.
    other
        Corpora in which every word is `_unknown_` (protocol `own`).
    noise
        Recordings without speech.
    speech
        Running speech without the keywords.
    train_only
        Corpora used for training only, such as synthetic ones.
    """

    data: tuple[Path, ...]
    other: tuple[Path, ...] = ()
    noise: tuple[Path, ...] = ()
    speech: tuple[Path, ...] = ()
    train_only: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, list[str]]:
        """Return the absolute paths of the folders, as `from_json` reads them."""
        return {name: [str(path.absolute()) for path in paths] for name, paths in vars(self).items()}

    @classmethod
    def from_json(cls, folders: Mapping[str, Sequence[str]]) -> "Material":
        """Return the folders that `to_json` wrote. Raises TypeError or AttributeError for anything else."""
        return cls(**{name: tuple(map(Path, paths)) for name, paths in folders.items()})


@dataclass(frozen=True)
class Task:
    """A corpus under a protocol.

    Attributes
    ----------
    labels
        The classes, in the order of the network's outputs.
    clips, packed
        The clips, and their samples.
    classes, sides
        Class and side of each packed clip, [clips]. The side is "" if the protocol does not use the clip.
    noise, speech
        Recordings for noise, `_silence_` and unknown speech in training, if any.
    held_out_noise, silence
        Noise for evaluation, and its windows on the validation side.
    duplicates
        Number of duplicate clips in the folders. Each recording is used once.
    synthetic_noise
        Whether the noise was generated because no recordings were given.
    notes
        What the user should know about the folders, one line each.
    """

    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    packed: PackedClips
    classes: NDArray[np.int64]
    sides: NDArray[np.str_]
    noise: Recordings | None = None
    speech: Recordings | None = None
    held_out_noise: Recordings | None = None
    silence: tuple[SilenceWindow, ...] = ()
    duplicates: int = 0
    synthetic_noise: bool = False
    notes: tuple[str, ...] = ()

    @property
    def words(self) -> int:
        """Number of classes that are words. They are the first ones."""
        return sum(label not in (UNKNOWN, SILENCE) for label in self.labels)

    def rows(self, side: str) -> NDArray[np.int64]:
        """Return the packed rows of a side (`train`, `validation` or `test`)."""
        return np.flatnonzero(self.sides == side)

    def silence_waveforms(self, samples: int) -> NDArray[np.float32]:
        """Return the waveforms of the windows of silence, float32 [windows, samples]."""
        if self.held_out_noise is None:
            return np.zeros((0, samples), np.float32)
        return silence_waveforms(self.silence, self.held_out_noise, samples)


def make_task(recipe: Recipe, material: Material, *, cache: Path | None = None, evaluation_only: bool = False) -> Task:
    """Read, split and pack the clips of a recipe.

    Parameters
    ----------
    recipe
        The protocol, the words and the shares of the classes.
    material
        The folders.
    cache
        Folder for packed clips. Default: harken's cache folder.
    evaluation_only
        The task is only used for evaluation, so that sides without clips are accepted.

    Raises
    ------
    HarkenError
        If a folder, a side or a class has no clips, or a folder is given that the protocol does not use.
    """
    _refuse_unused_folders(recipe, material, evaluation_only=evaluation_only)
    only = recipe.words if recipe.protocol == "tutorial" and recipe.words else None  # other words are not needed
    notes: list[str] = []

    def read(folders: Sequence[Path], words: Sequence[str] | None = None) -> Corpus:
        corpus = read_corpus(folders, words=words, cache=cache)
        notes.extend(corpus.notes)
        return corpus

    corpus = read(material.data, only)
    split_clips = {"tutorial": _tutorial, "v12": _official, "v35": _official, "own": _own}[recipe.protocol]
    labels, clips, sides = split_clips(recipe, material, corpus, read)
    # A user's recordings have any length, and the word can be anywhere in them.
    centered = recipe.protocol == "own"
    packed = pack(clips, sample_rate=recipe.sample_rate, samples=recipe.samples, centered=centered, cache=cache)
    if recipe.protocol == "tutorial":
        sides = _tutorial_sides(recipe, material, labels, clips, packed.lengths)
    notes += filter(None, map(skipped_audio, (*material.noise, *material.speech)))
    index = {label: number for number, label in enumerate(labels)}
    recorded = [*_files(material.noise), *corpus.noise]
    noise, held_out = _noise(recipe, recorded, evaluation_only=evaluation_only)
    task = Task(
        labels=labels,
        clips=tuple(clips),
        packed=packed,
        classes=np.array([index.get(clip.word, index.get(UNKNOWN, -1)) for clip in clips]),
        sides=np.where(packed.lengths > 0, np.array(sides), ""),
        noise=noise,
        speech=_speech(recipe, material) if UNKNOWN in labels else None,
        held_out_noise=held_out,
        duplicates=len(corpus.duplicates),
        synthetic_noise=noise is not None and not recorded,
        notes=tuple(notes),
    )
    if SILENCE in labels and held_out is not None:
        task = replace(task, silence=_silence_windows(recipe, task, held_out))
    if not evaluation_only:
        _require_clips(recipe, task, material)
    return task


def _refuse_unused_folders(recipe: Recipe, material: Material, *, evaluation_only: bool) -> None:
    """Refuse folders that the protocol does not use, because the user expects that they are used."""
    if material.other and recipe.protocol != "own":
        raise HarkenError(f"{_names(material.other)}: only the recipe own uses --other; omit it for {recipe.protocol}")
    if evaluation_only:
        return
    if recipe.protocol == "tutorial":
        for option, folders in (("--train-only", material.train_only), ("--speech", material.speech)):
            if folders:
                raise HarkenError(
                    f"{_names(folders)}: the recipe tutorial does not use {option}; omit it, or use the recipe v12"
                )
    if recipe.unknown_share == 0:
        for option, folders in (("--other", material.other), ("--speech", material.speech)):
            if folders:
                raise HarkenError(
                    f"{_names(folders)}: this recipe has no {UNKNOWN}; omit {option}, or set unknown_share"
                )
    if material.noise and recipe.silence_share == recipe.noise_probability == 0:
        raise HarkenError(
            f"{_names(material.noise)}: this recipe does not use noise; omit --noise, or set noise_probability"
        )


def _require_clips(recipe: Recipe, task: Task, material: Material) -> None:
    """Refuse a task without clips for training or validation."""
    folders = _names(material.data)
    for side in ("train", "validation"):
        if not len(task.rows(side)):
            raise HarkenError(f"no clips of {folders} are on the {side} side: add more clips or speakers")
    trained = set(task.classes[task.rows("train")].tolist())
    for number, label in enumerate(task.labels):
        if (
            number in trained
            or label == SILENCE
            or (label == UNKNOWN and (task.speech is not None or recipe.bank_windows))
        ):
            continue
        if label == UNKNOWN:
            raise HarkenError(
                f"{folders} contains nothing to use for {UNKNOWN}: add clips of other words, or set unknown_share=0"
            )
        raise HarkenError(f"no clips of {label} in {folders} are on the train side: add clips or speakers of that word")
    if recipe.chained_share and task.speech is not None and task.labels.index(UNKNOWN) not in trained:
        raise HarkenError(
            f"{folders} contains no clips of other words to join into running speech: add some (with the recipe own, as --other "
            "DIR), or set chained_share=0"
        )
    if task.words == 1 and UNKNOWN not in task.labels:
        advice = "add folders of other words, or use --recipe own with --other DIR"
        if recipe.protocol == "own":
            advice = "add --other DIR (clips of other words, which `harken corpus speak` can generate) or --speech DIR"
        raise HarkenError(
            f"{folders} contains only the word {task.labels[0]}: the model would take every other word for it; {advice}"
        )


_Read = Callable[[Sequence[Path]], Corpus]
_Split = tuple[tuple[str, ...], Sequence[Clip], Sequence[str]]  # labels, clips, and the side of each clip


def _tutorial(recipe: Recipe, material: Material, corpus: Corpus, read: _Read) -> _Split:
    words = recipe.words or corpus.words
    clips = corpus.of_words(words).clips
    return words, clips, [""] * len(clips)  # split after packing, which measures the lengths


def _tutorial_sides(
    recipe: Recipe, material: Material, words: Sequence[str], clips: Sequence[Clip], lengths: NDArray[np.int32]
) -> list[str]:
    kept = np.flatnonzero(lengths == recipe.samples if recipe.exact_length else lengths > 0).tolist()
    try:
        drawn = split.tutorial([words.index(clips[row].word) for row in kept], seed=recipe.seed)
    except HarkenError as error:
        exact = any_length = ""
        if recipe.exact_length:
            others = np.count_nonzero(lengths > 0) - len(kept)
            exact = f" of exactly {recipe.window_s} s, and {others} of other lengths"
            any_length = ", or train with --set exact_length=false"
        raise HarkenError(
            f"{_names(material.data)} contains {len(kept)} clips{exact}: too few to split {len(words)} words like the "
            f"tutorial; add clips{any_length}, or evaluate a model on all of them with --split all"
        ) from error
    sides = [""] * len(clips)
    for row, side in zip(kept, drawn, strict=True):
        sides[row] = side
    return sides


def _official(recipe: Recipe, material: Material, corpus: Corpus, read: _Read) -> _Split:
    words = recipe.words or _words(corpus)
    corpus.of_words(words)  # raises an error that names missing words
    unknown = recipe.unknown_share > 0
    official = split.official(corpus)
    validating = _unknown_validation_clips(recipe, corpus, official, words) if unknown else set()
    clips: list[Clip] = []
    sides: list[str] = []
    unused: list[Clip] = []  # clips of the validation and test sides
    for clip, side in zip(corpus.clips, official, strict=True):
        if clip.word not in words:
            if clip.path in validating:
                side = "validation"
            elif not unknown or side != "train" or clip.word in recipe.held_out_words:
                if side != "train":
                    unused.append(clip)
                continue
        clips.append(clip)
        sides.append(side)
    return _with_train_only(material, read, _labels(recipe, words, unknown=unknown), clips, sides, unused)


def _own(recipe: Recipe, material: Material, corpus: Corpus, read: _Read) -> _Split:
    words = recipe.words or _words(corpus)
    clips = list(corpus.of_words(words).clips) if recipe.words else [c for c in corpus.clips if c.word in words]
    sides: list[str] = list(split.by_speaker(clips, validation=_OWN_VALIDATION, test=0, seed=recipe.seed))
    listed = split.listed_sides(corpus, clips)
    sides = [given or drawn for given, drawn in zip(listed, sides, strict=True)]
    unknown = False
    if recipe.unknown_share > 0:
        other = [clip for clip in corpus.clips if clip.word == UNKNOWN]
        listed = split.listed_sides(corpus, other)
        if material.other:
            other += [clip for clip in read(material.other).clips if clip.word not in words]
            listed += [None] * (len(other) - len(listed))
        unknown = bool(other or material.other or material.speech or recipe.bank_windows)
        drawn: list[str] = list(split.by_speaker(other, validation=_OWN_VALIDATION, test=0, seed=recipe.seed))
        side_of = _sides_of_speakers(clips, sides)
        drawn = [
            given or side_of.get(clip.speaker, side) for clip, given, side in zip(other, listed, drawn, strict=True)
        ]
        clips += other
        sides += _limit_validation(drawn, sides.count("validation"), recipe.seed)
    return _with_train_only(material, read, _labels(recipe, words, unknown=unknown), clips, sides)


def _sides_of_speakers(clips: Sequence[Clip], sides: Sequence[str]) -> dict[str, str]:
    """Return the side of each speaker. The clips of the only speaker are on several sides: they decide nothing."""
    found: dict[str, set[str]] = defaultdict(set)
    for clip, side in zip(clips, sides, strict=True):
        if clip.speaker:
            found[clip.speaker].add(side)
    return {speaker: side for speaker, (side, *others) in found.items() if not others}


def _limit_validation(sides: Sequence[str], most: int, seed: int) -> list[str]:
    """Leave at most `most` clips on the validation side. With many more, `_unknown_` would dominate the accuracy."""
    validation = [row for row, side in enumerate(sides) if side == "validation"]
    left_out = set(np.random.default_rng(seed).permutation(validation)[most:].tolist())
    return ["" if row in left_out else side for row, side in enumerate(sides)]


def _words(corpus: Corpus) -> tuple[str, ...]:
    return tuple(word for word in corpus.words if word not in (UNKNOWN, SILENCE))


def _labels(recipe: Recipe, words: tuple[str, ...], *, unknown: bool) -> tuple[str, ...]:
    return words + (UNKNOWN,) * unknown + (SILENCE,) * (recipe.silence_share > 0)


def _with_train_only(
    material: Material,
    read: _Read,
    labels: tuple[str, ...],
    clips: Sequence[Clip],
    sides: Sequence[str],
    unused: Sequence[Clip] = (),
) -> _Split:
    """Append the clips for training only, except for copies of clips of other sides, and clips of speakers who are only there.

    `unused` are clips of the validation and test sides that are not among `clips`.
    """
    if not material.train_only:
        return labels, clips, sides
    train = {clip.speaker for clip, side in zip(clips, sides, strict=True) if side == "train"}
    held_out = [*unused, *(clip for clip, side in zip(clips, sides, strict=True) if side != "train")]
    speakers = {clip.speaker for clip in held_out if clip.speaker} - train
    extra = [
        clip
        for clip in read(material.train_only).clips
        if (UNKNOWN in labels or clip.word in labels) and clip.speaker not in speakers
    ]
    paths = {clip.path for clip in held_out}
    copies = {
        path
        for _, same in same_content([*paths, *(clip.path for clip in extra)])
        if not paths.isdisjoint(same)
        for path in same
    }
    extra = [clip for clip in extra if clip.path not in copies]
    return labels, [*clips, *extra], [*sides, *["train"] * len(extra)]


def _noise(
    recipe: Recipe, paths: Sequence[Path], *, evaluation_only: bool
) -> tuple[Recordings | None, Recordings | None]:
    """Return the noise for training and the noise for evaluation."""
    if recipe.silence_share == recipe.noise_probability == 0:
        return None, None
    if paths:
        recordings = read_recordings(paths, recipe.sample_rate)
        train, held_out = (noise_side(recordings, side) for side in ("train", "held_out"))
        if not len(train) and not evaluation_only:
            raise HarkenError(
                "no noise is left for training: of recordings under 30 seconds, a fifth is held out, chosen by name, and here "
                "that is all; add more recordings with --noise DIR, or one of 30 seconds or more"
            )
        return train, held_out
    if recipe.silence_share > 0:
        if recipe.protocol == "own":  # users who record a few words often have no recordings of noise
            train, held_out = (make_synthetic_noise(recipe.sample_rate, seed=recipe.seed + side) for side in (0, 1))
            return train, held_out
        otherwise = "evaluate with --split all" if evaluation_only else "set silence_share=0"
        raise HarkenError(f"no noise to use for {SILENCE}: add recordings with --noise DIR, or {otherwise}")
    return None, None


def _speech(recipe: Recipe, material: Material) -> Recordings | None:
    if not material.speech:
        return None
    folders = [speech_side(audio_files(folder), "train") for folder in material.speech]
    if not any(folders):
        if not _files(material.speech):
            raise HarkenError(
                f"{_names(material.speech)} contains no recording: give a folder of WAV, FLAC, OGG or MP3 files"
            )
        raise HarkenError(
            f"{_names(material.speech)}: all recordings are by speakers who are kept for thresholds or measuring (a file's name "
            "up to the first - is its speaker); add recordings by other speakers"
        )
    return join_recordings([read_recordings(paths, recipe.sample_rate) for paths in folders if paths])


def _files(folders: Sequence[Path]) -> list[Path]:
    return [path for folder in folders for path in audio_files(folder)]


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))


# The validation list of v12 is fixed, so that figures of different days and networks are measured on the same clips.


def _read_validation_list() -> list[dict[str, str]]:
    text = files("harken.tasks").joinpath("v12_validation.tsv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def _unknown_validation_clips(
    recipe: Recipe, corpus: Corpus, official: Sequence[str], words: Sequence[str]
) -> set[Path]:
    """Return the `_unknown_` clips for validation: those on the list, or a random choice if none of them is present."""
    names = {row["name"] for row in _read_validation_list() if row["class"] == UNKNOWN}
    # The list also contains clips of the train side: those of words that v12 holds out.
    if listed := {clip.path for clip in corpus.clips if clip.name in names and clip.word not in words}:
        return listed
    validation = [clip for clip, side in zip(corpus.clips, official, strict=True) if side == "validation"]
    # By path, since two speakers may have clips of the same name.
    other = sorted((clip.name, clip.path) for clip in validation if clip.word not in words)
    wanted = max(1, round(_OFFICIAL_SHARE * (len(validation) - len(other))))
    return {other[row][1] for row in np.random.default_rng(recipe.seed).permutation(len(other))[:wanted]}


def _silence_windows(recipe: Recipe, task: Task, noise: Recordings) -> tuple[SilenceWindow, ...]:
    """Return the validation windows of `_silence_`: those on the list, or random ones if a recording of the list is missing."""
    listed = [
        SilenceWindow(row["name"], int(row["start"]), float(row["gain_db"]))
        for row in _read_validation_list()
        if row["class"] == SILENCE
    ]
    use_list = recipe.protocol == "v12" and recipe.sample_rate == 16_000
    if use_list and {window.recording for window in listed} <= set(noise.names):
        return tuple(listed)
    spoken = int((task.classes[task.rows("validation")] < task.words).sum())
    count = max(1, round(_OFFICIAL_SHARE * spoken))
    return draw_silence(noise, count=count, samples=recipe.samples, seed=recipe.seed)


def side_waveforms(
    task: Task, recipe: Recipe, side: str, *, most: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the waveforms and classes of a side. The validation side ends with the task's windows of silence.

    Parameters
    ----------
    task, recipe
        The task, and the recipe that it was made with.
    side
        `train`, `validation` or `test`.
    most
        Return only about this many clips, evenly spaced. Default: all.

    Returns
    -------
    tuple of ndarray
        Waveforms, float32 [N, samples], and classes, [N].
    """
    rows = task.rows(side)
    rows = rows[:: max(1, len(rows) // most)] if most else rows
    bounds = np.cumsum([0] + [len(shard) for shard in task.packed.shards])
    parts = [
        shard[rows[(rows >= first) & (rows < first + len(shard))] - first] / np.float32(32768.0)
        for first, shard in zip(bounds, task.packed.shards, strict=False)
    ]
    labels = task.classes[rows]
    if side == "validation" and task.silence:
        parts.append(task.silence_waveforms(recipe.samples))
        labels = np.concatenate([labels, np.full(len(task.silence), task.labels.index(SILENCE))])
    return np.concatenate(parts).astype(np.float32, copy=False), labels
