"""Export a model file to 8-bit ONNX by static quantization with onnxruntime. The front-end stays in float32.

write_onnx_int8   write the file, and check it

Weights have one scale per channel. Activations have one scale per tensor, from their values on calibration clips without
the outermost 0.007 %: a scale that covers the rarest values costs accuracy. docs/reference/export-formats.md has figures.

Everything up to the logarithm of the front-end stays float32, since quantized mel energies gave infinite log-mels. In a
network that takes the waveform, the first convolution stays float32, since quiet clips would have only a few steps in 8 bits.
"""

import io
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from harken.errors import HarkenError
from harken.export.comparison import ExportReport, compare_with_source, median_ms, open_source, require_agreement
from harken.files import replacing_all, require_writable
from harken.runtime.modelfile import ModelFile

_QUANTIZED_OPERATORS = ["Conv", "MatMul", "Gemm"]
_COVERED_PERCENT = 99.993  # of an activation's values, by its scale
_MAX_DIFFERING = 0.03  # fraction of different answers above which nothing is written


def write_onnx_int8(
    model: str | os.PathLike[str],
    path: Path,
    clips: NDArray[np.float32],
    *,
    calibration: NDArray[np.float32],
    truth: NDArray[np.int64] | None = None,
    synthesized: bool = False,
) -> ExportReport:
    """Write a model file as 8-bit ONNX with the same metadata, and the result of the check beside it as PATH.json.

    Parameters
    ----------
    model
        A path, a run folder, or the name of a bundled model.
    path
        The file to write.
    clips
        Clips to compare both on, full scale 1.0, [N, window].
    calibration
        Other such clips, to choose the scales by.
    truth
        Indices into the labels of `clips`, [N], if known.
    synthesized
        Whether the clips are synthetic speech; the check records it.

    Raises
    ------
    HarkenError
        Significantly more than 3 % of the answers differ, there are no clips, or the model is already an 8-bit
        export. Nothing is written then.
    """
    source = open_source(model)
    if not len(clips) or not len(calibration):
        raise HarkenError("no clips to calibrate and check the 8-bit export on: give a larger corpus with --data DIR")
    check = path.with_name(f"{path.name}.json")
    require_writable(path, check)
    with replacing_all(path, check) as (temporary, beside):
        _quantize(source.path, temporary, calibration)
        exported = ModelFile(temporary)
        report = compare_with_source(
            source,
            clips,
            exported.probabilities(clips),
            path=path,
            bits=8,
            size=temporary.stat().st_size,
            clip_ms=median_ms(exported, clips),
            truth=truth,
            synthesized=synthesized,
        )
        advice = f"calibrate on a larger corpus, or {_alternative(source.path)}"
        require_agreement(path, report, most_differing=_MAX_DIFFERING, advice=advice)
        values = {**asdict(report), "path": path.name}
        beside.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return report


def _alternative(source: Path) -> str:
    if any(node.op_type == "Log" for node in onnx.load(str(source)).graph.node):
        return "keep the model file as it is"
    return "train a network with a log-mel front-end, whose values fit into 8 bits"


def _quantize(source: Path, target: Path, calibration: NDArray[np.float32]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)  # Its advice is for developers.
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            graph = onnx.load(str(prepared)).graph
            kept = front_end_nodes(graph)
            has_weights = any(node.op_type in _QUANTIZED_OPERATORS and node.name not in kept for node in graph.node)
            with redirect_stdout(io.StringIO()):  # The calibrator prints its progress.
                quantize_static(
                    str(prepared),
                    str(target),
                    _Clips(calibration),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    activation_type=QuantType.QInt8,  # Unsigned values overflow on processors without VNNI.
                    weight_type=QuantType.QInt8,
                    op_types_to_quantize=_QUANTIZED_OPERATORS,
                    nodes_to_exclude=kept,
                    # The percentile calibrator fails on a graph without such operators.
                    calibrate_method=CalibrationMethod.Percentile if has_weights else CalibrationMethod.MinMax,
                    extra_options={"CalibPercentile": _COVERED_PERCENT},
                )
        finally:
            logging.disable(level)
    # The quantizer drops some of the metadata.
    quantized = onnx.load(str(target))
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(onnx.load(str(source)).metadata_props)
    onnx.save(quantized, str(target))


def front_end_nodes(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes up to the front-end's logarithm, or up to the first convolution if there is none."""
    maker = {output: node for node in graph.node for output in node.output}
    logarithms = [node for node in graph.node if node.op_type == "Log"]
    waiting = logarithms or [node for node in graph.node if node.op_type == "Conv"][:1]
    found: dict[str, None] = {}
    while waiting:
        node = waiting.pop()
        found[node.name] = None
        waiting += [maker[name] for name in node.input if name in maker and maker[name].name not in found]
    return list(found)


class _Clips(CalibrationDataReader):  # type: ignore[misc]
    """Give clips to the calibrator one at a time, since it accepts only batches of equal size."""

    def __init__(self, clips: NDArray[np.float32]) -> None:
        self._clips: Iterator[NDArray[np.float32]] = iter(clips)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        clip = next(self._clips, None)
        return None if clip is None else {"waveform": clip[None]}
