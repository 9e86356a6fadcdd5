"""Export a model on the speech embedding as a streaming model (onnx-stream): each step computes only its new embeddings.

StreamingEmbedding        a network on the speech embedding that is computed step by step
write_embedding_stream    write it as ONNX, with the state as an input and an output, and check it
uses_embedding            whether a model was trained on the speech embedding
"""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.export.comparison import open_source
from harken.export.onnx_stream import source_difference
from harken.export.stream_report import CHECKED_STEPS, StreamReport, generated_stream, make_report
from harken.files import replacing_all, require_writable
from harken.models.embedding_head import EmbeddingHead
from harken.models.onnx_writer import export_onnx
from harken.models.speech_embedding import DIMENSIONS, FRAMES, HOP, MEL_BANDS, STEP, STRIDE, samples_of
from harken.models.speech_mel import SpeechMel
from harken.models.spotter import Spotter
from harken.runtime.modelfile import Card
from harken.runtime.streamfile import StreamFile
from harken.training.restore import restore_spotter

STEPS = 3  # embeddings in a step of 240 ms
_TOLERANCE = 1e-4  # largest accepted difference of a probability
_NOISE_WINDOWS = 8  # to restore the network with


class StreamingEmbedding(nn.Module):
    """A spotter on the speech embedding, computed step by step.

    The state contains the last samples and mel frames that are also part of the next embedding's input, and the embeddings
    of the window. Their values in digital silence are subtracted, so that a state of zeros is silence.

    Parameters
    ----------
    spotter
        The network with its front-end, in evaluation mode.
    steps
        Embeddings in a step.
    temperature
        Divisor of the logits.

    Attributes
    ----------
    step : int
        Samples in a step.
    size : int
        Size of the state.

    Raises
    ------
    HarkenError
        The network is another one, or the window has fewer embeddings than a step.
    """

    def __init__(self, spotter: Spotter, *, steps: int = STEPS, temperature: float = 1.0) -> None:
        super().__init__()
        if not isinstance(spotter.network, EmbeddingHead) or not isinstance(spotter.front_end, SpeechMel):
            raise HarkenError("this network does not use the speech embedding: export it as other networks")
        network = spotter.network
        if network.steps < steps:
            raise HarkenError(
                f"the window has only {network.steps} embeddings, and a step has {steps}: train with a longer window_s"
            )
        self.front_end = spotter.front_end
        self.network = network
        self.temperature = temperature
        self.step = steps * STEP
        self.kept_embeddings = network.steps - steps
        self.sizes = [
            samples_of(1) - HOP * FRAMES,
            (FRAMES - STRIDE) * MEL_BANDS,
            self.kept_embeddings * DIMENSIONS,
        ]
        self.size = sum(self.sizes)
        with torch.no_grad():
            silent_mel = self.front_end(torch.zeros(1, samples_of(1)))
            silent_embedding = network.embedding(silent_mel)
        self.silent_mel: Tensor
        self.silent_embedding: Tensor
        self.register_buffer("silent_mel", silent_mel[:, :, :1])
        self.register_buffer("silent_embedding", silent_embedding)

    def forward(self, waveform: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        old_samples, old_mel, old_embeddings = torch.split(state, self.sizes, dim=1)
        samples = torch.cat([old_samples, waveform], dim=1)
        past_mel = old_mel.reshape(-1, MEL_BANDS, FRAMES - STRIDE) + self.silent_mel
        mel = torch.cat([past_mel, self.front_end(samples)], dim=2)
        past = old_embeddings.reshape(-1, DIMENSIONS, self.kept_embeddings) + self.silent_embedding
        embeddings = torch.cat([past, self.network.embedding(mel)], dim=2)
        logits = self.network.classify_embeddings(embeddings)
        kept_mel = mel[:, :, -(FRAMES - STRIDE) :] - self.silent_mel
        kept = embeddings[:, :, embeddings.shape[2] - self.kept_embeddings :] - self.silent_embedding
        next_state = torch.cat([samples[:, -self.sizes[0] :], kept_mel.flatten(1), kept.flatten(1)], dim=1)
        return torch.softmax(logits / self.temperature, dim=1), next_state


def write_embedding_stream(
    model: str | os.PathLike[str],
    path: Path,
    *,
    clips: NDArray[np.float32] | None = None,
    synthesized: bool = False,
) -> StreamReport:
    """Export a model file on the speech embedding as a streaming model, with the result of the check as PATH.json.

    Unlike a causal network, this one computes the same from a stream as from a window, once the window is full. The metadata
    are therefore those of the original, with its settings for streams.

    Parameters
    ----------
    model
        A path, or a run folder.
    path
        The file to write.
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
        The model does not use the speech embedding, or the file does not agree with it. Nothing is written then.
    """
    source = open_source(model)
    check = path.with_name(f"{path.name}.json")
    require_writable(path, check)
    card = source.card
    # The network's answers do not depend on the audio that it is restored with.
    noise = 0.1 * np.random.default_rng(0).standard_normal((_NOISE_WINDOWS, card.window))
    spotter = restore_spotter(source.path, torch.from_numpy(noise.astype(np.float32)))
    from_source = source_difference(spotter, source, card.temperature)
    streaming = StreamingEmbedding(spotter, temperature=card.temperature).eval()
    metadata = {
        **card.fields,
        "labels": list(card.labels),
        "sample_rate": card.sample_rate,
        "window": card.window,
        "thresholds": dict(card.thresholds),
        "step": streaming.step,
        "state": streaming.size,
    }
    if isinstance(settings := metadata.get("listener"), dict):
        metadata["listener"] = {**settings, "hop_ms": 1000 * streaming.step / card.sample_rate}
    with replacing_all(path, check) as (temporary, beside):
        given = {"waveform": torch.zeros(2, streaming.step), "state": torch.zeros(2, streaming.size)}
        exported = export_onnx(streaming, given, ["probabilities", "next_state"])
        onnx.helper.set_model_props(exported, {key: json.dumps(value) for key, value in metadata.items()})
        onnx.save(exported, str(temporary))
        stream_file = StreamFile(temporary)
        difference = _difference(streaming, stream_file)
        if not max(difference, from_source) <= _TOLERANCE:
            raise HarkenError(
                f"{path} was not written: its probabilities differ from the model's by {max(difference, from_source):.2g}"
            )
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


def uses_embedding(card: Card) -> bool:
    """Return whether a model was trained with the network `embedding_head`."""
    recipe = card.fields.get("recipe")
    return isinstance(recipe, dict) and recipe.get("network") == "embedding_head"


@torch.no_grad()
def _difference(streaming: StreamingEmbedding, stream_file: StreamFile) -> float:
    """Return the largest difference in probability between the file, run step by step, and the network over whole windows."""
    sound = generated_stream(CHECKED_STEPS * streaming.step)
    # The audio before the stream is silence. A window contains exactly the samples of its embeddings.
    window = samples_of(streaming.network.steps)
    padded = torch.from_numpy(np.pad(sound, (window, 0)))
    state, worst = stream_file.start(), 0.0
    for end in range(streaming.step, sound.size + 1, streaming.step):
        probabilities, state = stream_file.advance(sound[None, end - streaming.step : end], state)
        logits = streaming.network(streaming.front_end(padded[None, end : end + window]))
        wanted = torch.softmax(logits / streaming.temperature, dim=1).numpy()
        worst = max(worst, float(np.abs(probabilities - wanted).max()))
    return worst
