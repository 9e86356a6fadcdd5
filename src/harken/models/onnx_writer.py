"""Write the model file: an ONNX graph from waveform to probabilities, with everything a user needs in its metadata.

write_model_file      a spotter -> a model file
export_onnx           a torch module -> an ONNX model
largest_difference    compare a network with its model file
change_metadata       copy a model file with other metadata
"""

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
_TOLERANCE = 1e-4  # largest accepted difference of a probability
_CHECKED_WAVEFORMS = 4


class WithProbabilities(nn.Module):
    """A spotter followed by a softmax of its logits / `temperature`: waveforms [N, samples] -> probabilities [N, classes]."""

    def __init__(self, spotter: nn.Module, temperature: float = 1.0) -> None:
        super().__init__()
        self.spotter = spotter
        self.temperature = temperature

    def forward(self, waveform: Tensor) -> Tensor:
        logits: Tensor = self.spotter(waveform)
        return torch.softmax(logits / self.temperature, dim=1)


def write_model_file(spotter: nn.Module, path: Path, metadata: Mapping[str, Any], *, temperature: float = 1.0) -> None:
    """Write a spotter as a model file, and check that onnxruntime computes the same as torch.

    Parameters
    ----------
    spotter
        Waveforms [N, samples] -> logits [N, classes].
    path
        File to write.
    metadata
        At least `labels`, `sample_rate` (in Hz) and `window` (in samples). Each value is stored as JSON.
    temperature
        The logits are divided by it.

    Raises
    ------
    HarkenError
        If the probabilities of the two differ by more than 1e-4. No file is left then.
    """
    whole = WithProbabilities(spotter, temperature).eval().cpu()
    whole.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    samples = int(metadata["window"])
    model = export_onnx(whole, {"waveform": torch.zeros(2, samples)}, ["probabilities"])
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    with replacing(path) as temporary:
        onnx.save(model, str(temporary))
        difference = largest_difference(whole, temporary, samples)
        if not difference <= _TOLERANCE:
            raise HarkenError(
                f"{path} was not written: its probabilities differ from the network's by {difference:.2g}; "
                "report this as a bug"
            )


def export_onnx(module: nn.Module, inputs: Mapping[str, Tensor], outputs: list[str]) -> onnx.ModelProto:
    """Export a module to ONNX.

    Parameters
    ----------
    module
        The module.
    inputs
        Name and example of each input. Examples are batches of two clips; the exported model accepts any number.
    outputs
        Names of the outputs.
    """
    with torch.no_grad(), _hide_messages():
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
    _remove_traces(model)
    return model


def largest_difference(network: nn.Module, path: Path, samples: int) -> float:
    """Return the largest difference in probability between a network and its model file, for tones, noise and silence.

    Parameters
    ----------
    network
        Waveforms [N, samples] -> probabilities [N, classes].
    path
        The model file.
    samples
        Length of a waveform.
    """
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
def _hide_messages() -> Iterator[None]:
    """Hide messages of the exporter and its libraries that are meant for their developers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(action="ignore"):
        try:
            yield
        finally:
            logging.disable(level)


def _remove_traces(model: onnx.ModelProto) -> None:
    """Remove the call traces that the exporter stores at each node. They contain paths of this machine."""
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.value_info, *model.functions, model.graph):
        del part.metadata_props[:]
        part.doc_string = ""


def change_metadata(source: Path, target: Path, changes: Mapping[str, Any]) -> None:
    """Copy a model file and change some of its metadata.

    Parameters
    ----------
    source, target
        Model file to read, and file to write. Both can be the same.
    changes
        Entries to add or replace. Each value is stored as JSON.
    """
    model = onnx.load(str(source))
    entries = {entry.key: entry.value for entry in model.metadata_props}
    entries |= {key: json.dumps(value) for key, value in changes.items()}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, entries)
    with replacing(target) as temporary:
        onnx.save(model, str(temporary))
