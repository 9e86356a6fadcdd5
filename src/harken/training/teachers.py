"""Whom a student learns from: the answers of an earlier run, or of a model file.

Teacher          what a student asks
NetworkTeacher   a network on the student's device
FileTeacher      a model file in ONNX Runtime: on a CPU, the quicker of the two
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from harken.models.spotter import Spotter
from harken.runtime.modelfile import ModelFile
from harken.training.cuda_graphs import Replay

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
