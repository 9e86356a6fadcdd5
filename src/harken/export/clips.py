"""Choose the clips that an export is calibrated and checked on: from a corpus, or synthetic speech.

CheckClips         clips to calibrate on, and others to check on
corpus_clips       clips of a corpus: its validation set, or all of it
synthetic_clips    synthetic speech, kept in the cache

An export is compared with the original model; its accuracy is not the question. So if a corpus has no held-out noise,
synthetic noise or any recording stands for silence. If its validation set is small or missing, the whole corpus is used.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.cache import default_cache
from harken.corpus.recordings import Recordings, noise_side, read_recordings
from harken.corpus.synthetic_noise import make_synthetic_noise
from harken.corpus.table import audio_files, read_corpus
from harken.errors import HarkenError
from harken.evaluation.clips.examples import Examples, gather_examples
from harken.export.comparison import FEW_CLIPS
from harken.extras import install_command
from harken.labels import SILENCE, UNKNOWN
from harken.runtime.modelfile import Card
from harken.tasks.silence import draw_silence, silence_waveforms

_CALIBRATION_CLIPS = 256  # or half of all clips, if these are fewer
_SILENCE_SHARE = 0.1  # relative to the clips of words, as in the official test sets
_SYNTHETIC_CLIPS = 120  # about, for calibration and for the check each
_OTHER_WORDS = 3  # words to synthesize for `_unknown_`
_GIVE_A_CORPUS = "give a corpus with --data DIR"


@dataclass(frozen=True)
class CheckClips:
    """Clips of the length of a model's window, full scale 1.0.

    Attributes
    ----------
    calibration
        Clips to calibrate on, [N, window].
    clips
        Other clips to check on, [M, window].
    truth
        Their indices into the labels, [M].
    synthesized
        Whether the clips are synthetic speech.
    notes
        What readers of the check should know, one line each.
    """

    calibration: NDArray[np.float32]
    clips: NDArray[np.float32]
    truth: NDArray[np.int64]
    synthesized: bool = False
    notes: tuple[str, ...] = ()


def corpus_clips(
    card: Card, data: Sequence[Path], *, noise: Sequence[Path] = (), other: Sequence[Path] = ()
) -> CheckClips:
    """Return clips of corpora: a whole test archive, or the model's validation set (all clips where that is small).

    Parameters
    ----------
    card
        The model's card.
    data
        Corpus folders.
    noise
        Folders of recordings that silence is cut from.
    other
        Corpora of words that count as `_unknown_`, for models of the recipe `own`.

    Raises
    ------
    HarkenError
        A folder cannot be read, or contains no clips of the model's words.
    """
    examples, notes = _examples(card, data, noise, other)
    if examples.unreadable:
        notes.append(
            f"skipped {len(examples.unreadable)} clips that cannot be read; the first: {examples.unreadable[0]}"
        )
    order = np.random.default_rng(0).permutation(len(examples.waveforms))
    calibrating, checking = np.split(order, [min(_CALIBRATION_CLIPS, len(order) // 2)])
    waveforms, truth = examples.waveforms, examples.truth
    return CheckClips(waveforms[calibrating], waveforms[checking], truth[checking], notes=tuple(notes))


def _examples(
    card: Card, data: Sequence[Path], noise: Sequence[Path], other: Sequence[Path]
) -> tuple[Examples, list[str]]:
    corpus = read_corpus(data)
    if any(word in (UNKNOWN, SILENCE) for word in corpus.words):
        return gather_examples(card, data, None, noise=noise, other=other), []
    if other:
        if not _uses_recipe_own(card):
            raise HarkenError(f"{other[0]}: --other is for models of the recipe own; leave it out")
        read_corpus(other)  # Raises a clear error if something is wrong with it.
    recorded = _read_noise(card, noise, corpus.noise)
    held_out = recorded is not None and len(noise_side(recorded, "held_out")) > 0
    notes = []
    try:
        if held_out:
            examples = gather_examples(card, data, None, noise=noise, other=other)
        else:
            examples = gather_examples(_without_silence(card), data, None, other=other)
        found = len(examples.truth)
    except HarkenError:  # For one of many reasons, it has no validation set for this model.
        found = 0
    if found < 2 * FEW_CLIPS:
        examples = gather_examples(card, [*data, *other], "all")
        why = f"its validation set has only {found} clips"
        notes.append(f"all of {data[0]} is used, which may include training clips: {why}")
    if SILENCE not in card.labels or (examples.truth == card.labels.index(SILENCE)).any():
        return examples, notes
    if recorded is None:
        notes.append("no noise recordings given (--noise DIR): synthetic noise stands for silence")
    silence = _silence_windows(card, recorded, round(_SILENCE_SHARE * len(examples.truth)), seed=0)
    truth = np.concatenate([examples.truth, np.full(len(silence), card.labels.index(SILENCE))])
    names = (*examples.names, *[f"{SILENCE}/{number}" for number in range(len(silence))])
    return replace(examples, waveforms=np.concatenate([examples.waveforms, silence]), truth=truth, names=names), notes


def _read_noise(card: Card, folders: Sequence[Path], found: Sequence[Path] = ()) -> Recordings | None:
    paths = list(found)
    for folder in folders:
        if not (named := audio_files(folder)):
            raise HarkenError(
                f"{folder} contains no WAV, FLAC, OGG or MP3 files to cut silence from: give another folder"
            )
        paths += named
    return read_recordings(paths, card.sample_rate) if paths else None


def _uses_recipe_own(card: Card) -> bool:
    recipe = card.fields.get("recipe")
    return isinstance(recipe, dict) and recipe.get("protocol") == "own"


def _without_silence(card: Card) -> Card:
    """Return a card whose recipe needs no noise."""
    recipe = card.fields.get("recipe")
    if not isinstance(recipe, dict):
        return card
    return replace(card, fields={**card.fields, "recipe": {**recipe, "silence_share": 0.0, "noise_probability": 0.0}})


def _silence_windows(card: Card, recorded: Recordings | None, count: int, *, seed: int) -> NDArray[np.float32]:
    noise = make_synthetic_noise(card.sample_rate, seed=seed) if recorded is None else recorded
    windows = draw_silence(noise, count=max(1, count), samples=card.window, seed=seed)
    return silence_waveforms(windows, noise, card.window)


def synthetic_clips(card: Card, *, noise: Sequence[Path] = ()) -> CheckClips:
    """Return synthetic clips of the model's words and of some other words, and silence.

    The voices of the check differ from those of the calibration.

    Parameters
    ----------
    card
        The model's card.
    noise
        Folders of recordings that silence is cut from. Default: synthetic noise.

    Raises
    ------
    HarkenError
        No synthetic voice is installed, or none can say the model's words.
    """
    try:
        from harken.synth import synthesize_corpus, voices
        from harken.synth.sentences import NOUNS
    except HarkenError as error:
        raise HarkenError(
            f"there are no clips to check the export on: {_GIVE_A_CORPUS}, or install voices: {install_command('synth')}"
        ) from error
    words = [word for word in card.words if word.replace(" ", "").isalpha() and word.isascii()]
    if not words:
        raise HarkenError(f"synthetic voices cannot say the model's words ({', '.join(card.words)}): {_GIVE_A_CORPUS}")
    if UNKNOWN in card.labels:
        words += [noun for noun in NOUNS if noun not in card.words][:_OTHER_WORDS]
    takes = 2 * min(12, max(3, round(_SYNTHETIC_CLIPS / len(words))))
    # A phrase may need more than a second. Other clips are kept from earlier versions.
    seconds = min(3.0, card.window / card.sample_rate) if any(" " in word for word in words) else 1.0
    # Other words, voices or lengths get another folder.
    length = () if seconds == 1 else (seconds,)
    key = zlib.crc32(repr((words, takes, [voice.name for voice in voices()], *length)).encode())
    try:
        folder = default_cache() / "spoken" / f"{key:08x}"
        corpus = synthesize_corpus(words, folder, takes=takes, held_out_fraction=0.5, seconds=seconds, workers=1)
    except HarkenError as error:
        raise HarkenError(f"cannot synthesize clips to check the export on ({error}): {_GIVE_A_CORPUS}") from error
    sides = [gather_examples(card, [side], "all") for side in (corpus.train, corpus.test) if side is not None]
    waveforms, truth = [side.waveforms for side in sides], [side.truth for side in sides]
    if len(sides) == 1:  # All voices are of one family.
        waveforms, truth = [waveforms[0][::2], waveforms[0][1::2]], [truth[0][::2], truth[0][1::2]]
    if SILENCE in card.labels:
        recorded = _read_noise(card, noise)
        count = round(_SILENCE_SHARE * len(truth[1]))
        silences = [_silence_windows(card, recorded, count, seed=seed) for seed in (0, 1)]
        waveforms = [np.concatenate(pair) for pair in zip(waveforms, silences, strict=True)]
        truth[1] = np.concatenate([truth[1], np.full(len(silences[1]), card.labels.index(SILENCE))])
    calibration, clips = waveforms
    return CheckClips(calibration, clips, truth[1], synthesized=True)
