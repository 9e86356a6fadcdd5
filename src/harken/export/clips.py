"""The clips that a form is calibrated and checked on: of a corpus, or spoken by synthetic voices where none is named.

FormClips       clips to calibrate on, and others to check on
corpus_clips    of a corpus: its validation side, or all of it
spoken_clips    of the extra `synth`, kept in the cache

A form is compared with its source, not judged: where a corpus has no noise that is held out, made noise or any recording
stands for silence, and where its validation side is small or missing, all of it is heard.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.cache import default_cache
from harken.corpus.made_noise import made_noise
from harken.corpus.recordings import Recordings, noise_side, read_recordings
from harken.corpus.table import audio_files, read_corpus
from harken.errors import HarkenError
from harken.evaluation.clips.examples import Examples, gather_examples
from harken.export.comparison import FEW
from harken.labels import SILENCE, UNKNOWN
from harken.runtime.modelfile import Card
from harken.tasks.silence import draw_silence, silence_waveforms

_CALIBRATION = 256  # clips, or half of what there is
_SILENCE_SHARE = 0.1  # beside the clips of words, as the official sides have it
_SPOKEN = 120  # clips a side, about
_OTHER_WORDS = 3  # that the voices say for `_unknown_`
_NAME_A_CORPUS = "name a corpus by --data DIR"


@dataclass(frozen=True)
class FormClips:
    """Clips of a model's window, full scale 1.0.

    calibration : [N, window]. clips : [M, window], none of them among those. truth : [M] indices into the labels.
    synthesised : whether synthetic voices spoke them. notes : what whoever reads the check should know, a line each.
    """

    calibration: NDArray[np.float32]
    clips: NDArray[np.float32]
    truth: NDArray[np.int64]
    synthesised: bool = False
    notes: tuple[str, ...] = ()


def corpus_clips(
    card: Card, data: Sequence[Path], *, noise: Sequence[Path] = (), other: Sequence[Path] = ()
) -> FormClips:
    """Return clips of corpora: an archive or the model's validation side, and where that is small, all that they hold.

    noise : recordings that silence is cut from. other : corpora whose every word is `_unknown_`, for a model of the recipe
    `own`. Raises HarkenError when a folder cannot be read, or no clip is of the model's words.
    """
    examples, notes = _examples(card, data, noise, other)
    if examples.unreadable:
        notes.append(
            f"{len(examples.unreadable)} clips cannot be read and are left out; the first: {examples.unreadable[0]}"
        )
    order = np.random.default_rng(0).permutation(len(examples.waveforms))
    calibrating, checking = np.split(order, [min(_CALIBRATION, len(order) // 2)])
    waveforms, truth = examples.waveforms, examples.truth
    return FormClips(waveforms[calibrating], waveforms[checking], truth[checking], notes=tuple(notes))


def _examples(
    card: Card, data: Sequence[Path], noise: Sequence[Path], other: Sequence[Path]
) -> tuple[Examples, list[str]]:
    corpus = read_corpus(data)
    if any(word in (UNKNOWN, SILENCE) for word in corpus.words):
        return gather_examples(card, data, None, noise=noise, other=other), []
    if other:
        if not _of_own(card):
            raise HarkenError(f"{other[0]}: --other is for models of the recipe own; leave it out")
        read_corpus(other)  # says what is wrong with it
    recorded = _recorded(card, noise, corpus.noise)
    held_out = recorded is not None and len(noise_side(recorded, "held_out")) > 0
    notes = []
    try:
        if held_out:
            examples = gather_examples(card, data, None, noise=noise, other=other)
        else:
            examples = gather_examples(_without_silence(card), data, None, other=other)
        found = len(examples.truth)
    except HarkenError:  # it has no validation side for this model, for one of many reasons
        found = 0
    if found < 2 * FEW:
        examples = gather_examples(card, [*data, *other], "all")
        why = f"its validation side holds {found} clips"
        notes.append(f"all of {data[0]} is heard, what the model may have learnt from included: {why}")
    if SILENCE not in card.labels or (examples.truth == card.labels.index(SILENCE)).any():
        return examples, notes
    if recorded is None:
        notes.append("no recording of noise was named (--noise DIR): made noise stands for silence")
    silence = _silence(card, recorded, round(_SILENCE_SHARE * len(examples.truth)), seed=0)
    truth = np.concatenate([examples.truth, np.full(len(silence), card.labels.index(SILENCE))])
    names = (*examples.names, *[f"{SILENCE}/{number}" for number in range(len(silence))])
    return replace(examples, waveforms=np.concatenate([examples.waveforms, silence]), truth=truth, names=names), notes


def _recorded(card: Card, folders: Sequence[Path], found: Sequence[Path] = ()) -> Recordings | None:
    paths = list(found)
    for folder in folders:
        if not (named := audio_files(folder)):
            raise HarkenError(f"{folder} holds no WAV, FLAC, OGG or MP3 to cut silence from: name another folder")
        paths += named
    return read_recordings(paths, card.sample_rate) if paths else None


def _of_own(card: Card) -> bool:
    recipe = card.fields.get("recipe")
    return isinstance(recipe, dict) and recipe.get("protocol") == "own"


def _without_silence(card: Card) -> Card:
    """Return a card whose recipe asks for no noise."""
    recipe = card.fields.get("recipe")
    if not isinstance(recipe, dict):
        return card
    return replace(card, fields={**card.fields, "recipe": {**recipe, "silence_share": 0.0, "noise_probability": 0.0}})


def _silence(card: Card, recorded: Recordings | None, count: int, *, seed: int) -> NDArray[np.float32]:
    noise = made_noise(card.sample_rate, seed=seed) if recorded is None else recorded
    windows = draw_silence(noise, count=max(1, count), samples=card.window, seed=seed)
    return silence_waveforms(windows, noise, card.window)


def spoken_clips(card: Card, *, noise: Sequence[Path] = ()) -> FormClips:
    """Return the model's words, some others and silence; the voices that are checked on have not calibrated.

    Raises HarkenError when no synthetic voice is installed, or none can say the model's words.
    """
    try:
        from harken.synth import synthesize_corpus, voices
        from harken.synth.sentences import NOUNS
    except HarkenError as error:
        raise HarkenError(
            f"there are no clips to check the form on: {_NAME_A_CORPUS}, or have some spoken: pip install 'harken[synth]'"
        ) from error
    words = [word for word in card.words if word.isalpha() and word.isascii()]
    if not words:
        raise HarkenError(f"synthetic voices cannot say the model's words ({', '.join(card.words)}): {_NAME_A_CORPUS}")
    if UNKNOWN in card.labels:
        words += [noun for noun in NOUNS if noun not in card.words][:_OTHER_WORDS]
    takes = 2 * min(12, max(3, round(_SPOKEN / len(words))))
    # Other words or other voices are another folder.
    key = zlib.crc32(repr((words, takes, [voice.name for voice in voices()])).encode())
    try:
        spoken = synthesize_corpus(
            words, default_cache() / "spoken" / f"{key:08x}", takes=takes, held_out_fraction=0.5, workers=1
        )
    except HarkenError as error:
        raise HarkenError(f"no clips can be spoken to check the form on ({error}): {_NAME_A_CORPUS}") from error
    sides = [gather_examples(card, [side], "all") for side in (spoken.train, spoken.test) if side is not None]
    waveforms, truth = [side.waveforms for side in sides], [side.truth for side in sides]
    if len(sides) == 1:  # the voices are all of one family
        waveforms, truth = [waveforms[0][::2], waveforms[0][1::2]], [truth[0][::2], truth[0][1::2]]
    if SILENCE in card.labels:
        recorded = _recorded(card, noise)
        count = round(_SILENCE_SHARE * len(truth[1]))
        silences = [_silence(card, recorded, count, seed=seed) for seed in (0, 1)]
        waveforms = [np.concatenate(pair) for pair in zip(waveforms, silences, strict=True)]
        truth[1] = np.concatenate([truth[1], np.full(len(silences[1]), card.labels.index(SILENCE))])
    calibration, clips = waveforms
    return FormClips(calibration, clips, truth[1], synthesised=True)
