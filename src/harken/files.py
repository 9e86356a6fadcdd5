"""Writing files so that a reader never sees half of one."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harken.errors import HarkenError


def require_writable(path: str | Path) -> None:
    """Raise HarkenError, as `replacing` would, where `path` cannot be written: before the work whose outcome goes there."""
    with suppress(_TriedError), replacing(path):
        raise _TriedError


class _TriedError(Exception):
    """Ends a trial, so that nothing is put in the place of what is there."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, delete it on any error.

    Parent folders are made. Raises HarkenError when `path` is a folder or cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        raise HarkenError(f"{target} is a folder: name a file to write")
    # The suffix stays last, since some writers choose the format by it.
    temporary = target.with_name(f".{target.stem}-{secrets.token_hex(4)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise HarkenError(f"cannot write {target}: {error.strerror}; choose a folder you may write to") from error
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
