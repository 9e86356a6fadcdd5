"""openWakeWord, by way of pyopen-wakeword, which brings its models (https://github.com/dscripka/openWakeWord)."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.evaluation.peers.engine import (
    Detector,
    Peer,
    import_package,
    plain_phrase,
    require_model_file,
    same_phrase,
    unknown_phrase,
)

_INSTALL = "pip install pyopen-wakeword"
_STEP = 1280  # samples between two embeddings
_THRESHOLD = 0.5  # the one that the project recommends to begin with
_VERSION = re.compile(r"_v\d+(\.\d+)*$")  # at the end of a model file's name


def open_wake_word(phrase: str) -> Peer:
    """Return openWakeWord with one of its models, or with a model file (.tflite).

    Raises
    ------
    HarkenError
        The package is missing, or has no such model.
    """
    package = import_package("pyopen_wakeword", _INSTALL)
    model: Any
    if phrase.endswith(".tflite"):
        model = require_model_file(Path(phrase), "a TensorFlow Lite model of openWakeWord", b"TFL3")
        name = plain_phrase(_VERSION.sub("", Path(phrase).stem))
    else:
        model = next((model for model in package.Model if same_phrase(model.value, phrase)), None)
        if model is None:
            raise unknown_phrase("openWakeWord", phrase, [plain_phrase(model.value) for model in package.Model])
        name = plain_phrase(model.value)

    def make(_: float) -> Detector:
        opened = package.OpenWakeWord
        classifier = opened.from_model(model) if isinstance(model, Path) else opened.from_builtin(model)
        features = package.OpenWakeWordFeatures.from_builtin()

        def detect(samples: NDArray[np.int16]) -> float:
            scores = [
                score
                for embedding in features.process_streaming(samples.tobytes())
                for score in classifier.process_streaming(embedding)
            ]
            return max(scores, default=0.0)

        return detect

    return Peer("openWakeWord", name, _STEP, "threshold", _THRESHOLD, (), make)
