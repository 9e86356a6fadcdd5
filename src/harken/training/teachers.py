"""Whom a student learns from: the answers of an earlier run, or of a model file.

find_teacher     open a run or a model file of the same classes as a teacher
Teacher          what a student asks
NetworkTeacher   a network on the student's device
FileTeacher      a model file in ONNX Runtime: on a CPU, the quicker of the two
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from harken.errors import HarkenError
from harken.models.spotter import Spotter
from harken.runtime.modelfile import ModelFile
from harken.tasks.protocol import Task
from harken.tasks.recipe import Recipe
from harken.training.cuda_graphs import Replay
from harken.training.trained_networks import load_trained, open_trained

_TOGETHER = 4  # clips that ONNX Runtime hears at once: what a large network makes of more does not stay in the processor's cache


class Teacher(Protocol):
    """A recogniser of the student's classes."""

    def logits(self, waveform: Tensor) -> Tensor:
        """Return what it makes of waveforms [N, samples]: logits [N, classes], but for a constant in each row."""
        ...


class NetworkTeacher:
    """A spotter at work on the device of what it hears."""

    def __init__(self, spotter: Spotter) -> None:
        self._spotter = spotter.eval().requires_grad_(False)
        self._replay = Replay()

    @torch.no_grad()
    def logits(self, waveform: Tensor) -> Tensor:
        """See `Teacher.logits`."""
        spotter = self._spotter.to(waveform.device)
        return self._replay(spotter.network, spotter.features(waveform)).float()


class FileTeacher:
    """A model file in ONNX Runtime on the CPU, where a large network answers sooner than in PyTorch.

    threads : each hears some of the clips. Threads within ONNX Runtime would wait for PyTorch's, and those for them.
    """

    def __init__(self, model: ModelFile, *, threads: int = 1) -> None:
        self._model = model
        self._temperature = model.card.temperature
        self._pool = ThreadPoolExecutor(threads)

    def logits(self, waveform: Tensor) -> Tensor:
        """See `Teacher.logits`."""
        heard = waveform.float().cpu().numpy()
        parts = [heard[start : start + _TOGETHER] for start in range(0, len(heard), _TOGETHER)]
        probabilities = np.concatenate(list(self._pool.map(self._model.probabilities, parts)))
        least = np.finfo(np.float32).tiny
        return (torch.from_numpy(probabilities).clamp(min=float(least)).log() * self._temperature).to(waveform.device)


def find_teacher(source: str, recipe: Recipe, task: Task) -> Teacher:
    """Return what a student asks of a run's folder, a model file's path, or a name in the box.

    Raises HarkenError when `source` is none of these, or answers another question than the recipe asks.
    """
    model = open_trained(source, recipe)
    if model.card.labels != task.labels:
        raise HarkenError(f"{source} has other classes: train one with these")
    if torch.cuda.is_available():
        return NetworkTeacher(load_trained(source, model, recipe, task))
    return FileTeacher(model, threads=torch.get_num_threads())
