"""Teachers for distillation: the answers of an earlier run or of a model file.

Teacher           interface of a teacher
NetworkTeacher    a network in PyTorch, on the device of the training
FileTeacher       a model file in ONNX Runtime; on a CPU, the faster of the two
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from harken.models.spotter import Spotter
from harken.runtime.modelfile import ModelFile
from harken.training.cuda_graphs import CudaGraphRunner

# Clips in a call of ONNX Runtime. With more, the activations of a large network do not fit in the processor's cache.
_BATCH = 4


class Teacher(Protocol):
    """A model with the same classes as the network in training."""

    def logits(self, waveform: Tensor) -> Tensor:
        """Return the logits [N, classes] of waveforms [N, samples], up to a constant in each row."""
        ...


class NetworkTeacher:
    """A spotter in PyTorch, on the device of the waveforms."""

    def __init__(self, spotter: Spotter) -> None:
        self._spotter = spotter.eval().requires_grad_(False)
        self._replay = CudaGraphRunner()

    @torch.no_grad()
    def logits(self, waveform: Tensor) -> Tensor:
        """See `Teacher.logits`."""
        spotter = self._spotter.to(waveform.device)
        return self._replay(spotter.network, spotter.features(waveform)).float()


class FileTeacher:
    """A model file in ONNX Runtime on the CPU, where a large network is faster than in PyTorch.

    Parameters
    ----------
    model
        The opened model file.
    threads
        Number of threads that share the clips. Threads inside ONNX Runtime and those of PyTorch would wait for each other.
    """

    def __init__(self, model: ModelFile, *, threads: int = 1) -> None:
        self._model = model
        self._temperature = model.card.temperature
        self._pool = ThreadPoolExecutor(threads)

    def logits(self, waveform: Tensor) -> Tensor:
        """See `Teacher.logits`."""
        samples = waveform.float().cpu().numpy()
        parts = [samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH)]
        probabilities = np.concatenate(list(self._pool.map(self._model.probabilities, parts)))
        smallest = float(np.finfo(np.float32).tiny)
        return (torch.from_numpy(probabilities).clamp(min=smallest).log() * self._temperature).to(waveform.device)
