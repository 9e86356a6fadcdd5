"""Silence around converters that talk to their own developers."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what Python code prints, logs and warns of, and what C++ code writes to the process's standard error."""
    sys.stderr.flush()
    kept, level = os.dup(2), logging.root.manager.disable
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 (no file of a folder)
        os.dup2(nowhere.fileno(), 2)
        logging.disable(logging.CRITICAL)
        try:
            with warnings.catch_warnings(action="ignore"), redirect_stdout(nowhere), redirect_stderr(nowhere):
                yield
        finally:
            logging.disable(level)
            os.dup2(kept, 2)
            os.close(kept)
