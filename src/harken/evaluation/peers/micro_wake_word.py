"""microWakeWord, by way of pymicro-wakeword, which brings models (https://github.com/kahrendt/microWakeWord)."""

import json
from pathlib import Path
from typing import Any

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

_INSTALL = "pip install pymicro-wakeword"
_STEP = 480  # samples: a step of the network is up to three frames of 10 ms


def micro_wake_word(phrase: str) -> Peer:
    """Return microWakeWord with one of its models, or with a model of your own (its .json, with the .tflite beside it).

    Raises
    ------
    HarkenError
        The package is missing or has no such model, or the file does not describe a model.
    """
    package = import_package("pymicro_wakeword", _INSTALL)
    if phrase.endswith(".json"):
        config = require_model_file(Path(phrase), "the JSON file of a microWakeWord model")
    else:
        models = Path(package.__file__).parent / "models"
        model = next((model for model in package.Model if same_phrase(model.value, phrase)), None)
        if model is None:
            raise unknown_phrase("microWakeWord", phrase, [plain_phrase(model.value) for model in package.Model])
        config = models / f"{model.value}.json"
    name, cutoff, network = _read_config(config)
    require_model_file(network, "a TensorFlow Lite model of microWakeWord", b"TFL3")

    def make(_: float) -> Detector:
        engine: Any = package.MicroWakeWord.from_config(config)
        features: Any = package.MicroWakeWordFeatures()

        def detect(samples: NDArray[np.int16]) -> float:
            frames = features.process_streaming(samples.tobytes())
            return max((engine.process_streaming_prob(frame) for frame in frames), default=0.0)

        return detect

    return Peer("microWakeWord", name, _STEP, "threshold", cutoff, (), make)


def _read_config(path: Path) -> tuple[str, float, Path]:
    """Return the phrase, the threshold and the model file that a JSON file names."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        cutoff = float(config["micro"]["probability_cutoff"])
        found = plain_phrase(config["wake_word"]), cutoff, path.parent / config["model"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HarkenError(
            f"{path} does not describe a microWakeWord model: give the file that its maker wrote"
        ) from error
    if not 0 < cutoff < 1:
        raise HarkenError(f"{path} has the probability_cutoff {cutoff:g}: it must be between 0 and 1")
    return found
