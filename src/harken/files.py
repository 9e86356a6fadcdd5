"""Atomic file writing: other programs never see a file that is only partly written."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from harken.errors import HarkenError

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # no space, quota used up, file too large
_FIXES: dict[int | None, str] = {
    **dict.fromkeys(DISK_FULL, "free some disk space"),
    errno.ENAMETOOLONG: "choose a shorter name",
    # A file stands where a folder is needed.
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "a part of the path is a file; name a file in a folder"),
}


def require_writable(*paths: str | Path) -> None:
    """Check that files can be written, before starting a long computation whose results they will hold.

    The check leaves no files or folders behind, and existing files are not changed.

    Parameters
    ----------
    paths
        Files that will be written with `replacing`.

    Raises
    ------
    HarkenError
        If a path is a folder or cannot be written.
    """
    for path in map(Path, paths):
        # Path.exists raises an error for a folder that cannot be looked up; `replacing` reports it.
        new_folders = [folder for folder in path.parents if not os.path.exists(folder)]  # noqa: PTH110
        try:
            with suppress(_DryRunError), replacing(path):
                raise _DryRunError
        finally:
            for folder in new_folders:
                with suppress(OSError):
                    folder.rmdir()


class _DryRunError(Exception):
    """Leaves `replacing` before it replaces the existing file."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file atomically.

    Yields a temporary path in the same folder. When the block ends, the temporary file is renamed to `path`, or to the file
    that `path` is a link to. If the block raises an exception, the temporary file is deleted and an existing file at `path`
    stays as it was. If the disk is full, the OSError names `path`.

    Parameters
    ----------
    path
        File to write. Missing parent folders are created.

    Raises
    ------
    HarkenError
        If `path` is a folder, a device or a pipe, or cannot be written.
    """
    try:
        target = Path(path).resolve()  # a link stays a link
        if target.is_dir():
            raise HarkenError(f"{path} is a folder: name a file to write")
        if target.exists() and not target.is_file():  # a device or a pipe would be replaced by a file
            raise HarkenError(f"{path} is not a regular file: name a file to write")
        # Keep the suffix at the end: some writers choose the file format by it.
        temporary = target.with_name(f".{target.stem}-{secrets.token_hex(4)}{target.suffix}")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    except OSError as error:
        fix = _FIXES.get(error.errno, "choose a folder you may write to")
        raise HarkenError(f"cannot write {path}: {error.strerror}; {fix}") from error
    except RuntimeError as error:  # Python before 3.13 raises it for links that lead to themselves
        raise HarkenError(f"cannot write {path}: it is a link that leads to itself; name another file") from error
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        if error.errno in DISK_FULL:  # Python does not say which file it was writing to
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_all(*paths: Path) -> Iterator[list[Path]]:
    """Write several files with `replacing`.

    All of them are renamed when the block ends. If it raises an exception, none is renamed.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(replacing(path)) for path in paths]
