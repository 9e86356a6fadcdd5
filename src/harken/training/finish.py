"""From the best weights of a run to its model file: temperature, thresholds, and the figures of its card."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harken.corpus.recordings import read_recordings, speech_side
from harken.corpus.table import audio_files
from harken.evaluation.examples import Examples
from harken.evaluation.rejection import calibrate_thresholds, measure_rejection
from harken.export.onnx import change_metadata, write_model_file
from harken.labels import UNKNOWN
from harken.modelfile import ModelFile
from harken.models.summary import count_parameters, multiply_adds
from harken.tasks.protocol import Material, Task, side_waveforms
from harken.tasks.recipe import Recipe
from harken.training.module import Spotter

_BATCH = 256
_TEMPERATURES = np.geomspace(0.25, 4.0, 81)


def finish(spotter: Spotter, recipe: Recipe, material: Material, task: Task, path: Path) -> float:
    """Write the model file of a trained spotter and return its accuracy on the validation side.

    The logits are divided by the temperature that fits validation best. Where the task has `_unknown_` and running
    speech was given, each word gets a threshold.
    """
    waveforms, truth = side_waveforms(task, recipe, "validation")
    logits = all_logits(spotter, torch.from_numpy(waveforms))
    temperature = fit_temperature(logits, torch.from_numpy(truth)) if UNKNOWN in task.labels else 1.0
    accuracy = float((logits.argmax(1).numpy() == truth).mean())
    bands, frames = spotter.front_end.bands, spotter.front_end.frames(recipe.samples)
    metadata: dict[str, Any] = {
        "labels": list(task.labels),
        "sample_rate": recipe.sample_rate,
        "window": recipe.samples,
        # A path of ours says nothing elsewhere.
        "recipe": asdict(replace(recipe, teacher=Path(recipe.teacher).name, start_from=Path(recipe.start_from).name)),
        "corpus": [folder.name for folder in (*material.data, *material.train_only)],
        "clips": {side: len(task.rows(side)) for side in ("train", "validation", "test")},
        "validation_accuracy": round(accuracy, 5),
        "temperature": round(temperature, 4),
        "parameters": count_parameters(spotter.network),
        "multiply_adds": multiply_adds(spotter.network, bands, frames),
    }
    write_model_file(spotter, path, metadata, temperature=temperature)
    if UNKNOWN in task.labels and material.speech:
        names = tuple(str(number) for number in range(len(truth)))
        _store_thresholds(path, Examples(waveforms, truth, names, {}), recipe, material)
    return accuracy


def _store_thresholds(path: Path, examples: Examples, recipe: Recipe, material: Material) -> None:
    files = [file for folder in material.speech for file in audio_files(folder)]
    if not (setting := speech_side(files, "thresholds")):
        return
    speech = read_recordings(setting, recipe.sample_rate)
    model = ModelFile(path)
    thresholds = calibrate_thresholds(model, examples, speech)
    found = asdict(measure_rejection(model, examples, speech, thresholds))
    change_metadata(path, path, {"thresholds": thresholds, "rejection_where_thresholds_were_set": found})


def all_logits(spotter: Spotter, waveforms: Tensor) -> Tensor:
    """Return the logits [N, classes] of waveforms [N, samples]."""
    with torch.no_grad():
        return torch.cat([spotter(batch) for batch in waveforms.split(_BATCH)])  # type: ignore[no-untyped-call]


def fit_temperature(logits: Tensor, truth: Tensor) -> float:
    """Return the temperature that makes the cross-entropy of softmax(logits / T) least (Guo et al., 2017, arXiv:1706.04599)."""
    losses = [float(F.cross_entropy(logits / temperature, truth)) for temperature in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])
