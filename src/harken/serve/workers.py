"""Run inference in a few threads, outside the event loop.

Workers   a thread pool whose results can be awaited
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Workers:
    """Thread pool for inference.

    The queue has no limit of its own. The callers limit it: at most `Limits.requests` clips, and one chunk for each of
    `Limits.streams` streams.

    Parameters
    ----------
    threads
        Number of threads.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="harken")

    async def run(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a function in a thread, and return its result or raise its exception."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def close(self) -> None:
        """Wait for the running calls, and cancel those that have not started."""
        self._pool.shutdown(wait=True, cancel_futures=True)
