"""What a protocol makes of a corpus: the classes, each clip's class and side, and the fixed validation list.

tutorial  the words alone, clips of exact length, the tutorial's random split (speakers stand on all sides)
v12       ten words, `_unknown_`, `_silence_`; the official split (arXiv:1804.03209)
v35       every word a class; the official split
own       the words of any folder, `_unknown_` from other folders, `_silence_`; split by speaker
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.corpus import split
from harken.corpus.made_noise import made_noise
from harken.corpus.pack import PackedClips, pack
from harken.corpus.recordings import Recordings, joined, noise_side, read_recordings, speech_side
from harken.corpus.table import Clip, Corpus, audio_files, read_corpus
from harken.errors import HarkenError
from harken.labels import SILENCE, UNKNOWN
from harken.tasks.recipe import Recipe
from harken.tasks.silence import SilenceWindow, draw_silence, silence_waveforms

_OWN_VALIDATION = 0.15  # of the clips of a folder of one's own
_OFFICIAL_SHARE = 0.1  # of `_unknown_` and of `_silence_`, beside the clips of the words


@dataclass(frozen=True, kw_only=True)
class Material:
    """The folders that a run learns from.

    data : corpora, split into sides. other : corpora whose every word is `_unknown_` (protocol `own`).
    noise : recordings without speech. speech : running speech without commands. train_only : corpora that train and
    never judge, such as synthesised ones.
    """

    data: tuple[Path, ...]
    other: tuple[Path, ...] = ()
    noise: tuple[Path, ...] = ()
    speech: tuple[Path, ...] = ()
    train_only: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Task:
    """A corpus under a protocol.

    labels : the classes in the order of the network's outputs. packed : the clips' samples.
    classes, sides : each packed clip's class and side ("" where the protocol leaves it out).
    noise, speech : what silence, noise and unknown speech are drawn from in training, if anything.
    held_out_noise, silence : the noise that judges, and its windows on the validation side.
    repeats : how many clips of the folders stand in them twice, and count once. made_noise : whether the noise was made,
    since none was named.
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
    repeats: int = 0
    made_noise: bool = False

    @property
    def words(self) -> int:
        """How many classes are words; they come first."""
        return sum(label not in (UNKNOWN, SILENCE) for label in self.labels)

    def rows(self, side: str) -> NDArray[np.int64]:
        """Return the packed rows of one side."""
        return np.flatnonzero(self.sides == side)

    def silence_waveforms(self, samples: int) -> NDArray[np.float32]:
        """Return the waveforms of the silence windows, float32 [windows, samples]."""
        if self.held_out_noise is None:
            return np.zeros((0, samples), np.float32)
        return silence_waveforms(self.silence, self.held_out_noise, samples)


def make_task(recipe: Recipe, material: Material, *, cache: Path | None = None, judging: bool = False) -> Task:
    """Read, split and pack what a recipe learns from. Raises HarkenError when a folder, a side or a class has nothing.

    judging : the sides will only judge, so that none needs to hold clips.
    """
    _refuse_unused(recipe, material, judging=judging)
    only = recipe.words if recipe.protocol == "tutorial" and recipe.words else None  # of others nothing is asked
    corpus = read_corpus(material.data, words=only, cache=cache)
    maker = {"tutorial": _tutorial, "v12": _commands, "v35": _commands, "own": _own}[recipe.protocol]
    labels, clips, sides = maker(recipe, material, corpus, cache)
    packed = pack(clips, sample_rate=recipe.sample_rate, samples=recipe.samples, cache=cache)
    if recipe.protocol == "tutorial":
        sides = _tutorial_sides(recipe, material, labels, clips, packed.lengths)
    index = {label: number for number, label in enumerate(labels)}
    recorded = [*_files(material.noise), *corpus.noise]
    noise, held_out = _noise(recipe, recorded, judging=judging)
    task = Task(
        labels=labels,
        clips=tuple(clips),
        packed=packed,
        classes=np.array([index.get(clip.word, index.get(UNKNOWN, -1)) for clip in clips]),
        sides=np.where(packed.lengths > 0, np.array(sides), ""),
        noise=noise,
        speech=_speech(recipe, material) if UNKNOWN in labels else None,
        held_out_noise=held_out,
        repeats=len(corpus.repeats),
        made_noise=noise is not None and not recorded,
    )
    if SILENCE in labels and held_out is not None:
        task = replace(task, silence=_silence_windows(recipe, task, held_out))
    if not judging:
        _check(task, material)
    return task


def _refuse_unused(recipe: Recipe, material: Material, *, judging: bool) -> None:
    """Refuse folders that the protocol would not look at: whoever names them believes that they train."""
    if material.other and recipe.protocol != "own":
        raise HarkenError(
            f"{_names(material.other)}: only the recipe own takes --other; leave it out for {recipe.protocol}"
        )
    if judging:
        return
    if recipe.protocol == "tutorial":
        for option, folders in (("--train-only", material.train_only), ("--speech", material.speech)):
            if folders:
                raise HarkenError(f"{_names(folders)}: the recipe tutorial takes no {option}; leave it out, or use v12")
    if material.noise and recipe.silence_share == recipe.noise_probability == 0:
        raise HarkenError(
            f"{_names(material.noise)}: this recipe uses no noise; leave --noise out, or set noise_probability"
        )


def _check(task: Task, material: Material) -> None:
    """Refuse a task that has nothing to train or to validate with."""
    folders = _names(material.data)
    for side in ("train", "validation"):
        if not len(task.rows(side)):
            raise HarkenError(f"no clip of {folders} is on the {side} side: add more clips or speakers")
    trained = set(task.classes[task.rows("train")].tolist())
    for number, label in enumerate(task.labels):
        if number in trained or label == SILENCE or (label == UNKNOWN and task.speech is not None):
            continue
        if label == UNKNOWN:
            raise HarkenError(
                f"{folders} has nothing to make {UNKNOWN} of: add clips of other words, or set unknown_share=0"
            )
        raise HarkenError(f"no clip of {label} in {folders} is on the train side: add clips or speakers of that word")


_Made = tuple[tuple[str, ...], Sequence[Clip], Sequence[str]]  # labels; clips, and the side of each


def _tutorial(recipe: Recipe, material: Material, corpus: Corpus, cache: Path | None) -> _Made:
    words = recipe.words or corpus.words
    clips = corpus.of_words(words).clips
    return words, clips, [""] * len(clips)  # its split takes clips of exact length, which packing tells


def _tutorial_sides(
    recipe: Recipe, material: Material, words: Sequence[str], clips: Sequence[Clip], lengths: NDArray[np.int32]
) -> list[str]:
    kept = np.flatnonzero(lengths == recipe.samples if recipe.exact_length else lengths > 0).tolist()
    try:
        drawn = split.tutorial([words.index(clips[row].word) for row in kept], seed=recipe.seed)
    except HarkenError as error:
        exact = f" of exactly {recipe.window_s} s" if recipe.exact_length else ""
        raise HarkenError(
            f"{_names(material.data)} has {len(kept)} clips{exact}, too few to split {len(words)} words as the tutorial "
            f"does: add clips{', or set exact_length=false' if exact else ''}"
        ) from error
    sides = [""] * len(clips)
    for row, side in zip(kept, drawn, strict=True):
        sides[row] = side
    return sides


def _commands(recipe: Recipe, material: Material, corpus: Corpus, cache: Path | None) -> _Made:
    words = recipe.words or _words(corpus)
    corpus.of_words(words)  # says which word is missing
    unknown = recipe.unknown_share > 0
    official = split.official(corpus)
    judged = _unknown_that_validates(recipe, corpus, official, words) if unknown else set()
    clips: list[Clip] = []
    sides: list[str] = []
    for clip, side in zip(corpus.clips, official, strict=True):
        if clip.word not in words:
            if clip.name in judged:
                side = "validation"
            elif not unknown or side != "train" or clip.word in recipe.held_out_words:
                continue
        clips.append(clip)
        sides.append(side)
    return _with_train_only(material, cache, _labels(recipe, words, unknown=unknown), clips, sides)


def _own(recipe: Recipe, material: Material, corpus: Corpus, cache: Path | None) -> _Made:
    words = recipe.words or _words(corpus)
    clips = list(corpus.of_words(words).clips) if recipe.words else [c for c in corpus.clips if c.word in words]
    sides: list[str] = list(split.by_speaker(clips, validation=_OWN_VALIDATION, test=0, seed=recipe.seed))
    unknown = recipe.unknown_share > 0 and bool(material.other or material.speech)
    if unknown and material.other:
        other = [clip for clip in read_corpus(material.other, cache=cache).clips if clip.word not in words]
        drawn: list[str] = list(split.by_speaker(other, validation=_OWN_VALIDATION, test=0, seed=recipe.seed))
        side_of = {clip.speaker: side for clip, side in zip(clips, sides, strict=True) if clip.speaker}
        drawn = [side_of.get(clip.speaker, side) for clip, side in zip(other, drawn, strict=True)]
        clips += other
        sides += _as_many(drawn, sides.count("validation"), recipe.seed)
    return _with_train_only(material, cache, _labels(recipe, words, unknown=unknown), clips, sides)


def _as_many(sides: Sequence[str], judged: int, seed: int) -> list[str]:
    """Leave at most `judged` clips on the validation side: of many more, accuracy would be that of `_unknown_` alone."""
    judging = [row for row, side in enumerate(sides) if side == "validation"]
    left_out = set(np.random.default_rng(seed).permutation(judging)[judged:].tolist())
    return ["" if row in left_out else side for row, side in enumerate(sides)]


def _words(corpus: Corpus) -> tuple[str, ...]:
    return tuple(word for word in corpus.words if word not in (UNKNOWN, SILENCE))


def _labels(recipe: Recipe, words: tuple[str, ...], *, unknown: bool) -> tuple[str, ...]:
    return words + (UNKNOWN,) * unknown + (SILENCE,) * (recipe.silence_share > 0)


def _with_train_only(
    material: Material, cache: Path | None, labels: tuple[str, ...], clips: Sequence[Clip], sides: Sequence[str]
) -> _Made:
    """Append the clips that train and never judge, but for those of speakers who only judge."""
    if not material.train_only:
        return labels, clips, sides
    train = {clip.speaker for clip, side in zip(clips, sides, strict=True) if side == "train"}
    judges = {clip.speaker for clip in clips if clip.speaker} - train
    extra = [
        clip
        for clip in read_corpus(material.train_only, cache=cache).clips
        if (UNKNOWN in labels or clip.word in labels) and clip.speaker not in judges
    ]
    return labels, [*clips, *extra], [*sides, *["train"] * len(extra)]


def _noise(recipe: Recipe, paths: Sequence[Path], *, judging: bool) -> tuple[Recordings | None, Recordings | None]:
    """Return the noise that trains and the noise that judges."""
    if recipe.silence_share == recipe.noise_probability == 0:
        return None, None
    if paths:
        recordings = read_recordings(paths, recipe.sample_rate)
        return noise_side(recordings, "train"), noise_side(recordings, "held_out")
    if recipe.silence_share > 0:
        if recipe.protocol == "own":  # who records a few words has no noise at hand
            train, held_out = (made_noise(recipe.sample_rate, seed=recipe.seed + side) for side in (0, 1))
            return train, held_out
        otherwise = "judge with --split all" if judging else "set silence_share=0"
        raise HarkenError(f"there is no noise to make {SILENCE} of: name recordings with --noise DIR, or {otherwise}")
    return None, None


def _speech(recipe: Recipe, material: Material) -> Recordings | None:
    folders = [speech_side(audio_files(folder), "train") for folder in material.speech]
    if not any(folders):
        return read_recordings([], recipe.sample_rate) if material.speech else None
    return joined([read_recordings(paths, recipe.sample_rate) for paths in folders if paths])


def _files(folders: Sequence[Path]) -> list[Path]:
    return [path for folder in folders for path in audio_files(folder)]


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))


# The validation list of v12 is fixed once: figures of different days and networks stand on the same clips.


def _list() -> list[dict[str, str]]:
    text = files("harken.tasks").joinpath("v12_validation.tsv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def _unknown_that_validates(recipe: Recipe, corpus: Corpus, official: Sequence[str], words: Sequence[str]) -> set[str]:
    """Return the names of other-word clips that validate: those on the list, or a draw where none of them is here."""
    listed = {row["name"] for row in _list() if row["class"] == UNKNOWN}
    listed &= {clip.name for clip in corpus.clips if clip.word not in words}
    if listed:
        return listed
    validation = [clip for clip, side in zip(corpus.clips, official, strict=True) if side == "validation"]
    other = sorted(clip.name for clip in validation if clip.word not in words)
    wanted = max(1, round(_OFFICIAL_SHARE * (len(validation) - len(other))))
    return set(np.random.default_rng(recipe.seed).permutation(other)[:wanted].tolist())


def _silence_windows(recipe: Recipe, task: Task, noise: Recordings) -> tuple[SilenceWindow, ...]:
    """Return the windows that validate `_silence_`: those listed, or a draw where a recording of the list is missing."""
    listed = [
        SilenceWindow(row["name"], int(row["start"]), float(row["gain_db"]))
        for row in _list()
        if row["class"] == SILENCE
    ]
    of_list = recipe.protocol == "v12" and recipe.sample_rate == 16_000
    if of_list and {window.recording for window in listed} <= set(noise.names):
        return tuple(listed)
    spoken = int((task.classes[task.rows("validation")] < task.words).sum())
    count = max(1, round(_OFFICIAL_SHARE * spoken))
    return draw_silence(noise, count=count, samples=recipe.samples, seed=recipe.seed)


def side_waveforms(
    task: Task, recipe: Recipe, side: str, *, most: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return waveforms [N, samples] and labels [N] of a side; validation has the task's silence windows at its end.

    most : about so many clips, evenly from all of them; all by default.
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
