"""A folder for each split that contains a folder for each word: `train/WORD`, or `train/audio/WORD` as on Kaggle."""

from collections.abc import Iterator
from pathlib import Path

from harken.corpus.importers import word_folders
from harken.corpus.importers.recording import (
    NOISE_NAMES,
    LeftOut,
    Recording,
    audio_below,
    file_recording,
    side_named,
    visible_files,
    visible_folders,
)

NAME = "folders of splits"


def recognize(root: Path) -> bool:
    """Return whether the folder has this layout.

    Words can have names like "train", too. So if there is only one such folder, nothing but noise may be beside it.
    """
    folders = visible_folders(root)
    sides = {side_named(folder.name) for folder in folders} - {None}
    beside = [folder for folder in folders if not side_named(folder.name) and folder.name.casefold() not in NOISE_NAMES]
    return (len(sides) > 1 or not any(any(audio_below(folder)) for folder in beside)) and any(
        word_folders.recognize(_clips_in(folder)) for folder in folders if side_named(folder.name)
    )


def read(root: Path, left_out: LeftOut) -> Iterator[Recording]:
    """Yield the recordings of the folder."""
    for folder in visible_folders(root):
        if side := side_named(folder.name):
            yield from word_folders.read(_clips_in(folder), left_out, side=side)
        elif folder.name.casefold() in NOISE_NAMES:
            for file in visible_files(folder):
                yield from file_recording(file, folder.name, left_out)
        else:
            left_out["in a folder that is no split"] += len(list(audio_below(folder)))
    left_out += LeftOut()  # removes counts of 0


def _clips_in(split: Path) -> Path:
    return split / "audio" if (split / "audio").is_dir() else split
