"""How the C library deals with memory that a step of training has done with."""

import ctypes
import os

# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT = 1 << 30  # bytes


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next step; return whether it does. What the user has set stands.

    By default it gives large arrays back to the system, which hands them out anew page by page and zeroed: of a step of
    the tutorial's network on a CPU that took a third of the time. Other C libraries are left as they are.
    """
    if any(name in os.environ for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc; TypeError: Windows
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEPT) and mallopt(_M_TRIM_THRESHOLD, _KEPT))
