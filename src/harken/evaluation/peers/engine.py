"""An engine of another project with the phrase that it detects.

Peer              the engine, its phrase and its settings
Detector          detects the phrase in a stream, step by step
import_package    import the engine's package, or say how to install it
unknown_phrase    the error for a phrase that an engine does not know
plain_phrase      a phrase in one spelling
same_phrase       compare two spellings
"""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError

SAMPLE_RATE = 16_000  # Hz, of all engines

Detector = Callable[[NDArray[np.int16]], float]
"""Takes the next step of a stream, int16 [step], and returns the score of the phrase at its end, 0 to 1."""


@dataclass(frozen=True)
class Peer:
    """An engine with the phrase that it detects.

    An engine with scores returns a probability after each step, and any threshold can be applied to it afterward. An
    engine without scores returns 1 where it detects the phrase and 0 elsewhere. It runs once at each value of its setting.

    Attributes
    ----------
    engine
        Name of the engine, with the version if it matters.
    phrase
        The phrase, in lower case.
    step
        Number of samples that a detector takes at once.
    setting
        Name of the setting that trades misses for false alarms.
    default
        Value of the setting in normal use.
    values
        Values to run an engine without scores at, the strictest first. They include the default. Empty: it has scores.
    make
        Create a detector at a value of the setting, for a new stream.
    """

    engine: str
    phrase: str
    step: int
    setting: str
    default: float
    values: tuple[float, ...]
    make: Callable[[float], Detector]


def import_package(module: str, install: str) -> Any:
    """Import the package of an engine.

    Parameters
    ----------
    module
        Name of the module.
    install
        Command that installs it.

    Raises
    ------
    HarkenError
        The package is not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise HarkenError(f"--peer needs {error.name}, which is not installed: run {install}") from error
    except (ImportError, OSError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise HarkenError(f"{module} cannot be loaded ({reason}): install it again with {install}") from error


def unknown_phrase(engine: str, phrase: str, known: Iterable[str]) -> HarkenError:
    """Return the error for a phrase that an engine does not know. It lists what the engine knows, the closest first."""
    listed = sorted(known, key=lambda other: (-SequenceMatcher(None, phrase, other).ratio(), other))
    return HarkenError(f"{engine} does not know {phrase!r}: give one of {', '.join(listed)}")


def plain_phrase(text: str) -> str:
    """Return a phrase in lower case, with single spaces between its words."""
    return " ".join(text.lower().replace("_", " ").split())


def same_phrase(first: str, second: str) -> bool:
    """Return whether two spellings are of one phrase: "snow boy", "Snow_Boy" and "snowboy" are the same."""
    return plain_phrase(first).replace(" ", "") == plain_phrase(second).replace(" ", "")


def require_model_file(path: Path, what: str, content: bytes = b"") -> Path:
    """Return the path of a model file, after checking that it exists.

    Parameters
    ----------
    path
        The file.
    what
        What it must be, for the message.
    content
        Bytes that must be in its first twelve, if there are any. A TensorFlow Lite library crashes on other files.

    Raises
    ------
    HarkenError
        The file cannot be read or has other content.
    """
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as error:
        raise HarkenError(f"{path} cannot be read ({error.strerror}): give {what}") from error
    if content not in start:
        raise HarkenError(f"{path} is something else: give {what}")
    return path
