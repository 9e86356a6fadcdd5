"""Edge Impulse's export: the folders `training` and `testing`, and `info.labels`, which lists their files in JSON."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harken.corpus.importers.recording import LeftOut, Recording, file_recording, inside, side_named
from harken.errors import HarkenError

NAME = "Edge Impulse export"


def recognize(root: Path) -> bool:
    """Return whether the folder has this layout."""
    return (root / "info.labels").is_file()


def read(root: Path, left_out: LeftOut) -> Iterator[Recording]:
    """Yield the recordings of the folder."""
    path = root / "info.labels"
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        entries = [(str(file["path"]), _label(file), _speaker(file), str(file.get("category", ""))) for file in files]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HarkenError(f"{path} is not the list of an Edge Impulse export: export the project again") from error
    for name, label, speaker, category in entries:
        file = inside(root, name)
        if file is None:
            left_out["a path that leads out of the folder"] += 1
        else:
            yield from file_recording(file, label, left_out, speaker=speaker, side=side_named(category) or "")


def _label(file: dict[str, Any]) -> str:
    label = file["label"]
    return str(label.get("label") or "") if isinstance(label, dict) else str(label or "")


def _speaker(file: dict[str, Any]) -> str:
    metadata = file.get("metadata") or {}
    return str(metadata.get("speaker") or metadata.get("speaker_id") or "")
