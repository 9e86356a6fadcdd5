"""Check that the folders of a corpus are words, before their names are learned.

folder_word        the word that a folder is named after
check_layout       refuse a folder that contains sides or whole corpora instead of words
note_on_name       a note on a folder that may be meant for noise or for other words
note_on_skipped    a note on audio files that harken cannot read
require_spelling   refuse words that differ from a model's only in upper and lower case
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harken.audio.clip import AUDIO_SUFFIXES, UNREADABLE_SUFFIXES
from harken.errors import HarkenError
from harken.labels import COMMANDS, SILENCE, UNKNOWN, normalize_word

NOISE_FOLDER = "_background_noise_"
_SPECIAL = (NOISE_FOLDER, UNKNOWN, SILENCE)
_SIDES = ("train", "training", "test", "testing", "valid", "validation", "val", "dev", "eval", "evaluation")
_CONTAINERS = ("audio", "clips", "dataset", "datasets", "recordings", "wav", "wavs")
_MEANT = {"background_noise": NOISE_FOLDER, "noise": NOISE_FOLDER, "unknown": UNKNOWN, "silence": SILENCE}


def folder_word(folder: Path) -> str:
    """Return the word that a folder of clips is named after, in Unicode's composed form.

    Raises
    ------
    HarkenError
        If the name is not UTF-8, or begins with _ but is none of the special names.
    """
    try:
        folder.name.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(folder).decode(errors="backslashreplace")
        raise HarkenError(f"{shown}: the name of this folder is not UTF-8; rename the folder to its word") from error
    if folder.name.startswith("_") and folder.name not in _SPECIAL:
        raise HarkenError(
            f"{folder} is not named after a word: rename it to {NOISE_FOLDER} (noise), {UNKNOWN} (other words) or {SILENCE}, "
            f"or to .{folder.name} to leave it out"
        )
    return normalize_word(folder.name)


def check_layout(root: Path, folders: Sequence[Path], nested: Sequence[Path]) -> None:
    """Check that the folders of a corpus are words, and not sides such as `train` and `test` or containers of words.

    Parameters
    ----------
    root
        The corpus folder.
    folders
        The folders in it that contain clips.
    nested
        The folders among them whose clips are all in subfolders. The subfolders can be speakers or words.

    Raises
    ------
    HarkenError
        If the words are one or more levels deeper.
    """
    sides = [folder for folder in nested if folder.name.casefold() in _SIDES]
    if sides and len(sides) == len(folders):
        inner = [_inner(folder) for folder in sides]
        learned = [path for path, side in zip(inner, sides, strict=True) if not _is_test(side)]
        test = next((path for path, side in zip(inner, sides, strict=True) if _is_test(side)), None)
        advice = " ".join(f"--data {path}" for path in learned or inner)
        if learned and test is not None:
            advice += f", and keep {test} for `harken evaluate RUN {test} --split all`"
        names = ", ".join(folder.name for folder in sides)
        raise HarkenError(f"{root} contains the sides of a corpus ({names}) and not its words: give {advice}")
    container = len(folders) == 1 and bool(nested) and nested[0].name.casefold() in _CONTAINERS
    if outer := [folder for folder in nested if container or _has_known_words(folder)]:
        path = _inner(outer[0])
        raise HarkenError(f"{outer[0]} contains folders of words and is not a word itself: give {path} as the corpus")


def may_be_outer(folder: Path) -> bool:
    """Return whether a folder is named like a side or a container, and has no clip directly in it."""
    if folder.name.casefold() not in (*_SIDES, *_CONTAINERS):
        return False
    with os.scandir(folder) as entries:
        return not any(os.path.splitext(entry.name)[1].lower() in AUDIO_SUFFIXES for entry in entries)  # noqa: PTH122


def _is_test(side: Path) -> bool:
    return side.name.casefold() in ("test", "testing", "eval", "evaluation")


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _inner(folder: Path) -> Path:
    """Follow containers, such as `train/audio`, down to the folder that contains the words."""
    inner = _subfolders(folder)
    return _inner(inner[0]) if len(inner) == 1 and inner[0].name.casefold() in _CONTAINERS else folder


def _has_known_words(folder: Path) -> bool:
    """Return whether a folder contains folders that cannot be speakers: special ones, or several of the ten command words."""
    names = {path.name.casefold() for path in _subfolders(folder)}
    return bool(names & set(_SPECIAL)) or len(names & set(COMMANDS)) > 1


def note_on_name(folder: Path) -> str:
    """Return a note on a folder that may not be meant as a word, or an empty text."""
    meant = _MEANT.get(folder.name.casefold().strip("_- ").replace(" ", "_").replace("-", "_"))
    if meant is None or folder.name in _SPECIAL:
        return ""
    return f"{folder} is used as a word; if it is not one, rename it to {meant}"


def note_on_skipped(folder: Path, skipped: Mapping[str, int], clips: int) -> str:
    """Return a note on the audio files below a word's folder that harken cannot read, or an empty text.

    Parameters
    ----------
    folder
        Folder of a word.
    skipped
        Number of files that were skipped there, by suffix.
    clips
        Number of clips found there.

    Raises
    ------
    HarkenError
        If the folder contains no other clips, so that its word would be missing.
    """
    audio = ", ".join(f"{skipped[suffix]:,} {suffix}" for suffix in sorted(skipped) if suffix in UNREADABLE_SUFFIXES)
    if audio and not clips:
        raise HarkenError(f"{folder} contains only audio that harken cannot read ({audio}): convert it to WAV or FLAC")
    if audio:
        return f"{folder}: skipped {audio}, which harken cannot read; convert them to WAV or FLAC"
    if skipped and not clips:
        other = ", ".join(f"{skipped[suffix]:,} {suffix or 'without a suffix'}" for suffix in sorted(skipped))
        return f"{folder} contains no audio files and was skipped ({other})"
    return ""


def require_spelling(words: Iterable[str], known: Iterable[str], roots: Sequence[Path]) -> None:
    """Raise HarkenError if one of `words` differs from one of a model's words only in upper and lower case."""
    known = tuple(known)
    spelling = {word.casefold(): word for word in known}
    for word in words:
        meant = spelling.get(word.casefold(), word)
        if word not in known and meant != word:
            folders = " + ".join(map(str, roots))
            raise HarkenError(
                f"the folder {word} in {folders} is not one of the model's words: did you mean {meant}? Rename the folder"
            )
