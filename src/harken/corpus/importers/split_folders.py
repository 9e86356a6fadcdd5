"""A folder for each split that contains a folder for each word: `train/WORD`, or `train/audio/WORD` as on Kaggle."""

from collections.abc import Iterator
from pathlib import Path

from harken.corpus.importers import word_folders
from harken.corpus.importers.recording import LeftOut, Recording, side_named

NAME = "folders of splits"


def recognize(root: Path) -> bool:
    """Return whether the folder has this layout."""
    return any(word_folders.recognize(folder) for folder in _splits(root).values())


def read(root: Path, left_out: LeftOut) -> Iterator[Recording]:
    """Yield the recordings of the folder."""
    for side, folder in _splits(root).items():
        yield from word_folders.read(folder, left_out, side=side)


def _splits(root: Path) -> dict[str, Path]:
    folders = {side: path for path in sorted(root.iterdir()) if path.is_dir() and (side := side_named(path.name))}
    return {side: path / "audio" if (path / "audio").is_dir() else path for side, path in folders.items()}
