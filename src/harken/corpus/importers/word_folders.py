"""One folder for each word, as in the downloads of Teachable Machine and many corpora.

Files directly in the corpus folder have no label and are left out.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from harken.audio.clip import AUDIO_SUFFIXES
from harken.corpus.importers.recording import LeftOut, Recording, file_recording

NAME = "folders of words"


def recognize(root: Path) -> bool:
    """Return whether the folder has this layout."""
    folders = (path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return any(file.suffix.lower() in AUDIO_SUFFIXES for folder in folders for file in folder.rglob("*"))


def read(root: Path, left_out: LeftOut, *, side: str = "") -> Iterator[Recording]:
    """Yield the recordings of the folder.

    The speaker is part of the file name (`SPEAKER_nohash_TAKE`), or the name of the folder between word and file.
    """
    for folder in sorted(root.iterdir()):
        if folder.name.startswith("."):
            continue
        if not folder.is_dir():
            if folder.suffix.lower() in AUDIO_SUFFIXES:
                left_out["no label"] += 1
            continue
        _require_readable(folder)
        for file in sorted(folder.rglob("*")):
            if file.is_dir():
                _require_readable(file)
            if not file.is_file() or file.name.startswith("."):
                continue
            speaker, nohash, _ = file.stem.partition("_nohash_")
            within = file.relative_to(folder).parts[:-1]
            known = speaker if nohash else within[0] if within else ""
            yield from file_recording(file, folder.name, left_out, speaker=known, side=side)


def _require_readable(folder: Path) -> None:
    """Raise an OSError unless the folder can be listed: `rglob` would take it as empty."""
    os.scandir(folder).close()
