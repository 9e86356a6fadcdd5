"""Multilingual Spoken Words Corpus: `clips/WORD/*.opus`, and `LANGUAGE_splits.csv` (https://mlcommons.org/datasets/multilingual-spoken-words).

The columns are SET (TRAIN, DEV or TEST), LINK (the path below `clips`), WORD, VALID, SPEAKER and GENDER.
"""

from collections.abc import Iterator
from pathlib import Path

from harken.corpus.importers.recording import LeftOut, Recording, file_recording, inside, read_table, side_named

NAME = "Multilingual Spoken Words Corpus"


def recognize(root: Path) -> bool:
    """Return whether the folder has this layout."""
    return (root / "clips").is_dir() and bool(_lists(root))


def read(root: Path, left_out: LeftOut) -> Iterator[Recording]:
    """Yield the recordings of the folder."""
    for path in _lists(root):
        for row in read_table(path, "SET", "LINK", "WORD", "VALID", "SPEAKER"):
            file = inside(root / "clips", row["LINK"])
            if row["VALID"].strip().lower() not in ("true", "1"):
                left_out["marked as not valid"] += 1
            elif file is None:
                left_out["a path that leads out of the folder"] += 1
            else:
                side = side_named(row["SET"]) or ""
                yield from file_recording(file, row["WORD"], left_out, speaker=row["SPEAKER"], side=side)


def _lists(root: Path) -> list[Path]:
    return sorted(root.glob("*_splits.csv"))
