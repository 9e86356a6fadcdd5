"""Quantize a LiteRT flatbuffer to 8 bits: weights with a scale per channel, activations with one per tensor."""

import numpy as np
from numpy.typing import NDArray

from harken.export.litert.convert import NETWORK
from harken.export.litert.quiet import quiet

_SIGNATURE = "serving_default"
_OUTPUT = "probabilities"


def quantize(content: bytes, calibration: NDArray[np.float32], name: str, *, whole: bool) -> bytes:
    """Quantize a flatbuffer made by `convert` to 8 bits.

    Parameters
    ----------
    content
        The flatbuffer.
    calibration
        Input values to choose the scales by, [N, ...].
    name
        Name of the input.
    whole
        Also quantize input and output. Otherwise these and the front-end stay float32, since quantized mel energies
        gave infinite log-mels.
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
        # Use the minimum and maximum over all clips: the default, a moving average, would clip loud ones.
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
