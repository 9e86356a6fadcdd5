"""write_litert: a model file leaves as NAME.tflite and NAME.tflite.json, once the flatbuffer agrees with it."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.export.comparison import FormReport, compared, open_source, too_many_differ
from harken.export.litert.convert import convert
from harken.export.litert.int8 import quantised
from harken.export.litert.run import LitertFile
from harken.files import replacing_all, require_writable
from harken.models.frontend import LogMel
from harken.models.spotter import Spotter
from harken.runtime.modelfile import Card, ModelFile
from harken.training.restore import restore_spotter
from harken.training.run_folder import load_spotter

_TOLERANCE = 1e-3  # in probability, of the float32 form
_DIFFERING = 0.03  # of answers, of the 8-bit form
_BATCH = 64
_MEASURED = 512  # clips, for the statistics of normalisations


def write_litert(
    model: str | os.PathLike[str],
    path: Path,
    clips: NDArray[np.float32],
    *,
    truth: NDArray[np.int64] | None = None,
    calibration: NDArray[np.float32] | None = None,
    features: bool = False,
    synthesised: bool = False,
) -> FormReport:
    """Write a model file as LiteRT, and what it says of itself with the check beside it as PATH.json.

    model : a path, the folder of a run, or the name of a bundled model. clips : [N, window], full scale 1.0, on which both
    are compared; truth : [N] their indices into the labels. calibration : other such clips, to set the scales of 8 bits by;
    without them the form is float32. features : leave the front-end out; the form then takes log-mel features
    [1, bands, frames], and in 8 bits its input and output are int8. synthesised : whether synthetic voices spoke the clips;
    the check says so.

    Raises HarkenError, and leaves no file, when the form disagrees: by over 1e-3 in probability in float32, on over 3 % of
    the answers in 8 bits, by more than chance may have it in so few clips; or when the model's weights cannot be had, or
    LiteRT does not take its network.
    """
    source = open_source(model)
    if not len(clips) or (calibration is not None and not len(calibration)):
        raise HarkenError("no clips to check the LiteRT form on: name a larger corpus with --data DIR")
    check = path.with_name(f"{path.name}.json")
    require_writable(path, check)
    known = clips if calibration is None else np.concatenate([calibration, clips])
    spotter = _spotter(source, known)
    if features and not isinstance(spotter.front_end, LogMel):
        raise HarkenError(f"{source.path} hears the waveform itself: export it without --features")
    temperature = source.card.temperature
    content = convert(spotter, source.card.window, features=features, temperature=temperature)
    heard = _features(spotter, clips) if features else clips
    if calibration is not None:
        given = _features(spotter, calibration) if features else calibration
        content = quantised(content, given, "features" if features else "waveform", whole=features)
    with replacing_all(path, check) as (temporary, beside):
        temporary.write_bytes(content)
        form = LitertFile(temporary)
        found, clip_ms = form.run(heard)
        bits, size = 32 if calibration is None else 8, temporary.stat().st_size
        report = compared(
            source,
            clips,
            found,
            path=path,
            bits=bits,
            size=size,
            clip_ms=clip_ms,
            truth=truth,
            synthesised=synthesised,
        )
        _require_agreement(report)
        beside.write_text(_json(source.card, form, report), encoding="utf-8")
    return report


def _spotter(source: ModelFile, waveforms: NDArray[np.float32]) -> Spotter:
    """Return the network of a run by its best weights, or of a model file by those that it holds."""
    run = source.path.parent
    if source.path.name == "model.onnx" and (run / "best.ckpt").is_file():
        return load_spotter(run, len(source.card.labels))
    return restore_spotter(source.path, torch.from_numpy(waveforms[:_MEASURED]))


@torch.no_grad()
def _features(spotter: Spotter, clips: NDArray[np.float32]) -> NDArray[np.float32]:
    batches = torch.from_numpy(clips).split(_BATCH)  # type: ignore[no-untyped-call]
    features: NDArray[np.float32] = torch.cat([spotter.front_end(batch) for batch in batches]).numpy()
    return features


def _require_agreement(report: FormReport) -> None:
    # A comparison with NaN is false: it disagrees.
    if report.bits == 32 and not report.largest_difference <= _TOLERANCE:
        raise HarkenError(
            f"{report.path} was not written: its answers differ from the model file's by {report.largest_difference:.2g}"
        )
    differing = round((1 - report.agreement) * report.clips)
    finite = np.isfinite(report.largest_difference)
    if report.bits == 8 and (not finite or too_many_differ(differing, report.clips, _DIFFERING)):
        raise HarkenError(
            f"{report.path} was not written: in 8 bits {differing} of {report.clips} clips are answered otherwise; "
            "calibrate on more clips, or take the float32 form (litert)"
        )


def _json(card: Card, form: LitertFile, report: FormReport) -> str:
    fields: dict[str, Any] = {
        "labels": card.labels,
        "sample_rate": card.sample_rate,
        "window": card.window,
        "thresholds": card.thresholds,
        **card.fields,
        "input": _tensor(form.input),
        "output": _tensor(form.output),
        "export": {key: value for key, value in asdict(report).items() if key != "path"},
    }
    return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"


def _tensor(told: dict[str, Any]) -> dict[str, Any]:
    """Return name, shape and type of an input or output; of an int8 one, how real = scale x (stored - zero_point) too."""
    scale, zero_point = told["quantization"]
    stored = {"scale": float(scale), "zero_point": int(zero_point)} if scale else {}
    return {"name": told["name"], "shape": told["shape"].tolist(), "dtype": np.dtype(told["dtype"]).name, **stored}
