"""The error that harken raises for bad input.

HarkenError             the error
reporting_unreadable    turn the errors of a path that cannot be opened into it
require_list            refuse a single recording or folder in place of a list
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class HarkenError(Exception):
    """Error for all bad input: a file, an argument, or an option.

    The message is one line. It names the file or value, says what is wrong with it, and then how to fix it. The command
    line prints this message and exits with code 2.
    """


@contextmanager
def reporting_unreadable(what: str | Path) -> Iterator[None]:
    """Raise a HarkenError if the block fails to look up or open a path.

    Parameters
    ----------
    what
        The path as the message shall name it.
    """
    try:
        yield
    except OSError as error:
        raise HarkenError(f"{what} cannot be opened: {error.strerror}; check the path and its permissions") from error


def require_list(given: object, name: str, kind: str) -> None:
    """Raise a HarkenError if an argument is a single recording or folder. A text would be taken for a list of its letters.

    Parameters
    ----------
    given
        The argument: a list, or a path, a text, an array or an open file.
    name
        Name of the argument.
    kind
        What the list should contain, such as `recording`.
    """
    if isinstance(given, str | os.PathLike) or hasattr(given, "dtype") or hasattr(given, "read"):
        raise HarkenError(f"{name} is a single {kind}: pass a list of {kind}s")
