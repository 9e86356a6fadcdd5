"""Writing files so that a reader never sees half of one."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from harken.errors import HarkenError


def require_writable(*paths: str | Path) -> None:
    """Raise HarkenError, as `replacing` would, where a path cannot be written: before the work whose outcome goes there.

    Nothing is left of the trial, nor of the folders that it had to make.
    """
    for path in map(Path, paths):
        made = [folder for folder in path.parents if not folder.exists()]
        try:
            with suppress(_TriedError), replacing(path):
                raise _TriedError
        finally:
            for folder in made:
                with suppress(OSError):
                    folder.rmdir()


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


@contextmanager
def replacing_all(*paths: Path) -> Iterator[list[Path]]:
    """Do as `replacing` does for several files: all are renamed on success, none on any error."""
    with ExitStack() as stack:
        yield [stack.enter_context(replacing(path)) for path in paths]
