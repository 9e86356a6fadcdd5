"""The model file: one ONNX graph, waveform in, probabilities out, with everything a user of it needs in its metadata."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.files import replacing

_OPSET = 20
_TOLERANCE = 1e-4
_CHECKED_WAVEFORMS = 4


class WithProbabilities(nn.Module):
    """A spotter and a softmax of its logits over `temperature`: waveforms [N, samples] -> probabilities [N, classes]."""

    def __init__(self, spotter: nn.Module, temperature: float = 1.0) -> None:
        super().__init__()
        self.spotter = spotter
        self.temperature = temperature

    def forward(self, waveform: Tensor) -> Tensor:
        logits: Tensor = self.spotter(waveform)
        return torch.softmax(logits / self.temperature, dim=1)


def write_model_file(spotter: nn.Module, path: Path, metadata: Mapping[str, Any], *, temperature: float = 1.0) -> None:
    """Write a spotter as a model file.

    metadata : at least `labels`, `sample_rate` (Hz) and `window` (samples); each value is stored as JSON.
    Raises HarkenError, and leaves no file, when onnxruntime's answer differs from torch's by over 1e-4.
    """
    whole = WithProbabilities(spotter, temperature).eval().cpu()
    whole.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    samples = int(metadata["window"])
    model = exported(whole, {"waveform": torch.zeros(2, samples)}, ["probabilities"])
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))
        difference = largest_difference(whole, temporary, samples)
        if not difference <= _TOLERANCE:
            raise HarkenError(f"{path} was not written: its answers differ from the network's by {difference:.2g}")


def exported(module: nn.Module, inputs: Mapping[str, Tensor], outputs: list[str]) -> onnx.ModelProto:
    """Return a module as ONNX; `inputs` are examples of two clips, and any number of clips will do."""
    with torch.no_grad(), _silent():
        program = torch.onnx.export(
            module,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=_OPSET,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes={name: {0: torch.export.Dim("clips")} for name in inputs},
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _forget_origin(model)
    return model


def largest_difference(network: nn.Module, path: Path, samples: int) -> float:
    """Return the largest difference in probability between a network and its model file, on tones, noise and silence."""
    rng = np.random.default_rng(0)
    ticks = np.arange(samples) / samples
    waveforms = np.stack(
        [np.zeros(samples), 0.1 * rng.standard_normal(samples)]
        + [np.sin(2 * np.pi * (300 + 900 * number) * ticks) for number in range(_CHECKED_WAVEFORMS - 2)]
    ).astype(np.float32)
    with torch.no_grad():
        wanted = network(torch.from_numpy(waveforms)).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"waveform": waveforms})
    return float(np.abs(found - wanted).max())


@contextmanager
def _silent() -> Iterator[None]:
    """Hold back what the exporter and its libraries say to their own developers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(action="ignore"):
        try:
            yield
        finally:
            logging.disable(level)


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes at each node: a trace of calls, with the paths of the machine that trained."""
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.value_info, *model.functions, model.graph):
        del part.metadata_props[:]
        part.doc_string = ""


def change_metadata(source: Path, target: Path, changes: Mapping[str, Any]) -> None:
    """Copy a model file with metadata entries put over its own, each stored as JSON. Both paths may be the same."""
    model = onnx.load(str(source))
    entries = {entry.key: entry.value for entry in model.metadata_props}
    entries |= {key: json.dumps(value) for key, value in changes.items()}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, entries)
    with replacing(target) as temporary:
        onnx.save(model, str(temporary))
