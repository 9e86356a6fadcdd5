"""The streaming form of a model: each step computes only what its new frames change.

StreamingSpotter         a causal BC-ResNet as a function of new samples and what it remembers
write_stream_file        a spotter -> ONNX, with its memory as an input and an output
write_stream_of_model    the same of a model file
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.export.comparison import median_ms, open_source
from harken.files import replacing, replacing_all, require_writable
from harken.models.bc_resnet import BCResNet, BroadcastBlock, TimeConv
from harken.models.frontend import LogMel
from harken.models.onnx_writer import exported
from harken.models.spotter import Spotter
from harken.runtime.modelfile import ModelFile
from harken.runtime.streamfile import StreamFile
from harken.training.restore import restore_spotter

STEP_MS = 100.0
_TOLERANCE = 1e-4
_CHECKED_STEPS = 25
_TIMED_STEPS = 100
_REOPENED_WITH = 8  # windows of noise


class StreamingSpotter(nn.Module):
    """A spotter whose network sees no future, step by step: samples [N, step], state [N, size] -> both anew.

    Every convolution over time remembers the frames that its next outputs reach back to, and the mean over time the
    frames of one window; nothing is computed twice. The logits are those of the network run over all of the history,
    with the mean taken over the last window. The state is one flat row; zeros begin a stream.

    Raises HarkenError when the network is no causal BC-ResNet, or the step does not hold a whole number of its frames.
    """

    def __init__(self, spotter: Spotter, samples: int, step: int, *, temperature: float = 1.0) -> None:
        super().__init__()
        front_end, network = spotter.front_end, spotter.network
        if not isinstance(front_end, LogMel) or not isinstance(network, BCResNet) or not network.stem.past:
            raise HarkenError("only networks without look-ahead stream (those named harken_): train one of these")
        stride = network.stem.stride[1]
        if step < 1 or step % (front_end.hop * stride):
            every = 1000 * front_end.hop * stride / front_end.sample_rate
            raise HarkenError(f"a step of {step} samples is no multiple of {every:g} ms, a frame of the network")
        self.front_end = front_end
        self.network = network
        self.step = step
        self.temperature = temperature
        self.pooled = -(-front_end.frames(samples) // stride)
        self.shapes = self._shapes()
        self.size = sum(int(np.prod(shape)) for shape in self.shapes)

    def _shapes(self) -> list[tuple[int, ...]]:
        network, bands = self.network, self.front_end.bands
        shapes: list[tuple[int, ...]] = [(self.front_end.window - self.front_end.hop,), (1, bands, network.stem.past)]
        for block in network.blocks:
            assert isinstance(block, BroadcastBlock)
            shapes.append((block.over_time.in_channels, 1, block.over_time.past))
        shapes.append((network.last.in_channels, bands // 8, network.last.past))
        return [*shapes, (network.expand.out_channels, 1, self.pooled)]

    def forward(self, waveform: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        parts = torch.split(state, [int(np.prod(shape)) for shape in self.shapes], dim=1)
        memory = iter([part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)])
        kept: list[Tensor] = []

        def remember(x: Tensor) -> Tensor:
            """Return x with what came before it at its front, and keep its end for the next step."""
            past = next(memory)
            whole = torch.cat([past, x], dim=-1)
            kept.append(whole[..., whole.shape[-1] - past.shape[-1] :])
            return whole

        def convolved(conv: TimeConv, x: Tensor) -> Tensor:
            return F.conv2d(remember(x), conv.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)

        network = self.network
        x = network.norm(self.front_end(remember(waveform))).unsqueeze(1)
        x = F.relu(network.stem_norm(convolved(network.stem, x)))
        for block in network.blocks:
            assert isinstance(block, BroadcastBlock)
            y = F.relu(block.widen_norm(block.widen(x))) if block.first else x
            y = block.band_norm(block.over_bands(y))
            z = F.silu(block.time_norm(convolved(block.over_time, y.mean(dim=2, keepdim=True))))
            y = y + block.mix(z)
            x = F.relu(y if block.first else y + x)
        x = F.relu(network.expand_norm(network.expand(convolved(network.last, x))))
        logits = network.classify(remember(x)[..., -self.pooled :].mean(dim=(2, 3), keepdim=True)).flatten(1)
        return torch.softmax(logits / self.temperature, dim=1), torch.cat([part.flatten(1) for part in kept], dim=1)


def write_stream_file(
    spotter: Spotter, path: Path, metadata: Mapping[str, Any], *, step_ms: float = STEP_MS, temperature: float = 1.0
) -> float:
    """Write a spotter's streaming form: inputs `waveform` [N, step] and `state`, outputs `probabilities` and `next_state`.

    metadata : those of the model file; `step` (samples) and `state` (its size) are added. Returns the largest difference
    that `stream_difference` found.
    Raises HarkenError when the network does not stream, and leaves no file when the file's answers over a stream differ
    by over 1e-4 from those of the network run over the whole of it.
    """
    with replacing(path) as temporary:
        return _write_checked(spotter, temporary, path, metadata, step_ms=step_ms, temperature=temperature)


def _write_checked(
    spotter: Spotter, temporary: Path, path: Path, metadata: Mapping[str, Any], *, step_ms: float, temperature: float
) -> float:
    """Write to `temporary` what shall become `path`, and return what its check found."""
    step = round(step_ms * metadata["sample_rate"] / 1000)
    streaming = StreamingSpotter(spotter.eval(), int(metadata["window"]), step, temperature=temperature).eval().cpu()
    streaming.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model = exported(
        streaming,
        {"waveform": torch.zeros(2, step), "state": torch.zeros(2, streaming.size)},
        ["probabilities", "next_state"],
    )
    entries = {**metadata, "step": step, "state": streaming.size}
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in entries.items()})
    onnx.save(model, str(temporary))
    difference = stream_difference(streaming, temporary)
    if not difference <= _TOLERANCE:
        raise HarkenError(f"{path} was not written: its answers differ from the network's by {difference:.2g}")
    return difference


def made_stream(samples: int) -> NDArray[np.float32]:
    """Return a tone that sweeps, swells and fades, with some noise."""
    rng = np.random.default_rng(0)
    ticks = np.arange(samples)
    loudness = 0.2 * (1 + np.sin(ticks / 2000))
    sound = loudness * (np.sin(ticks * (0.05 + ticks / 1e6)) + 0.1 * rng.standard_normal(ticks.size))
    return sound.astype(np.float32)


def stream_difference(streaming: StreamingSpotter, path: Path) -> float:
    """Return the largest difference in probability between the file, step by step, and the network over the whole."""
    step = streaming.step
    sound = made_stream(_CHECKED_STEPS * step)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    state, found = np.zeros((1, streaming.size), np.float32), []
    for start in range(0, sound.size, step):
        given = {"waveform": sound[None, start : start + step], "state": state}
        probabilities, state = session.run(["probabilities", "next_state"], given)
        found.append(probabilities[0])
    return float(np.abs(np.stack(found) - whole_history(streaming, sound)).max())


@torch.no_grad()
def whole_history(streaming: StreamingSpotter, sound: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
    """Return probabilities [steps, classes] of the plain network, run at each step over all of the sound so far."""
    network, front_end = streaming.network, streaming.front_end
    features = front_end(torch.from_numpy(np.pad(sound, (front_end.window - front_end.hop, 0)))[None])
    x = F.relu(network.stem_norm(network.stem(network.norm(features).unsqueeze(1))))
    x = F.relu(network.expand_norm(network.expand(network.last(network.blocks(x)))))
    per_step = streaming.step // (front_end.hop * network.stem.stride[1])
    rows = []
    for end in range(per_step, x.shape[-1] + 1, per_step):
        # Before the stream there was nothing: zeros stand in the mean.
        summed = x[..., max(0, end - streaming.pooled) : end].sum(dim=(2, 3), keepdim=True) / streaming.pooled
        rows.append(torch.softmax(network.classify(summed).flatten(1) / streaming.temperature, dim=1)[0])
    return torch.stack(rows).numpy()


@dataclass(frozen=True)
class StreamReport:
    """What the check of a streaming form found.

    steps : of the made-up stream that both heard. largest_difference : in probability, over that stream, from the network run
    over the whole of it. source_difference : of that network from the source file, on windows of the stream judged by
    themselves. Together they tie the form to its source; the two files are not one function, since a window begins in
    silence and a stream does not.
    clips, agreement : how many clips, each heard from the start of a stream, and the fraction whose most probable label at
    their end is the source's; None without clips. synthesised : whether synthetic voices spoke them.
    step_ms : median time of a step on one thread here, source_clip_ms : of a window of the source's, which a listener would
    judge in its place.
    """

    path: Path
    steps: int
    largest_difference: float
    source_difference: float
    clips: int
    agreement: float | None
    source_bytes: int
    bytes: int
    step_ms: float
    source_clip_ms: float
    synthesised: bool = False


def write_stream_of_model(
    model: str | os.PathLike[str],
    path: Path,
    *,
    step_ms: float = STEP_MS,
    clips: NDArray[np.float32] | None = None,
    synthesised: bool = False,
) -> StreamReport:
    """Write the streaming form of a model file, of a run or of one in the box, and the check beside it as PATH.json.

    It says of itself all that the source does, but for what a listener was tuned to: a stream remembers what a window
    does not, and is tuned anew. clips : [N, window], full scale 1.0, on whose answers both are compared; that they may
    differ is no fault. synthesised : whether synthetic voices spoke them; the check says so.
    """
    source = open_source(model)
    check = path.with_name(f"{path.name}.json")
    require_writable(path, check)
    card = source.card
    metadata = {
        **{name: value for name, value in card.fields.items() if name != "listener"},
        "labels": list(card.labels),
        "sample_rate": card.sample_rate,
        "window": card.window,
        "thresholds": dict(card.thresholds),
    }
    # The network's answers do not depend on what it is reopened with.
    noise = 0.1 * np.random.default_rng(0).standard_normal((_REOPENED_WITH, card.window))
    spotter = restore_spotter(source.path, torch.from_numpy(noise.astype(np.float32)))
    temperature = card.temperature
    apart = source_difference(spotter, source, temperature)
    if not apart <= _TOLERANCE:
        raise HarkenError(f"{path} was not written: its network differs from {source.path} by {apart:.2g}")
    with replacing_all(path, check) as (temporary, beside):
        difference = _write_checked(spotter, temporary, path, metadata, step_ms=step_ms, temperature=temperature)
        form = StreamFile(temporary)
        windows = made_windows(card.window) if clips is None or not len(clips) else clips
        report = StreamReport(
            path=path,
            steps=_CHECKED_STEPS,
            largest_difference=difference,
            source_difference=apart,
            clips=0 if clips is None else len(clips),
            agreement=None if clips is None or not len(clips) else _agreement(form, source, clips),
            source_bytes=source.path.stat().st_size,
            bytes=temporary.stat().st_size,
            step_ms=_median_step_ms(form),
            source_clip_ms=median_ms(source, windows),
            synthesised=synthesised,
        )
        beside.write_text(json.dumps({**asdict(report), "path": path.name}, indent=1) + "\n", encoding="utf-8")
    return report


def made_windows(window: int) -> NDArray[np.float32]:
    """Return windows [N, window] of the made-up stream."""
    sound = made_stream(3 * window)
    return np.stack([sound[start : start + window] for start in range(0, 2 * window, window // 8)])


@torch.no_grad()
def source_difference(spotter: Spotter, source: ModelFile, temperature: float) -> float:
    """Return the largest difference in probability between a network and a model file, on windows of the made-up stream."""
    windows = made_windows(source.card.window)
    ours = torch.softmax(spotter(torch.from_numpy(windows)) / temperature, dim=1).numpy()
    return float(np.abs(ours - source.probabilities(windows)).max())


def _agreement(form: StreamFile, source: ModelFile, clips: NDArray[np.float32]) -> float:
    """Return the fraction of clips that have the source's answer when a stream that began with them has come to their end."""
    ahead = -clips.shape[1] % form.step
    sound, state = np.pad(clips, ((0, 0), (ahead, 0))), form.start(len(clips))
    for start in range(0, sound.shape[1], form.step):
        probabilities, state = form.advance(sound[:, start : start + form.step], state)
    return float((probabilities.argmax(axis=1) == source.probabilities(clips).argmax(axis=1)).mean())


def _median_step_ms(form: StreamFile) -> float:
    sound, state, times = made_stream(_TIMED_STEPS * form.step)[None], form.start(), []
    for start in range(0, sound.shape[1], form.step):
        started = time.perf_counter()
        _, state = form.advance(sound[:, start : start + form.step], state)
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))
