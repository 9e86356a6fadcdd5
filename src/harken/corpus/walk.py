"""List the audio files below a folder, with size and time of change. A run compares these to find out if anything changed.

FileRow            what is known of a file without opening it
walk               a folder -> its files
file_row           one file
fingerprint        files -> one digest, which changes when a file is added, removed, renamed or written to
combine_digests    several digests -> one
"""

import hashlib
import marshal
import os
import stat
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from harken.audio.clip import AUDIO_SUFFIXES

FileRow = tuple[str, str, int, int]
"""Name, absolute folder, size in bytes, and time of change in ns. Both numbers are -1 if the file cannot be accessed."""

_SUFFIXES = tuple(AUDIO_SUFFIXES)


def walk(folder: str, skipped: Counter[str] | None = None) -> dict[str, list[FileRow]]:
    """Return the audio files below an absolute folder, in no particular order, for each folder that contains some.

    Hidden files and folders are skipped. Links to folders are followed, except for those that lead back up. The suffixes of
    files that are not audio are counted in `skipped`.
    """
    rows: dict[str, list[FileRow]] = {}
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        try:
            names = os.listdir(folder)  # noqa: PTH208 - listing only names takes half the time
        except OSError:  # folders that cannot be read are skipped, as in os.walk
            continue
        files = _file_rows(folder, [name for name in names if name.lower().endswith(_SUFFIXES) and name[0] != "."])
        if len(files) < len(names):
            others = set(names).difference(row[0] for row in files)
            visible = [name for name in others if name[0] != "."]
            folders = [name for name in visible if _is_folder(f"{folder}{os.sep}{name}")]
            waiting += [f"{folder}{os.sep}{name}" for name in folders]
            if skipped is not None and len(folders) < len(visible):
                remaining = set(visible).difference(folders)
                skipped.update(os.path.splitext(name)[1].lower() for name in remaining)  # noqa: PTH122
        if files:
            rows[folder] = files
    return rows


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not leads_up(path)  # noqa: PTH112 - avoids creating a Path


def leads_up(path: str) -> bool:
    """Return whether a folder is a link to one that contains it, so that a walk through it would not end."""
    if not os.path.islink(path):  # noqa: PTH114
        return False
    target = os.path.realpath(path)
    parent = os.path.realpath(os.path.dirname(path))  # noqa: PTH120
    return os.path.commonpath([target, parent]) == target


def fingerprint(rows: Iterable[FileRow]) -> bytes:
    """Return the digest of files, 16 bytes."""
    # Version 2 of marshal writes equal values as equal bytes. It takes a third of the time of repr.
    return hashlib.blake2b(marshal.dumps(list(rows), 2), digest_size=16).digest()


def combine_digests(meaning: str, digests: Iterable[bytes]) -> str:
    """Return one digest of several and of a text that says what they stand for, as 32 hexadecimal digits."""
    return hashlib.blake2b(meaning.encode() + b"".join(digests), digest_size=16).hexdigest()


def file_row(folder: str, name: str) -> FileRow:
    """Return the row of one file."""
    try:
        status = os.stat(f"{folder}{os.sep}{name}")  # noqa: PTH116 - creating a Path takes as long again
    except OSError:
        return name, folder, -1, -1
    return name, folder, status.st_size, status.st_mtime_ns


def _file_rows(folder: str, names: list[str]) -> list[FileRow]:
    """Return the rows of those of `names` that are not folders."""
    if os.stat in os.supports_dir_fd:
        # With an open folder, the system does not resolve its path for each file. That takes half the time.
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                return [
                    (name, folder, status.st_size, status.st_mtime_ns)
                    for name in names
                    for status in (os.stat(name, dir_fd=descriptor),)
                    if not status.st_mode
                    & stat.S_IFDIR  # sockets and block devices have this bit too, and are not clips either
                ]
            finally:
                os.close(descriptor)
    return [file_row(folder, name) for name in names if not os.path.isdir(f"{folder}{os.sep}{name}")]  # noqa: PTH112
