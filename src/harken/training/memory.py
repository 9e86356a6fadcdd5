"""Make the C library keep the memory that a training step has freed."""

import ctypes
import os

# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next step.

    By default, glibc returns large arrays to the system, which hands them out again page by page, filled with zeros. That
    took a third of the time of a step of the tutorial's network on a CPU. Settings of the user (environment variables)
    take precedence, and other C libraries are not changed.

    Returns
    -------
    bool
        Whether glibc keeps freed memory now.
    """
    if any(name in os.environ for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc; TypeError: Windows
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES))
