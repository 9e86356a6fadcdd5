"""Export a streaming model (onnx-stream): each step computes only what its new frames change.

StreamingSpotter         a causal BC-ResNet that is computed step by step
write_stream_file        write a spotter as streaming ONNX, with the state as an input and an output
write_stream_of_model    the same for a model file
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.export.comparison import open_source
from harken.export.stream_graph import StreamGraph
from harken.export.stream_report import CHECKED_STEPS, StreamReport, generated_stream, generated_windows, make_report
from harken.files import replacing, replacing_all, require_writable
from harken.models.bc_resnet import BCResNet
from harken.models.frontend import LogMel
from harken.models.spotter import Spotter
from harken.runtime.modelfile import ModelFile
from harken.runtime.streamfile import StreamFile
from harken.training.restore import restore_spotter

STEP_MS = 100.0
_TOLERANCE = 1e-4
_OF_THE_WINDOWS = ("listener", "tuned_on", "rejection_where_thresholds_were_set")  # metadata of thresholds for streams
_NOISE_WINDOWS = 8  # to restore the network with


class StreamingSpotter:
    """A spotter with a causal network, to be computed step by step.

    Each convolution over time keeps the frames that its next outputs need, and the mean over time keeps the frames of one
    window. Nothing is computed twice. The logits are those of the network run over the whole history, with the mean taken
    over the last window. A state of zeros starts a stream.

    Parameters
    ----------
    spotter
        The network with its front-end, in evaluation mode.
    samples
        Samples in the model's window.
    step
        Samples in a step.
    temperature
        Divisor of the logits.

    Attributes
    ----------
    graph : StreamGraph
        The graph of a step.

    Raises
    ------
    HarkenError
        The network is not a causal BC-ResNet, or the step is not a whole number of its frames.
    """

    def __init__(self, spotter: Spotter, samples: int, step: int, *, temperature: float = 1.0) -> None:
        front_end, network = spotter.front_end, spotter.network
        if not isinstance(front_end, LogMel) or not isinstance(network, BCResNet) or not network.stem.past:
            raise HarkenError(
                "this network looks ahead, so it cannot be exported to onnx-stream: train a network named harken_*"
            )
        stride = network.stem.stride[1]
        if step < 1 or step % (front_end.hop * stride):
            every = 1000 * front_end.hop * stride / front_end.sample_rate
            raise HarkenError(f"a step of {step} samples is not a multiple of {every:g} ms, one frame: change step_ms")
        self.front_end = front_end
        self.network = network
        self.step = step
        self.temperature = temperature
        self.pooled = -(-front_end.frames(samples) // stride)
        self.graph = StreamGraph(
            front_end, network, frames=step // front_end.hop, pooled=self.pooled, temperature=temperature
        )


def write_stream_file(
    spotter: Spotter, path: Path, metadata: Mapping[str, Any], *, step_ms: float = STEP_MS, temperature: float = 1.0
) -> float:
    """Write a spotter as a streaming ONNX file.

    Its inputs are `waveform` [N, step] and `state`, its outputs `probabilities` and `next_state`.

    Parameters
    ----------
    spotter
        The network with its front-end.
    path
        The file to write.
    metadata
        The metadata of the model file. `step` (in samples) and `state` (its size) are added.
    step_ms
        Length of a step, in milliseconds.
    temperature
        Divisor of the logits.

    Returns
    -------
    float
        The largest difference in probability that the check found, see `stream_difference`.

    Raises
    ------
    HarkenError
        The network looks ahead, or the file's answers over a stream differ from those of the network run over the
        whole of it by more than 1e-4. Nothing is written then.
    """
    with replacing(path) as temporary:
        return _write_checked(spotter, temporary, path, metadata, step_ms=step_ms, temperature=temperature)


def _write_checked(
    spotter: Spotter, temporary: Path, path: Path, metadata: Mapping[str, Any], *, step_ms: float, temperature: float
) -> float:
    """Write `temporary`, which is renamed to `path` later, and return the largest difference found by its check."""
    step = round(step_ms * metadata["sample_rate"] / 1000)
    streaming = StreamingSpotter(spotter.eval().cpu(), int(metadata["window"]), step, temperature=temperature)
    model = streaming.graph.model()
    entries = {**metadata, "step": step, "state": streaming.graph.size}
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in entries.items()})
    onnx.save(model, str(temporary))
    difference = stream_difference(streaming, temporary)
    if not difference <= _TOLERANCE:
        raise HarkenError(f"{path} was not written: its probabilities differ from the network's by {difference:.2g}")
    return difference


def stream_difference(streaming: StreamingSpotter, path: Path) -> float:
    """Return the largest difference in probability between the file, run step by step, and the network over everything."""
    step = streaming.step
    sound = generated_stream(CHECKED_STEPS * step)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    state, found = np.zeros((1, streaming.graph.size), np.float32), []
    for start in range(0, sound.size, step):
        given = {"waveform": sound[None, start : start + step], "state": state}
        probabilities, state = session.run(["probabilities", "next_state"], given)
        found.append(probabilities[0])
    return float(np.abs(np.stack(found) - full_history_probabilities(streaming, sound)).max())


@torch.no_grad()
def full_history_probabilities(streaming: StreamingSpotter, sound: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
    """Return the probabilities [steps, classes] of the plain network, run at each step over all audio so far."""
    network, front_end = streaming.network, streaming.front_end
    features = front_end(torch.from_numpy(np.pad(sound, (front_end.window - front_end.hop, 0)))[None])
    x = F.relu(network.stem_norm(network.stem(network.norm(features).unsqueeze(1))))
    x = F.relu(network.expand_norm(network.expand(network.last(network.blocks(x)))))
    per_step = streaming.step // (front_end.hop * network.stem.stride[1])
    rows = []
    for end in range(per_step, x.shape[-1] + 1, per_step):
        # At the start of a stream, the missing frames count as zeros in the mean.
        summed = x[..., max(0, end - streaming.pooled) : end].sum(dim=(2, 3), keepdim=True) / streaming.pooled
        rows.append(torch.softmax(network.classify(summed).flatten(1) / streaming.temperature, dim=1)[0])
    return torch.stack(rows).numpy()


def write_stream_of_model(
    model: str | os.PathLike[str],
    path: Path,
    *,
    step_ms: float = STEP_MS,
    clips: NDArray[np.float32] | None = None,
    synthesized: bool = False,
) -> StreamReport:
    """Export a model file as a streaming model, and write the result of the check beside it as PATH.json.

    The metadata are those of the original without its thresholds for streams, and what belongs to them. They must be tuned
    again, since a stream has a history and a window does not.

    Parameters
    ----------
    model
        A path, a run folder, or the name of a bundled model.
    path
        The file to write.
    step_ms
        Length of a step, in milliseconds.
    clips
        Clips to compare the answers on, full scale 1.0, [N, window]. Some answers may differ; that is not an error.
    synthesized
        Whether the clips are synthetic speech; the check records it.

    Returns
    -------
    StreamReport
        The result of the check.

    Raises
    ------
    HarkenError
        The network looks ahead, or the file does not agree with it. Nothing is written then.
    """
    source = open_source(model)
    check = path.with_name(f"{path.name}.json")
    require_writable(path, check)
    card = source.card
    metadata = {
        **{name: value for name, value in card.fields.items() if name not in _OF_THE_WINDOWS},
        "labels": list(card.labels),
        "sample_rate": card.sample_rate,
        "window": card.window,
        "thresholds": dict(card.thresholds),
    }
    if isinstance(shifts := metadata.get("sensitivity"), Mapping):
        metadata["sensitivity"] = {use: values for use, values in shifts.items() if use == "clips"}
    # The network's answers do not depend on the audio that it is restored with.
    noise = 0.1 * np.random.default_rng(0).standard_normal((_NOISE_WINDOWS, card.window))
    spotter = restore_spotter(source.path, torch.from_numpy(noise.astype(np.float32)))
    temperature = card.temperature
    from_source = source_difference(spotter, source, temperature)
    if not from_source <= _TOLERANCE:
        raise HarkenError(
            f"{path} was not written: its network's probabilities differ from {source.path} by {from_source:.2g}"
        )
    with replacing_all(path, check) as (temporary, beside):
        difference = _write_checked(spotter, temporary, path, metadata, step_ms=step_ms, temperature=temperature)
        stream_file = StreamFile(temporary)
        report = make_report(
            stream_file,
            source,
            path,
            largest_difference=difference,
            source_difference=from_source,
            clips=clips,
            synthesized=synthesized,
        )
        beside.write_text(report.to_json(), encoding="utf-8")
    return report


@torch.no_grad()
def source_difference(spotter: Spotter, source: ModelFile, temperature: float) -> float:
    """Return the largest difference in probability between a network and a model file, on windows of the generated stream."""
    windows = generated_windows(source.card.window)
    ours = torch.softmax(spotter(torch.from_numpy(windows)) / temperature, dim=1).numpy()
    return float(np.abs(ours - source.probabilities(windows)).max())
