"""AudioFolder of Hugging Face's `datasets`: audio files and `metadata.csv`, in one folder or in one for each split.

The column `file_name` is required. The label is in the first column of `_LABELS` that exists. Without such a column, the
name of the file's folder is the label.
"""

from collections.abc import Iterator
from pathlib import Path

from harken.corpus.importers.recording import (
    LeftOut,
    Recording,
    audio_below,
    file_recording,
    inside,
    read_table,
    side_named,
    visible_folders,
)
from harken.errors import HarkenError

NAME = "AudioFolder (metadata.csv)"
_LABELS = ("label", "labels", "word", "keyword", "class", "text", "sentence", "transcription")
_SPEAKERS = ("speaker_id", "speaker", "client_id")


def recognize(root: Path) -> bool:
    """Return whether the folder has this layout."""
    return bool(_tables(root))


def read(root: Path, left_out: LeftOut) -> Iterator[Recording]:
    """Yield the recordings of the folder."""
    tables = _tables(root)
    if root / "metadata.csv" not in tables:
        for folder in visible_folders(root):
            if side_named(folder.name) and folder / "metadata.csv" not in tables:
                left_out[f"in {folder.name}, which has no metadata.csv"] += len(list(audio_below(folder)))
    for table in tables:
        for row in read_table(table, "file_name"):
            file = inside(table.parent, row["file_name"])
            if file is None:
                left_out["a path that leads out of the folder"] += 1
                continue
            word = next((row[column] for column in _LABELS if column in row), None)
            if word is None:
                if file.parent == table.parent:
                    raise HarkenError(f"{table} has no column with labels: name one of its columns `label`")
                word = file.parent.name
            speaker = next((row[column] for column in _SPEAKERS if column in row), "")
            # The outermost folder that is named after a split decides.
            names = (row.get("split", ""), *file.relative_to(root).parts[:-1])
            side: str = next(filter(None, map(side_named, names)), None) or ""
            yield from file_recording(file, word, left_out, speaker=speaker, side=side)


def _tables(root: Path) -> list[Path]:
    own = [root / "metadata.csv"] if (root / "metadata.csv").is_file() else []
    return own or sorted(path for path in root.glob("*/metadata.csv") if side_named(path.parent.name))
