"""Keep a second process away from a file, where the system has locks for that."""

from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def is_locked_by_us(file: BinaryIO) -> bool:
    """Lock an open file until it is closed; return whether no other process had locked it.

    Without `fcntl` (on Windows) nothing is locked, and the answer is True.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
