"""Progress bars for the terminal."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def progress(items: Iterable[T], what: str, *, total: int | None = None) -> Iterator[T]:
    """Yield items while a progress bar counts them.

    The bar is drawn on standard error and removed at the end. Nothing is drawn when standard error is not a terminal.

    Parameters
    ----------
    items
        Items to yield.
    what
        Text shown beside the bar.
    total
        Number of items. Needed only when `items` has no length.
    """
    console = Console(stderr=True)
    hidden = not console.is_terminal
    yield from track(items, description=what, total=total, console=console, disable=hidden, transient=True)
