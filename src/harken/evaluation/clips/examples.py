"""The clips that judge a model.

A model is judged on its own validation (or test) side, made again from the recipe in its metadata; or on the whole of
a folder, such as an official test archive with its `_unknown_` and `_silence_`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harken.corpus.pack import pack
from harken.corpus.table import Corpus, read_corpus
from harken.errors import HarkenError
from harken.labels import SILENCE, UNKNOWN
from harken.runtime.modelfile import Card
from harken.tasks.protocol import Material, Task, make_task, side_waveforms
from harken.tasks.recipe import Recipe

Split = Literal["validation", "test", "all"]


@dataclass(frozen=True)
class Examples:
    """Waveforms with their true classes.

    waveforms : float32 [N, window], full scale 1.0, at the model's rate. truth : [N] indices into the model's labels.
    names : [N] `word/stem`, or where a window of noise was cut. left_out : words that the model cannot answer, with
    their numbers of clips. unreadable : one line for each clip that could not be read. repeats : how many clips stand in
    the folders twice, and judge once. longer : the files of rows that hold the beginning of a longer clip. doubt : a line on
    why clips that trained the model may be among them, if they may.
    """

    waveforms: NDArray[np.float32]
    truth: NDArray[np.int64]
    names: tuple[str, ...]
    left_out: dict[str, int]
    unreadable: tuple[str, ...] = ()
    repeats: int = 0
    longer: Mapping[int, Path] = field(default_factory=dict)
    doubt: str = ""


def gather_examples(
    card: Card, folders: Sequence[Path], split: Split | None, *, noise: Sequence[Path] = (), other: Sequence[Path] = ()
) -> Examples:
    """Return the examples of a split; without one, a folder in the layout of a test archive is taken whole, else validation.

    other : corpora whose every word judges `_unknown_`, for a model of the recipe `own`; without them it is not judged.

    Raises HarkenError when nothing is left to judge, or the model does not say how its sides were made.
    """
    corpus = read_corpus(folders)
    archive = any(word in (UNKNOWN, SILENCE) for word in corpus.words)
    split = split or ("all" if archive else "validation")
    if split == "all" or archive:
        return _whole(card, corpus)
    if "recipe" not in card.fields:
        raise HarkenError("the model does not say how its validation side was made: judge it with --split all")
    recipe = Recipe.from_json(card.fields["recipe"])
    material = Material(data=tuple(folders), noise=tuple(noise), other=tuple(other))
    task = make_task(recipe, material, judging=True)
    if set(task.labels[: task.words]) != set(card.words) or not set(task.labels) <= set(card.labels):
        raise HarkenError(f"the words of {folders[0]} are not the model's ({', '.join(card.words)}): use --split all")
    if not len(task.rows(split)):
        raise HarkenError(f"{folders[0]} has no clip on the {split} side: judge it with --split all")
    waveforms, truth = side_waveforms(task, recipe, split)
    names = [task.clips[row].name for row in task.rows(split)]
    if split == "validation":
        names += [f"{window.recording} from {window.start / recipe.sample_rate:.2f} s" for window in task.silence]
    place = np.array([card.labels.index(label) for label in task.labels])
    reasons = tuple(reason for _, reason in task.packed.unreadable)
    doubt = _doubt(card, recipe, task, folders)
    return Examples(waveforms, place[truth], tuple(names), {}, reasons, task.repeats, doubt=doubt)


def _doubt(card: Card, recipe: Recipe, task: Task, folders: Sequence[Path]) -> str:
    """Return why the sides may be others than in training: those of some protocols depend on all clips that there are."""
    counts = {side: len(task.rows(side)) for side in ("train", "validation", "test")}
    trained = card.fields.get("clips", counts)
    if recipe.protocol not in ("tutorial", "own") or counts["validation"] == trained["validation"]:
        return ""
    return (
        f"the model was trained beside {trained['validation']:,} clips to validate with, {' + '.join(map(str, folders))} "
        f"gives {counts['validation']:,}: clips that trained it may be among them; name the folders of its training"
    )


def _whole(card: Card, corpus: Corpus) -> Examples:
    known, left_out = [], Counter[str]()
    for clip in corpus.clips:
        if clip.word in card.labels or UNKNOWN in card.labels:
            known.append(clip)
        else:
            left_out[clip.word] += 1
    if not known:
        words = ", ".join(card.words)
        raise HarkenError(
            f"{corpus.roots[0]} holds no clip of the model's words ({words}): choose another model or folder"
        )
    packed = pack(known, sample_rate=card.sample_rate, samples=card.window)
    waveforms = np.concatenate([shard / np.float32(32768.0) for shard in packed.shards])
    label_of = {label: index for index, label in enumerate(card.labels)}
    truth = np.array([label_of.get(clip.word, label_of.get(UNKNOWN, -1)) for clip in known])
    readable = packed.lengths > 0
    names = tuple(clip.name for clip, kept in zip(known, readable, strict=True) if kept)
    reasons = tuple(reason for _, reason in packed.unreadable)
    long = np.flatnonzero(packed.lengths[readable] > card.window)
    paths = [clip.path for clip, kept in zip(known, readable, strict=True) if kept]
    longer = {int(row): paths[row] for row in long}
    return Examples(waveforms[readable], truth[readable], names, dict(left_out), reasons, len(corpus.repeats), longer)
