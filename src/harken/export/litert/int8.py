"""A LiteRT flatbuffer in 8 bits: weights with a scale a channel, activations with one each, found on calibration clips."""

import numpy as np
from numpy.typing import NDArray

from harken.export.litert.convert import NETWORK
from harken.export.litert.quiet import quiet

_SIGNATURE = "serving_default"
_OUTPUT = "probabilities"


def quantised(content: bytes, calibration: NDArray[np.float32], name: str, *, whole: bool) -> bytes:
    """Return a flatbuffer of `convert` in 8 bits.

    calibration : [N, ...] of what the file takes, called `name`. whole : input and output too; else these and the front-end
    stay float32, since quantised mel energies gave infinite log-mels.
    """
    with quiet():
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
        from ai_edge_quantizer.qtyping import TFLOperationName
        from ai_edge_quantizer.quantizer import Quantizer

        quantizer = Quantizer(bytearray(content))
        of = f"^({NETWORK}|{_OUTPUT};{f'|{name};' if whole else ''})"
        everything = {"activation_num_bits": 8, "weight_num_bits": 8}
        quantizer.add_static_config(of, TFLOperationName.ALL_SUPPORTED, **everything)
        if not whole:
            quantizer.update_quantization_recipe(
                f"^{_OUTPUT};", TFLOperationName.OUTPUT, algorithm_key=AlgorithmName.NO_QUANTIZE
            )
        ranges = quantizer.calibrate({_SIGNATURE: _given(calibration, name)}, num_threads=1)
        return bytes(quantizer.quantize(ranges, enable_progress_report=False).quantized_model)


def _given(clips: NDArray[np.float32], name: str) -> list[dict[str, NDArray[np.float32]]]:
    return [{name: clip[None]} for clip in clips]
