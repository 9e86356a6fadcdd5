"""The folder with Kokoro's model and voices, which the environment variable HARKEN_KOKORO gives.

KOKORO_FOLDER    the name of that variable
kokoro_model     the model file in the folder
"""

import os
from pathlib import Path

from harken.errors import HarkenError

KOKORO_FOLDER = "HARKEN_KOKORO"


def kokoro_model() -> Path:
    """Return the path of the model. Raises HarkenError if the folder does not contain exactly one."""
    folder = Path(os.environ[KOKORO_FOLDER])
    models = sorted(folder.glob("*.onnx"))
    if len(models) != 1:
        raise HarkenError(
            f"{KOKORO_FOLDER} is {folder}, where {len(models)} files end in .onnx: set it to a folder with one model"
        )
    return models[0]
