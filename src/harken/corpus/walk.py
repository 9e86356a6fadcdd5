"""The audio files below a folder, with size and time of change: all that a run looks at to see that nothing changed.

Row    what is seen of a file without opening it
walk   folder -> rows
looks  rows -> one digest: the same as long as no file was added, taken away, renamed or written to
joined  digests -> one
"""

import hashlib
import marshal
import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from harken.audio.clip import AUDIO_SUFFIXES

Row = tuple[str, str, int, int]
"""Name, absolute folder, size in bytes, time of change in ns; both numbers -1 where the file cannot be looked at."""

_SUFFIXES = tuple(AUDIO_SUFFIXES)


def walk(folder: str) -> dict[str, list[Row]]:
    """Return the audio files below an absolute folder, in no order, by the folder that they lie in.

    Hidden files and folders are passed over. Links to folders are followed, but for those that lead back up.
    """
    rows: dict[str, list[Row]] = {}
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        try:
            names = os.listdir(folder)  # noqa: PTH208 - names alone: half the time of entries
        except OSError:  # as os.walk passes over a folder that it may not read
            continue
        seen = _seen(folder, [name for name in names if name.lower().endswith(_SUFFIXES) and name[0] != "."])
        if len(seen) < len(names):
            others = set(names).difference(row[0] for row in seen)
            waiting += [path for name in others if name[0] != "." and _is_folder(path := f"{folder}{os.sep}{name}")]
        if seen:
            rows[folder] = seen
    return rows


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not leads_back(path)  # noqa: PTH112 - no Path is made for a name


def leads_back(path: str) -> bool:
    """Whether a folder is a link to one that it lies in, so that a walk through it would not end."""
    if not os.path.islink(path):  # noqa: PTH114
        return False
    target = os.path.realpath(path)
    lies_in = os.path.realpath(os.path.dirname(path))  # noqa: PTH120
    return os.path.commonpath([target, lies_in]) == target


def looks(rows: Iterable[Row]) -> bytes:
    """Return the digest of rows, 16 bytes."""
    # Version 2 of marshal writes equal values as equal bytes, and takes a third of the time of repr.
    return hashlib.blake2b(marshal.dumps(list(rows), 2), digest_size=16).digest()


def joined(form: str, digests: Iterable[bytes]) -> str:
    """Return one digest of digests and of what they stand for, as 32 hexadecimal digits."""
    return hashlib.blake2b(form.encode() + b"".join(digests), digest_size=16).hexdigest()


def row_of(folder: str, name: str) -> Row:
    """Return what is seen of one file."""
    try:
        status = os.stat(f"{folder}{os.sep}{name}")  # noqa: PTH116 - ten thousand times: a Path costs as much again
    except OSError:
        return name, folder, -1, -1
    return name, folder, status.st_size, status.st_mtime_ns


def _seen(folder: str, names: list[str]) -> list[Row]:
    """Return the rows of those of `names` that are no folders."""
    if os.stat in os.supports_dir_fd:
        # With the folder open the system need not find the way to each file again: half the time.
        with suppress(OSError):
            place = os.open(folder, os.O_RDONLY)
            try:
                return [
                    (name, folder, status.st_size, status.st_mtime_ns)
                    for name in names
                    for status in (os.stat(name, dir_fd=place),)
                    if not status.st_mode & stat.S_IFDIR  # sockets and block devices have the bit too: no clips either
                ]
            finally:
                os.close(place)
    return [row_of(folder, name) for name in names if not os.path.isdir(f"{folder}{os.sep}{name}")]  # noqa: PTH112
