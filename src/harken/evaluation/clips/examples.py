"""Choose the clips to evaluate a model on.

A model is evaluated on its own validation (or test) set, which is recreated from the recipe in its metadata. It can also
be evaluated on a whole folder, such as an official test archive with its `_unknown_` and `_silence_`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harken.corpus.layout import require_spelling
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

    Attributes
    ----------
    waveforms
        float32 [N, window], full scale 1.0, at the model's sample rate.
    truth
        Indices into the model's labels, [N].
    names
        `word/stem` of each clip, or the recording and time of a window of noise, [N].
    skipped_words
        Words that the model has no class for, with their numbers of clips.
    unreadable
        One line for each clip that could not be read.
    repeats
        Number of duplicate clips.
    counts_repeats
        Whether each duplicate counts as a clip of its own, as in a test archive; otherwise duplicates count once.
    long_clips
        Files of the rows that hold only the beginning of a longer clip.
    overlap_warning
        Why training clips may be among these clips; empty if they cannot be.
    notes
        What else the user should know about the folders, one line each.
    """

    waveforms: NDArray[np.float32]
    truth: NDArray[np.int64]
    names: tuple[str, ...]
    skipped_words: dict[str, int]
    unreadable: tuple[str, ...] = ()
    repeats: int = 0
    long_clips: Mapping[int, Path] = field(default_factory=dict)
    overlap_warning: str = ""
    counts_repeats: bool = False
    notes: tuple[str, ...] = ()


def gather_examples(
    card: Card, folders: Sequence[Path], split: Split | None, *, noise: Sequence[Path] = (), other: Sequence[Path] = ()
) -> Examples:
    """Return the clips of one split of corpus folders.

    Parameters
    ----------
    card
        The model's card, with its labels and the recipe that made its split.
    folders
        Corpus folders, or a test archive.
    split
        "validation", "test" or "all". By default, a folder with `_unknown_` or `_silence_` is used whole, and any other
        folder for its validation set. A folder with `_silence_` is a test archive, which has no sides: it is always used
        whole.
    noise
        Folders of noise recordings that silence is cut from.
    other
        Corpora of words that count as `_unknown_`, for models of the recipe `own`. Without them, `_unknown_` is not
        evaluated.

    Raises
    ------
    HarkenError
        No clips are left to evaluate on, the model does not state how its split was made, or a folder differs from one of
        the model's words only in upper and lower case.
    """
    corpus = read_corpus(folders)
    require_spelling(corpus.words, card.labels, corpus.roots)
    archive = any(word in (UNKNOWN, SILENCE) for word in corpus.words)
    given, split = split, split or ("all" if archive else "validation")
    if split == "all" or SILENCE in corpus.words:
        examples = _all_clips(card, corpus, archive=archive)
        warning = "" if SILENCE in corpus.words else _training_folder_warning(card, folders)
        notes = (*examples.notes, *_notes_on_split(corpus, given, archive=archive))
        return replace(examples, overlap_warning=warning, notes=notes)
    if "recipe" not in card.fields:
        raise HarkenError("the model does not state how its validation set was made: add --split all")
    recipe = Recipe.from_json(card.fields["recipe"])
    material = Material(data=tuple(folders), noise=tuple(noise), other=tuple(other))
    task = make_task(recipe, material, evaluation_only=True)
    if set(task.labels[: task.words]) != set(card.words) or not set(task.labels) <= set(card.labels):
        raise HarkenError(f"the words of {folders[0]} are not the model's ({', '.join(card.words)}): add --split all")
    if not len(task.rows(split)):
        raise HarkenError(f"{folders[0]} has no clips in the {split} set: add --split all")
    waveforms, truth = side_waveforms(task, recipe, split)
    names = [task.clips[row].name for row in task.rows(split)]
    if split == "validation":
        names += [f"{window.recording} from {window.start / recipe.sample_rate:.2f} s" for window in task.silence]
    model_index = np.array([card.labels.index(label) for label in task.labels])
    reasons = tuple(reason for _, reason in task.packed.unreadable)
    warning = _overlap_warning(card, recipe, task, folders)
    return Examples(
        waveforms,
        model_index[truth],
        tuple(names),
        {},
        reasons,
        task.duplicates,
        overlap_warning=warning,
        notes=task.notes,
    )


def _notes_on_split(corpus: Corpus, split: Split | None, *, archive: bool) -> list[str]:
    """Return a note if all clips of a folder are evaluated and the user may expect only one side of it."""
    folders = " + ".join(map(str, corpus.roots))
    if SILENCE in corpus.words:
        if split in (None, "all"):
            return []
        return [
            f"{folders} contains {SILENCE}, as a test archive does, and has no sides: --split {split} has no effect, and all "
            "clips were evaluated"
        ]
    if archive and split is None:
        return [
            f"{folders} contains {UNKNOWN}, as a test archive does, and all clips were evaluated; --split validation evaluates "
            "only the validation set"
        ]
    return []


def _training_folder_warning(card: Card, folders: Sequence[Path]) -> str:
    """Return a warning if all clips of a folder are evaluated that has the name of one that the model was trained on, or ""."""
    trained = card.fields.get("corpus")
    same = [str(folder) for folder in folders if isinstance(trained, list) and folder.resolve().name in trained]
    if not same:
        return ""
    return (
        f"{' + '.join(same)} has the name of a folder that the model was trained on, so training clips may be among these: "
        "--split validation leaves them out"
    )


def _overlap_warning(card: Card, recipe: Recipe, task: Task, folders: Sequence[Path]) -> str:
    """Return why the split may differ from that of training, or "": some protocols split by all clips of the folders."""
    counts = {side: len(task.rows(side)) for side in ("train", "validation", "test")}
    trained = card.fields.get("clips", counts)
    if recipe.protocol not in ("tutorial", "own"):
        return ""
    # Fewer clips for training are usual: those of --train-only are not given here.
    if counts["validation"] != trained["validation"]:
        side, name = "validation", "validation"
    elif counts["train"] > trained["train"]:
        side, name = "train", "training"
    else:
        return ""
    return (
        f"the model's training had {trained[side]:,} {name} clips, {' + '.join(map(str, folders))} "
        f"gives {counts[side]:,}: training clips may be among them; give the same folders as in training"
    )


def _all_clips(card: Card, corpus: Corpus, *, archive: bool) -> Examples:
    known, skipped_words = [], Counter[str]()
    # A test archive is a fixed list: papers evaluate all of it, and figures without its duplicates are not theirs.
    doubled = [duplicate for duplicate, _ in corpus.duplicates] if archive else []
    for clip in [*corpus.clips, *doubled]:
        if clip.word in card.labels or UNKNOWN in card.labels:
            known.append(clip)
        else:
            skipped_words[clip.word] += 1
    if not known:
        words = ", ".join(card.words)
        raise HarkenError(
            f"{corpus.roots[0]} contains no clips of the model's words ({words}): give another model or folder"
        )
    recipe = card.fields.get("recipe")
    lead_in = card.fields.get("lead_in")
    centered = lead_in is None and isinstance(recipe, dict) and recipe.get("protocol") == "own"  # as in training
    packed = pack(known, sample_rate=card.sample_rate, samples=card.window, centered=centered)
    waveforms = np.concatenate([shard / np.float32(32768.0) for shard in packed.shards])
    for row in np.flatnonzero(packed.lengths < card.window) if lead_in else ():  # as Recognizer pads short clips
        waveforms[row] = np.roll(waveforms[row], min(card.window - packed.lengths[row], lead_in))
    label_of = {label: index for index, label in enumerate(card.labels)}
    truth = np.array([label_of.get(clip.word, label_of.get(UNKNOWN, -1)) for clip in known])
    readable = packed.lengths > 0
    names = tuple(clip.name for clip, kept in zip(known, readable, strict=True) if kept)
    reasons = tuple(reason for _, reason in packed.unreadable)
    notes = list(corpus.notes)
    if not set(corpus.words) & set(card.words):
        folders = " + ".join(map(str, corpus.roots))
        notes.append(
            f"no folder of {folders} is one of the model's words ({', '.join(card.words)}): this measures only whether other "
            "sounds are rejected"
        )
    long = np.flatnonzero(packed.lengths[readable] > card.window)
    paths = [clip.path for clip, kept in zip(known, readable, strict=True) if kept]
    long_clips = {int(row): paths[row] for row in long}
    return Examples(
        waveforms[readable],
        truth[readable],
        names,
        dict(skipped_words),
        reasons,
        len(corpus.duplicates),
        long_clips,
        counts_repeats=archive,
        notes=tuple(notes),
    )
