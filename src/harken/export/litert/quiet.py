"""Suppress the output of converters."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress all output: prints, logs and warnings of Python code, and what C++ code writes to standard error."""
    sys.stderr.flush()
    kept, level = os.dup(2), logging.root.manager.disable
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 (os.devnull is not a path in a folder)
        os.dup2(nowhere.fileno(), 2)
        logging.disable(logging.CRITICAL)
        try:
            with warnings.catch_warnings(action="ignore"), redirect_stdout(nowhere), redirect_stderr(nowhere):
                yield
        finally:
            logging.disable(level)
            os.dup2(kept, 2)
            os.close(kept)
