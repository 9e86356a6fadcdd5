"""Parquet files of the Hugging Face Hub, with a column of audio, such as google/speech_commands.

The columns are `audio` (a struct with the file's content in `bytes`), `label` (a text, or a number whose name is in the
metadata), and optionally `speaker_id`. The name of the file (`train-00000-of-00001.parquet`) or of
its folder contains the split.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harken.corpus.importers.recording import LeftOut, Recording, side_named
from harken.errors import HarkenError

NAME = "Parquet with a column of audio"
_BATCH_ROWS = 200
_LABELS = ("label", "word", "keyword", "text")
_SPEAKERS = ("speaker_id", "speaker", "client_id")
_FORMATS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3"}


def recognize(root: Path) -> bool:
    """Return whether the folder has this layout."""
    return next(root.rglob("*.parquet"), None) is not None


def read(root: Path, left_out: LeftOut) -> Iterator[Recording]:
    """Yield the recordings of the folder."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise HarkenError(f"{root} contains Parquet files, which need pyarrow: run pip install pyarrow") from error
    for path in sorted(root.rglob("*.parquet")):
        try:
            with parquet.ParquetFile(path) as file:
                yield from _read_file(file, path, _side_of(path.relative_to(root)), left_out)
        except (ArrowException, OSError) as error:
            raise HarkenError(f"{path} is not a Parquet file that can be read: download it again") from error


def _read_file(file: Any, path: Path, side: str, left_out: LeftOut) -> Iterator[Recording]:
    columns = file.schema_arrow.names
    label = next((name for name in _LABELS if name in columns), None)
    if "audio" not in columns or label is None:
        raise HarkenError(f"{path} has no columns `audio` and `label`: it has {', '.join(columns)}")
    speaker = next((name for name in _SPEAKERS if name in columns), None)
    names = _label_names(file.schema_arrow.metadata or {}, label)
    wanted = ["audio", label, *([speaker] if speaker else [])]
    for batch in file.iter_batches(_BATCH_ROWS, columns=wanted):
        for row in batch.to_pylist():
            audio = row["audio"]
            content = audio.get("bytes") if isinstance(audio, dict) else audio
            suffix = _suffix(content) if isinstance(content, bytes) else ""
            word = _word(row[label], names)
            if not suffix or not isinstance(content, bytes):
                left_out["no audio in a format that harken reads"] += 1
            elif not word:
                left_out["no label"] += 1
            else:
                yield Recording(word, content, suffix, str((speaker and row[speaker]) or ""), side)


def _label_names(metadata: dict[bytes, bytes], label: str) -> Sequence[str]:
    """Return the names of the numbers in the column of labels, which `datasets` stores as JSON."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
        return [str(name) for name in names]
    except (KeyError, TypeError, ValueError):
        return ()


def _word(value: Any, names: Sequence[str]) -> str:
    if isinstance(value, int):
        return names[value] if 0 <= value < len(names) else "" if names else str(value)
    return str(value or "").strip()


def _suffix(content: bytes) -> str:
    return next((suffix for start, suffix in _FORMATS.items() if content.startswith(start)), "")


def _side_of(path: Path) -> str:
    for name in (re.split(r"[-.]", path.name)[0], *reversed(path.parts[:-1])):
        if side := side_named(name):
            return side
    return ""
