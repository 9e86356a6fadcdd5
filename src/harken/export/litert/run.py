"""A .tflite file at work on one thread: clips in, probabilities out."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.export.litert.quiet import quiet


class LitertFile:
    """A .tflite file of harken's, run clip by clip. Raises HarkenError when it cannot be run.

    input, output : as LiteRT tells of them: `name`, `shape`, `dtype`, `quantization` (scale and zero point; 0, 0 in float32).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with quiet():
                from ai_edge_litert.interpreter import Interpreter

                self._interpreter = Interpreter(str(path), num_threads=1)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise HarkenError(f"{path} is no LiteRT model that can be run: export it again") from error
        (self.input,) = self._interpreter.get_input_details()
        (self.output,) = self._interpreter.get_output_details()

    def run(self, clips: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Return the probabilities [N, classes] of clips [N, ...] in the form that the file takes, and ms a clip (median)."""
        rows, times = [], []
        for clip in clips:
            started = time.perf_counter()
            self._interpreter.set_tensor(self.input["index"], _quantised(clip[None], self.input))
            self._interpreter.invoke()
            rows.append(_real(self._interpreter.get_tensor(self.output["index"]), self.output))
            times.append(time.perf_counter() - started)
        return np.concatenate(rows), 1000 * float(np.median(times))


def _quantised(values: NDArray[np.float32], tensor: dict[str, Any]) -> NDArray[Any]:
    scale, zero = tensor["quantization"]
    if not scale:
        return values
    limits = np.iinfo(tensor["dtype"])
    stored: NDArray[Any] = np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(tensor["dtype"])
    return stored


def _real(values: NDArray[Any], tensor: dict[str, Any]) -> NDArray[np.float32]:
    scale, zero = tensor["quantization"]
    return ((values.astype(np.float32) - zero) * scale if scale else values).astype(np.float32)
