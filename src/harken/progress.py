"""Progress bars: drawn on a terminal, silent in a pipe."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def progress(items: Iterable[T], what: str, *, total: int | None = None) -> Iterator[T]:
    """Yield `items` one by one under a bar that says `what`; the bar goes to standard error and leaves when done.

    total : how many there are, where `items` do not say.
    """
    console = Console(stderr=True)
    hidden = not console.is_terminal
    yield from track(items, description=what, total=total, console=console, disable=hidden, transient=True)
