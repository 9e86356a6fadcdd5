"""Inference off the event loop, by few threads.

Workers   a pool of threads that answers awaits
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Workers:
    """Runs functions on `threads` threads.

    How many wait is bounded by who asks: at most Limits.requests clips, and one chunk of each of Limits.streams.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="harken")

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Return what the function returns, or raise what it raises, and let the event loop go on meanwhile."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def close(self) -> None:
        """Let what has begun end, and drop what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)
