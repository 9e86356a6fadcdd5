"""A model file in 8 bits: static quantisation by onnxruntime, the front-end left in float32.

write_onnx_int8   -> FormReport

Weights get a scale a channel, activations one each from what calibration clips lead to, but for the outermost 0.007 %: a
scale for the rarest values costs accuracy (docs/export.md says what this one does). Everything up to the logarithm of the
front-end stays float32, since quantised mel energies gave infinite log-mels; where a network hears the waveform itself, its
first convolution does, since quiet clips would be a handful of steps of 8 bits.
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
from harken.export.comparison import FormReport, compared, median_ms, open_source, too_many_differ
from harken.files import replacing_all, require_writable
from harken.runtime.modelfile import ModelFile

_QUANTISED = ["Conv", "MatMul", "Gemm"]
_KEPT = 99.993  # percent of an activation's values that its scale reaches
_DIFFERING = 0.03  # of answers, beyond which nothing is written


def write_onnx_int8(
    model: str | os.PathLike[str],
    path: Path,
    clips: NDArray[np.float32],
    *,
    calibration: NDArray[np.float32],
    truth: NDArray[np.int64] | None = None,
    synthesised: bool = False,
) -> FormReport:
    """Write a model file in 8 bits with the metadata of its source, and the check beside it as PATH.json.

    clips : [N, window], full scale 1.0, on which both are compared. truth : [N], the number of each one's label.
    calibration : other such clips. synthesised : whether synthetic voices spoke them; the check says so.
    Raises HarkenError, and leaves no file, when over 3 % of the answers differ, by more than chance may have it in so few
    clips; when there are none; or when the model has 8 bits already.
    """
    source = open_source(model)
    if not len(clips) or not len(calibration):
        raise HarkenError("no clips to calibrate and check the 8-bit form on: name a larger corpus with --data DIR")
    check = path.with_name(f"{path.name}.json")
    require_writable(path, check)
    with replacing_all(path, check) as (temporary, beside):
        _quantise(source.path, temporary, calibration)
        form = ModelFile(temporary)
        report = compared(
            source,
            clips,
            form.probabilities(clips),
            path=path,
            bits=8,
            size=temporary.stat().st_size,
            clip_ms=median_ms(form, clips),
            truth=truth,
            synthesised=synthesised,
        )
        differing = round((1 - report.agreement) * report.clips)
        if not np.isfinite(report.largest_difference) or too_many_differ(differing, report.clips, _DIFFERING):
            raise HarkenError(
                f"{path} was not written: in 8 bits {differing} of {report.clips} clips are answered otherwise; "
                f"calibrate on more clips of the corpus, or {_instead(source.path)}"
            )
        values = {**asdict(report), "path": path.name}
        beside.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return report


def _instead(source: Path) -> str:
    if any(node.op_type == "Log" for node in onnx.load(str(source)).graph.node):
        return "keep the model file as it is"
    return "take a network that hears log-mel bands, whose levels 8 bits can hold"


def _quantise(source: Path, target: Path, calibration: NDArray[np.float32]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)  # its advice is for those who call it
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            graph = onnx.load(str(prepared)).graph
            kept = front_end_nodes(graph)
            weighty = any(node.op_type in _QUANTISED and node.name not in kept for node in graph.node)
            with redirect_stdout(io.StringIO()):  # the calibrator tells its progress
                quantize_static(
                    str(prepared),
                    str(target),
                    _Clips(calibration),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    activation_type=QuantType.QInt8,  # unsigned ones overflow on processors without VNNI
                    weight_type=QuantType.QInt8,
                    op_types_to_quantize=_QUANTISED,
                    nodes_to_exclude=kept,
                    # The calibrator of percentiles fails where it has nothing to look at.
                    calibrate_method=CalibrationMethod.Percentile if weighty else CalibrationMethod.MinMax,
                    extra_options={"CalibPercentile": _KEPT},
                )
        finally:
            logging.disable(level)
    # The quantiser drops some of the metadata on its way.
    quantised = onnx.load(str(target))
    del quantised.metadata_props[:]
    quantised.metadata_props.extend(onnx.load(str(source)).metadata_props)
    onnx.save(quantised, str(target))


def front_end_nodes(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes that lead to the front-end's logarithm, or to the first convolution of a raw waveform."""
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
    """Gives clips one by one: the calibrator takes batches of one size alone."""

    def __init__(self, clips: NDArray[np.float32]) -> None:
        self._clips: Iterator[NDArray[np.float32]] = iter(clips)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        clip = next(self._clips, None)
        return None if clip is None else {"waveform": clip[None]}
