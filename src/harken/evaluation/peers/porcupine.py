"""Porcupine 1.9.5, the last version that needs no access key (https://github.com/Picovoice/porcupine)."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.evaluation.peers.engine import (
    Detector,
    Peer,
    import_package,
    plain_phrase,
    require_model_file,
    same_phrase,
    unknown_phrase,
)

# Its dependency enum34 is for Python 2, and gets in the way of Python 3's own enum.
_INSTALL = "pip install --no-deps pvporcupine==1.9.5"
_FRAME = 512  # samples
_SENSITIVITIES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_DEFAULT = 0.5


def porcupine(phrase: str) -> Peer:
    """Return Porcupine with one of its phrases, or with a keyword file (.ppn) of version 1.9.

    Raises
    ------
    HarkenError
        The package is missing or of another version, or it does not know the phrase.
    """
    package = import_package("pvporcupine", _INSTALL)
    try:
        found = version("pvporcupine")
    except PackageNotFoundError:
        found = "of an unknown version"
    if not found.startswith("1.9"):
        raise HarkenError(f"pvporcupine {found} needs an access key: run {_INSTALL}")
    if phrase.endswith(".ppn"):
        path = str(require_model_file(Path(phrase), "a keyword file of Porcupine 1.9"))
        name = plain_phrase(Path(phrase).stem.rsplit("_")[0])
    else:
        known = next((name for name in package.KEYWORD_PATHS if same_phrase(name, phrase)), None)
        if known is None:
            raise unknown_phrase(f"Porcupine {found}", phrase, package.KEYWORD_PATHS)
        path, name = package.KEYWORD_PATHS[known], known

    def make(sensitivity: float) -> Detector:
        try:
            engine = package.create(keyword_paths=[path], sensitivities=[sensitivity])
        except (OSError, ValueError, MemoryError) as error:
            raise HarkenError(f"Porcupine {found} cannot open {path}: give a keyword file of version 1.9") from error

        def detect(frame: NDArray[np.int16]) -> float:
            return float(engine.process(frame) >= 0)

        return detect

    return Peer(f"Porcupine {found}", name, _FRAME, "sensitivity", _DEFAULT, _SENSITIVITIES, make)
