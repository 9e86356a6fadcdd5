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
        from ai_edge_quantizer.calibrator import CalibrationMode, Calibrator
        from ai_edge_quantizer.qtyping import TFLOperationName
        from ai_edge_quantizer.quantizer import Quantizer
        from ai_edge_quantizer.recipe_manager import RecipeManager
        from ai_edge_quantizer.utils.qsv_utils import min_max_update

        recipe = RecipeManager()
        recipe.add_static_config(f"^({NETWORK}|{_OUTPUT};|{name};)", TFLOperationName.ALL_SUPPORTED, 8, 8)
        if not whole:
            for end, kind in ((_OUTPUT, TFLOperationName.OUTPUT), (name, TFLOperationName.INPUT)):
                recipe.add_quantization_config(f"^{end};", kind, algorithm_key=AlgorithmName.NO_QUANTIZE)
        # The least and the largest value that any clip leads to; the quantiser's own habit, a moving average, cuts the loud.
        calibrator = Calibrator(
            bytearray(content),
            num_threads=1,
            qsv_update_func=min_max_update,
            mode=CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS,
        )
        calibrator.calibrate({_SIGNATURE: [{name: clip[None]} for clip in calibration]}, recipe)
        quantizer = Quantizer(bytearray(content), recipe.get_quantization_recipe())
        result = quantizer.quantize(calibrator.get_model_qsvs(), enable_progress_report=False)
        return bytes(result.quantized_model)
