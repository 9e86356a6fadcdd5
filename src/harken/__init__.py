"""harken recognises single spoken words: it trains a recogniser, judges it honestly, and runs it anywhere.

Recognizer    a model file at work on clips
load_clip     any audio file or array -> float32 mono at a wanted rate
HarkenError   what bad input raises: one line with the mend
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

from harken.errors import HarkenError

if TYPE_CHECKING:
    from harken.audio import load_clip
    from harken.recognizer import Recognizer

__version__ = "0.1.0"
__all__ = ["HarkenError", "Recognizer", "load_clip"]

# From 1.32 on, onnxruntime on Linux tells its maker of each session unless it is told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {"Recognizer": "harken.recognizer", "load_clip": "harken.audio"}


def __getattr__(name: str) -> object:
    # Loaded at first use: onnxruntime alone takes longer to import than `import harken` may.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'harken' has no attribute {name!r}")
