"""Run a .tflite file on one thread."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.export.litert.quiet import quiet


class LitertFile:
    """A .tflite file exported by harken.

    Attributes
    ----------
    path
        The file.
    input, output
        LiteRT's description of the tensor: `name`, `shape`, `dtype` and `quantization` (scale and zero point; 0, 0
        for float32).

    Raises
    ------
    HarkenError
        The file cannot be run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with quiet():
                from ai_edge_litert.interpreter import Interpreter

                self._interpreter = Interpreter(str(path), num_threads=1)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise HarkenError(f"{path} is not a LiteRT model that can be run: export it again") from error
        (self.input,) = self._interpreter.get_input_details()
        (self.output,) = self._interpreter.get_output_details()

    def run(self, clips: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Run the model on clips, one at a time.

        Parameters
        ----------
        clips
            Waveforms or features, as the file takes them, [N, ...].

        Returns
        -------
        probabilities, milliseconds
            The probabilities [N, classes], and the median time per clip.

        Raises
        ------
        HarkenError
            The clips do not have the shape that the file takes.
        """
        shape = tuple(int(size) for size in self.input["shape"][1:])
        if clips.shape[1:] != shape or clips.ndim != len(shape) + 1 or not len(clips):
            expected = ", ".join(["N", *map(str, shape)])
            raise HarkenError(f"clips of shape {clips.shape} do not fit {self.path}: pass [{expected}]")
        rows, times = [], []
        for clip in clips:
            started = time.perf_counter()
            self._interpreter.set_tensor(self.input["index"], _quantize(clip[None], self.input))
            self._interpreter.invoke()
            rows.append(_dequantize(self._interpreter.get_tensor(self.output["index"]), self.output))
            times.append(time.perf_counter() - started)
        return np.concatenate(rows), 1000 * float(np.median(times))


def _quantize(values: NDArray[np.float32], tensor: dict[str, Any]) -> NDArray[Any]:
    scale, zero = tensor["quantization"]
    if not scale:
        return values
    limits = np.iinfo(tensor["dtype"])
    stored: NDArray[Any] = np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(tensor["dtype"])
    return stored


def _dequantize(values: NDArray[Any], tensor: dict[str, Any]) -> NDArray[np.float32]:
    scale, zero = tensor["quantization"]
    return ((values.astype(np.float32) - zero) * scale if scale else values).astype(np.float32)
