"""Write the model file of a run from its best weights: temperature, thresholds, and the figures of its card.

finish             a trained spotter -> the model file
all_logits         the logits of many waveforms
fit_temperature    the softmax temperature that fits best
"""

from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from harken.corpus.recordings import join_recordings, read_recordings, speech_side
from harken.corpus.table import audio_files
from harken.errors import HarkenError
from harken.evaluation.clips.examples import Examples
from harken.evaluation.clips.rejection import calibrate_thresholds, measure_rejection
from harken.evaluation.clips.tuning import tune_clips
from harken.files import replacing
from harken.labels import UNKNOWN
from harken.models.embedding_head import EmbeddingHead
from harken.models.onnx_writer import change_metadata, write_model_file
from harken.models.spotter import Spotter
from harken.models.summary import count_parameters, multiply_adds
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import ModelFile
from harken.tasks.protocol import Material, Task, side_waveforms
from harken.tasks.recipe import Recipe

_BATCH = 256
# Rates of false alarms to try for, strictest first. New speakers cause up to 2.5 times as many as those that set the
# thresholds.
_ALARMS_PER_MINUTE = (0.4, 0.5, 0.7, 1.0)
_TEMPERATURES = np.geomspace(0.25, 4.0, 81)
# Settings for streams of a network on the speech embedding, as of an enrolled phrase. It sees a longer window, which a word
# stays in for several steps, and it knows more speech, so a word may be part of a sentence.
_EMBEDDING_LISTENER = {"hop_ms": 240.0, "smoothing_ms": 0.0, "refractory_ms": 1500.0, "isolation": 0.0}


def finish(spotter: Spotter, recipe: Recipe, material: Material, task: Task, path: Path) -> float:
    """Write the model file of a trained spotter.

    If the task has the class `_unknown_`, the logits are divided by the temperature that fits the validation side best,
    and the model file gets a threshold for clips (see harken.evaluation.clips.tuning). If running speech is given as well,
    each word gets a threshold for streams.

    Parameters
    ----------
    spotter
        The trained network, in evaluation mode.
    recipe, material, task
        What the run was trained with.
    path
        Model file to write.

    Returns
    -------
    float
        Accuracy on the validation side, as a fraction.
    """
    waveforms, truth = side_waveforms(task, recipe, "validation")
    logits = all_logits(spotter, torch.from_numpy(waveforms))
    temperature = fit_temperature(logits, torch.from_numpy(truth)) if UNKNOWN in task.labels else 1.0
    accuracy = float((logits.argmax(1).numpy() == truth).mean())
    bands, frames = spotter.front_end.bands, spotter.front_end.frames(recipe.samples)
    # Only names are stored, since the folders of this machine do not exist elsewhere.
    portable = replace(
        recipe,
        teacher=tuple(Path(teacher).name for teacher in recipe.teacher),
        start_from=Path(recipe.start_from).name,
    )
    metadata: dict[str, Any] = {
        "labels": list(task.labels),
        "sample_rate": recipe.sample_rate,
        "window": recipe.samples,
        "recipe": asdict(portable),
        "corpus": [folder.name for folder in (*material.data, *material.train_only)],
        "clips": {side: len(task.rows(side)) for side in ("train", "validation", "test")},
        "validation_accuracy": round(accuracy, 5),
        "temperature": round(temperature, 4),
        "parameters": count_parameters(spotter.network),
        "multiply_adds": multiply_adds(spotter.network, bands, frames),
    }
    if isinstance(spotter.network, EmbeddingHead):
        metadata["listener"] = _EMBEDDING_LISTENER
        # Clips of a second are in the middle of the window, as in training.
        metadata["lead_in"] = max(0, recipe.samples - recipe.sample_rate) // 2
    if UNKNOWN in task.labels:
        probabilities = torch.softmax(logits / temperature, dim=1).numpy()
        with suppress(HarkenError):  # too few clips, or too weak a network: every answer is accepted
            metadata |= tune_clips(probabilities, truth, task.labels).metadata(task.labels)
    with replacing(path) as temporary:  # what is at `path` is always complete
        write_model_file(spotter, temporary, metadata, temperature=temperature)
        if UNKNOWN in task.labels and material.speech:
            names = tuple(str(number) for number in range(len(truth)))
            _store_thresholds(temporary, Examples(waveforms, truth, names, {}), recipe, material)
    return accuracy


def _store_thresholds(path: Path, examples: Examples, recipe: Recipe, material: Material) -> None:
    """Set each word's threshold for streams so that every folder of speech by itself keeps to the rate of false alarms."""
    sides = [speech_side(audio_files(folder), "thresholds") for folder in material.speech]
    speech = [read_recordings(files, recipe.sample_rate) for files in sides if files]
    if not speech:
        return
    model = ModelFile(path)
    per_folder = [
        calibrate_thresholds(model, examples, recordings, alarms_per_minute=_ALARMS_PER_MINUTE) for recordings in speech
    ]
    if not all(per_folder):  # too weak a network
        return
    thresholds = {word: max(found[word] for found in per_folder) for word in model.card.words}
    figures = asdict(measure_rejection(model, examples, join_recordings(speech), thresholds))
    listener = replace(ListenerSettings.from_card(model.card), thresholds=thresholds).to_json()
    change_metadata(path, path, {"listener": listener, "rejection_where_thresholds_were_set": figures})


def all_logits(spotter: Spotter, waveforms: Tensor) -> Tensor:
    """Return the logits [N, classes] of waveforms [N, samples]."""
    with torch.no_grad():
        return torch.cat([spotter(batch) for batch in waveforms.split(_BATCH)])  # type: ignore[no-untyped-call]


def fit_temperature(logits: Tensor, truth: Tensor) -> float:
    """Return the temperature T that minimizes the cross-entropy of softmax(logits / T).

    Temperature scaling is described by Guo et al., 2017 (arXiv:1706.04599).

    Parameters
    ----------
    logits
        [N, classes].
    truth
        Class of each row, [N].
    """
    losses = [float(F.cross_entropy(logits / temperature, truth)) for temperature in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])
