"""Types and functions that all importers use.

Recording         a recording of a word in the source
LeftOut           number of recordings that were left out, by reason
NOISE_NAMES       labels that stand for noise
side_named        the side that a name such as `dev` or `testing` stands for
visible_folders   the folders in a folder
visible_files     the files below a folder
audio_below       the audio files below a folder
file_recording    the recording in a file
read_table        read a CSV file with the given columns
inside            the path of a listed file, if it is inside the folder
"""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harken.audio.clip import AUDIO_SUFFIXES
from harken.corpus.split import Side
from harken.errors import HarkenError

LeftOut = Counter[str]

NOISE_NAMES = frozenset({"_silence_", "_background_noise_", "background noise", "_background_noise"})

_SIDES: dict[str, Side] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Recording:
    """A recording of a word.

    Attributes
    ----------
    word
        The word, as it is written in the source.
    audio
        Path of the file, or its content.
    suffix
        Suffix of its format, such as `.wav`.
    speaker
        Name of the speaker. Empty if it is not known.
    side
        `train`, `validation` or `test`. Empty if the source does not say.
    """

    word: str
    audio: Path | bytes
    suffix: str
    speaker: str = ""
    side: Side | str = ""


def side_named(name: str) -> Side | None:
    """Return the side that a name of a split stands for, or None."""
    return _SIDES.get(name.strip().lower())


def visible_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def visible_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, sorted, without hidden ones. Raises an OSError if a folder cannot be listed."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from visible_files(path)
        elif path.is_file():
            yield path


def audio_below(folder: Path) -> Iterator[Path]:
    """Yield the audio files below a folder, sorted, without hidden ones."""
    return (file for file in visible_files(folder) if file.suffix.lower() in AUDIO_SUFFIXES)


def file_recording(
    path: Path, word: str, left_out: LeftOut, *, speaker: str = "", side: str = ""
) -> Iterator[Recording]:
    """Yield the recording in a file, unless the file is missing, is not audio or has no label."""
    if path.suffix.lower() not in AUDIO_SUFFIXES:
        left_out[f"{path.suffix or 'no suffix'} is not an audio format that harken reads"] += 1
    elif not path.is_file():
        left_out["listed, but not there"] += 1
    elif not word.strip():
        left_out["no label"] += 1
    else:
        yield Recording(word, path, path.suffix.lower(), speaker, side)


def read_table(path: Path, *columns: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file.

    Raises
    ------
    HarkenError
        If the file is not CSV in UTF-8, or lacks one of the columns.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, restval="")
            missing = [column for column in columns if column not in (rows.fieldnames or ())]
            if missing:
                raise HarkenError(f"{path} has no column {', '.join(missing)}: download it again")
            for row in rows:
                yield {str(name): value or "" for name, value in row.items() if name is not None}
    except (UnicodeDecodeError, csv.Error) as error:
        raise HarkenError(f"{path} is not comma-separated UTF-8 text: download it again") from error


def inside(root: Path, name: str) -> Path | None:
    """Return the path of a file that a list names, or None if it would be outside of the folder."""
    if "\0" in name:  # No file has such a name.
        return None
    path = root / name.strip().replace("\\", "/")
    return path if path.resolve().is_relative_to(root.resolve()) else None
