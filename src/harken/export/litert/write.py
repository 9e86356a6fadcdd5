"""Export a model file to LiteRT: NAME.tflite and NAME.tflite.json, written once the flatbuffer agrees with the model."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.export.comparison import ExportReport, compare_with_source, open_source, require_agreement
from harken.export.litert.convert import convert
from harken.export.litert.int8 import quantize
from harken.export.litert.run import LitertFile
from harken.files import replacing_all, require_writable
from harken.models.embedding_head import EmbeddingHead
from harken.models.frontend import LogMel
from harken.models.spotter import Spotter
from harken.runtime.modelfile import Card, ModelFile
from harken.training.restore import restore_spotter
from harken.training.run_folder import load_spotter

_MAX_DIFFERING = 0.03  # fraction of different answers, in 8 bits
_BATCH = 64
_RESTORE_CLIPS = 512  # for the statistics of normalizations


def write_litert(
    model: str | os.PathLike[str],
    path: Path,
    clips: NDArray[np.float32],
    *,
    truth: NDArray[np.int64] | None = None,
    calibration: NDArray[np.float32] | None = None,
    features: bool = False,
    synthesized: bool = False,
) -> ExportReport:
    """Write a model file as LiteRT, and its metadata with the result of the check beside it as PATH.json.

    Parameters
    ----------
    model
        A path, a run folder, or the name of a bundled model.
    path
        The file to write.
    clips
        Clips to compare both on, full scale 1.0, [N, window].
    truth
        Their indices into the labels, [N], if known.
    calibration
        Other such clips, to choose the scales of 8 bits by. Without them, the export is float32.
    features
        Leave the front-end out. The input is then log-mel features [1, bands, frames]; in 8 bits, input and output
        are int8.
    synthesized
        Whether the clips are synthetic speech; the check records it.

    Returns
    -------
    ExportReport
        The result of the check.

    Raises
    ------
    HarkenError
        The export disagrees with the model (by more than 1e-3 in probability in float32, or on significantly more
        than 3 % of the answers in 8 bits), the model's weights cannot be restored, or LiteRT does not support its
        network. Nothing is written then.
    """
    source = open_source(model)
    if not len(clips) or (calibration is not None and not len(calibration)):
        raise HarkenError("no clips to check the LiteRT export on: give a larger corpus with --data DIR")
    check = path.with_name(f"{path.name}.json")
    require_writable(path, check)
    all_clips = clips if calibration is None else np.concatenate([calibration, clips])
    spotter = _spotter(source, all_clips)
    if isinstance(spotter.network, EmbeddingHead):
        raise HarkenError(
            f"{source.path} uses the speech embedding, which harken does not export to LiteRT: use onnx-stream or onnx-int8"
        )
    if features and not isinstance(spotter.front_end, LogMel):
        raise HarkenError(f"{source.path} has no log-mel front-end: export it without --features")
    temperature = source.card.temperature
    content = convert(spotter, source.card.window, features=features, temperature=temperature)
    inputs = _features(spotter, clips) if features else clips
    if calibration is not None:
        calibration_inputs = _features(spotter, calibration) if features else calibration
        content = quantize(content, calibration_inputs, "features" if features else "waveform", whole=features)
    with replacing_all(path, check) as (temporary, beside):
        temporary.write_bytes(content)
        exported = LitertFile(temporary)
        found, clip_ms = exported.run(inputs)
        bits, size = 32 if calibration is None else 8, temporary.stat().st_size
        report = compare_with_source(
            source,
            clips,
            found,
            path=path,
            bits=bits,
            size=size,
            clip_ms=clip_ms,
            truth=truth,
            synthesized=synthesized,
        )
        advice = "calibrate on a larger corpus, or export to float32 (litert)"
        require_agreement(path, report, most_differing=_MAX_DIFFERING, advice=advice)
        beside.write_text(_json(source.card, exported, report), encoding="utf-8")
    return report


def _spotter(source: ModelFile, waveforms: NDArray[np.float32]) -> Spotter:
    """Return the network with the weights of its run, or else with the weights of the model file."""
    run = source.path.parent
    if source.path.name == "model.onnx" and (run / "best.ckpt").is_file():
        return load_spotter(run, len(source.card.labels))
    return restore_spotter(source.path, torch.from_numpy(waveforms[:_RESTORE_CLIPS]))


@torch.no_grad()
def _features(spotter: Spotter, clips: NDArray[np.float32]) -> NDArray[np.float32]:
    batches = torch.from_numpy(clips).split(_BATCH)  # type: ignore[no-untyped-call]
    features: NDArray[np.float32] = torch.cat([spotter.front_end(batch) for batch in batches]).numpy()
    return features


def _json(card: Card, exported: LitertFile, report: ExportReport) -> str:
    fields: dict[str, Any] = {
        "labels": card.labels,
        "sample_rate": card.sample_rate,
        "window": card.window,
        "thresholds": card.thresholds,
        **card.fields,
        "input": _tensor(exported.input),
        "output": _tensor(exported.output),
        "export": {key: value for key, value in asdict(report).items() if key != "path"},
    }
    return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"


def _tensor(description: dict[str, Any]) -> dict[str, Any]:
    """Return name, shape and type of a tensor, and for int8 the values in real = scale * (stored - zero_point)."""
    scale, zero_point = description["quantization"]
    stored = {"scale": float(scale), "zero_point": int(zero_point)} if scale else {}
    shape, dtype = description["shape"].tolist(), np.dtype(description["dtype"]).name
    return {
        "name": description["name"],
        "shape": shape,
        "dtype": dtype,
        **stored,
    }
