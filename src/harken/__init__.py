"""harken recognizes spoken keywords: it trains a recognizer, evaluates it honestly, and runs it anywhere.

Clips
    Recognizer      recognize the word in a clip
    Prediction      the answer: the word, or why there is none
    load_clip       read any audio file or array as float32 mono at a sample rate

Streams
    Listener        detect words in live audio
    Event           a detected word, with its time and confidence
    WakeListener    detect commands only after a wake phrase
    WakeEvent       a detected wake phrase or command, with the time until which commands count
    StreamFile      a model that computes step by step, for less work in streams
    TwoStage        a streaming model that wakes a more accurate one, for less work in streams

Own phrases
    enroll          learn a wake phrase from a few recordings or from its spelling
    Enrollment      what to expect of it

Model files
    ModelFile       an opened model file and its metadata
    bundled_models  the models that come with harken

Errors
    HarkenError     raised for all bad input: one line that says what is wrong and how to fix it
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

from harken.errors import HarkenError

if TYPE_CHECKING:
    from harken.audio.clip import load_clip
    from harken.enrollment import Enrollment, enroll
    from harken.runtime.listener import Event, Listener
    from harken.runtime.modelfile import ModelFile, bundled_models
    from harken.runtime.recognizer import Prediction, Recognizer
    from harken.runtime.streamfile import StreamFile
    from harken.runtime.two_stage import TwoStage
    from harken.runtime.wake_listener import WakeEvent, WakeListener

__version__ = "0.1.0"
__all__ = [
    "Enrollment",
    "Event",
    "HarkenError",
    "Listener",
    "ModelFile",
    "Prediction",
    "Recognizer",
    "StreamFile",
    "TwoStage",
    "WakeEvent",
    "WakeListener",
    "bundled_models",
    "enroll",
    "load_clip",
]

# Since 1.32, onnxruntime on Linux reports each session to its maker unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_MODULES = {
    "Enrollment": "harken.enrollment.learn",
    "Event": "harken.runtime.listener",
    "Listener": "harken.runtime.listener",
    "ModelFile": "harken.runtime.modelfile",
    "Prediction": "harken.runtime.recognizer",
    "Recognizer": "harken.runtime.recognizer",
    "StreamFile": "harken.runtime.streamfile",
    "TwoStage": "harken.runtime.two_stage",
    "WakeEvent": "harken.runtime.wake_listener",
    "WakeListener": "harken.runtime.wake_listener",
    "bundled_models": "harken.runtime.modelfile",
    "enroll": "harken.enrollment.learn",
    "load_clip": "harken.audio.clip",
}


def __getattr__(name: str) -> object:
    # Imported at first use: onnxruntime alone takes longer to import than `import harken` should.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'harken' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
