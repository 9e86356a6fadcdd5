"""The network of an enrolled model: waveform -> speech embedding -> alignment with the templates -> probabilities.

Templates          the phrases' templates, as the network's constants
TemplateScorer     how well each template fits each moment of a sequence of embeddings
Calibration        a phrase's score -> the false alarms an hour that it stands for
enrolled_model     the whole network as a model file
enrolled_stream    the same, step by step

A template is a take of a phrase as a sequence of embeddings. It is aligned with the audio so that each of its steps is
matched with one moment of the audio, at the same moment as the step before, one later or two later: the order of the sounds
counts, their position does not, and the phrase may be spoken faster or up to twice as slowly. The similarity of a step and a
moment is the cosine of the two, less what the moment has in common with speech in general (its cosine with the nearest
of the bank's typical embeddings): without that, moments that resemble everything would resemble every phrase.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from harken.enrollment.embedding import (
    DIMENSIONS,
    FRAMES,
    HOP,
    MEL_BANDS,
    SILENT_MEL,
    STEP,
    STRIDE,
    SpeechEmbedding,
    embedding_nodes,
    mel_nodes,
    samples_of,
)
from harken.enrollment.onnx_bytes import Array, Tensor, model, node
from harken.labels import SILENCE, UNKNOWN

SPEECH_WEIGHT = 0.7  # of what a moment has in common with speech in general
REFERENCE_PER_HOUR = 60.0  # false alarms an hour at which a phrase is as probable as `_unknown_`
_MOST_LOGIT = 16.0
_SILENCE_DB = -54.0  # peak level at which `_silence_` is as probable as `_unknown_`
_CHUNK = 4096  # embeddings scored at once


@dataclass(frozen=True)
class Templates:
    """Templates of one phrase or several.

    vectors : [templates, steps, 96], of length 1, templates shorter than the longest filled up with zeros at their start.
    lengths : [templates] steps. phrase_of : [templates] the phrase that each belongs to.
    """

    vectors: NDArray[np.float32]
    lengths: NDArray[np.int64]
    phrase_of: NDArray[np.int64]

    @staticmethod
    def of(sequences: Sequence[NDArray[np.float32]], phrase_of: Sequence[int]) -> "Templates":
        """Return templates made of sequences of vectors [steps, 96] of length 1."""
        longest = max(len(sequence) for sequence in sequences)
        vectors = np.zeros((len(sequences), longest, DIMENSIONS), np.float32)
        for filled, sequence in zip(vectors, sequences, strict=True):
            filled[longest - len(sequence) :] = sequence
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        return Templates(vectors, lengths, np.array(phrase_of, np.int64))

    @property
    def sequences(self) -> list[NDArray[np.float32]]:
        """The templates without what fills them up."""
        longest = self.vectors.shape[1]
        return [filled[longest - length :] for filled, length in zip(self.vectors, self.lengths, strict=True)]

    @property
    def steps(self) -> int:
        """How many embeddings a window must hold for the longest template, spoken a quarter more slowly."""
        longest = int(self.vectors.shape[1])
        return math.ceil(1.25 * longest) + 2

    def constants(self, speech: "SpeechModel") -> dict[str, Array]:
        """Return the constants that scoring_nodes refers to."""
        count, longest, _ = self.vectors.shape
        by_step = self.vectors.transpose(2, 1, 0)  # [96, steps, templates], so that a step's scores lie together
        filled = np.arange(longest)[:, None] >= longest - self.lengths[None, :]
        return {
            "speech_mean": speech.mean,
            "typical_speech": np.ascontiguousarray(speech.typical.T),
            "templates": np.ascontiguousarray(by_step.reshape(DIMENSIONS, longest * count)),
            "speech_weights": (SPEECH_WEIGHT * filled).astype(np.float32).reshape(1, 1, longest * count),
            "template_lengths": self.lengths.astype(np.float32).reshape(1, count, 1),
            "least_length": np.array(1e-6, np.float32),
        }


@dataclass(frozen=True)
class SpeechModel:
    """What speech in general is like. mean : [96]. typical : [entries, 96] typical embeddings, centered, of length 1."""

    mean: NDArray[np.float32]
    typical: NDArray[np.float32]

    def normalized(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return embeddings [steps, 96] centered and of length 1, as templates hold them."""
        centered = embeddings - self.mean
        normalized: NDArray[np.float32] = centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-6)
        return normalized


@dataclass(frozen=True)
class Calibration:
    """The exponential law of a phrase's highest scores in speech that does not hold it (peaks over threshold).

    start : the score where the law begins. scale : by how much more score the alarms become e times fewer. per_hour : the
    false alarms an hour at `start`.
    """

    start: float
    scale: float
    per_hour: float

    @property
    def slope(self) -> float:
        """Logits for a unit of score."""
        return 1 / self.scale

    @property
    def offset(self) -> float:
        """The logit at a score of 0."""
        return -self.start / self.scale - math.log(self.per_hour / REFERENCE_PER_HOUR)


def threshold_for(false_alarms_per_hour: float) -> float:
    """Return the probability at which a calibrated phrase has that many false alarms an hour."""
    return 1 / (1 + false_alarms_per_hour / REFERENCE_PER_HOUR)


def scoring_nodes(embeddings: str, scores: str, longest: int) -> list[bytes]:
    """Return the nodes from embeddings [N, steps, 96] to scores [N, templates, steps] of alignments that end at each step."""
    nodes = [
        node("Sub", [embeddings, "speech_mean"], ["centered"]),
        node("ReduceL2", ["centered"], ["length"], axes=[2], keepdims=1),
        node("Max", ["length", "least_length"], ["safe_length"]),
        node("Div", ["centered", "safe_length"], ["normalized"]),
        node("MatMul", ["normalized", "typical_speech"], ["like_speech"]),
        node("ReduceMax", ["like_speech"], ["most_like_speech"], axes=[2], keepdims=1),
        node("Mul", ["most_like_speech", "speech_weights"], ["speech_cost"]),
        node("MatMul", ["normalized", "templates"], ["like_templates"]),
        node("Sub", ["like_templates", "speech_cost"], ["similarities"]),
        node("Transpose", ["similarities"], ["by_template"], perm=[0, 2, 1]),
    ]
    rows = [f"similarity_{step}" for step in range(longest)]
    nodes.append(
        node("Split", ["by_template"], rows, axis=1) if longest > 1 else node("Identity", ["by_template"], rows)
    )
    best = rows[0]
    for step in range(1, longest):
        # The best alignment so far that ends at this moment, the one before, or the one before that.
        nodes.append(node("MaxPool", [best], [f"reached_{step}"], kernel_shape=[3], pads=[2, 0], strides=[1]))
        nodes.append(node("Add", [f"reached_{step}", rows[step]], [f"aligned_{step}"]))
        best = f"aligned_{step}"
    nodes.append(node("Div", [best, "template_lengths"], [scores]))
    return nodes


class TemplateScorer:
    """Templates held against sequences of embeddings."""

    def __init__(self, templates: Templates, speech: SpeechModel) -> None:
        longest = templates.vectors.shape[1]
        content = model(
            scoring_nodes("embeddings", "scores", longest),
            templates.constants(speech),
            [Tensor("embeddings", (1, "steps", DIMENSIONS))],
            [Tensor("scores", (1, len(templates.vectors), "steps"))],
            {},
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._reach = 2 * longest

    def scores(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return [templates, steps]: how well each template fits what ends at each step."""
        parts = []
        for start in range(0, len(embeddings), _CHUNK):
            first = max(0, start - self._reach)
            (found,) = self._session.run(["scores"], {"embeddings": embeddings[None, first : start + _CHUNK]})
            parts.append(found[0][:, start - first :])
        return np.concatenate(parts, axis=1)


def enrolled_model(
    embedding: SpeechEmbedding,
    speech: SpeechModel,
    templates: Templates,
    calibrations: Sequence[Calibration],
    metadata: Mapping[str, Any],
) -> bytes:
    """Return a model file: `waveform` [N, samples] -> `probabilities` [N, phrases, `_unknown_` and `_silence_`]."""
    steps = templates.steps
    nodes = [
        *mel_nodes("waveform", "mel"),
        *embedding_nodes("mel", "embeddings"),
        *scoring_nodes("embeddings", "scores", templates.vectors.shape[1]),
        *_decision_nodes(),
    ]
    return _written(
        nodes,
        embedding,
        speech,
        templates,
        calibrations,
        [Tensor("waveform", ("clips", samples_of(steps)))],
        [Tensor("probabilities", ("clips", len(calibrations) + 2))],
        metadata,
    )


def enrolled_stream(
    embedding: SpeechEmbedding,
    speech: SpeechModel,
    templates: Templates,
    calibrations: Sequence[Calibration],
    metadata: Mapping[str, Any],
    steps: int,
) -> bytes:
    """Return the streaming form: `steps` embeddings' worth of samples and the state in, probabilities and the next state out.

    The state holds the last samples and mel frames that the next embedding looks at too, and the embeddings of the window.
    It holds them less what they are in digital silence, so that a state of zeros is silence.
    """
    samples, frames, window = steps * STEP, FRAMES - STRIDE, templates.steps
    kept_samples = samples_of(1) - HOP * FRAMES
    kept_steps = window - steps
    sizes = [kept_samples, frames * MEL_BANDS, kept_steps * DIMENSIONS]
    silent = embedding.embed(np.zeros(samples_of(1), np.float32))[0]
    nodes = [
        node("Split", ["state", "state_sizes"], ["old_samples", "old_mel_flat", "old_embeddings_flat"], axis=1),
        node("Concat", ["old_samples", "waveform"], ["all_samples"], axis=1),
        *mel_nodes("all_samples", "new_mel"),
        node("Reshape", ["old_mel_flat", "mel_shape"], ["old_mel_less"]),
        node("Add", ["old_mel_less", "silent_mel"], ["old_mel"]),
        node("Concat", ["old_mel", "new_mel"], ["mel"], axis=1),
        *embedding_nodes("mel", "new_embeddings"),
        node("Reshape", ["old_embeddings_flat", "embeddings_shape"], ["old_embeddings_less"]),
        node("Add", ["old_embeddings_less", "silent_embedding"], ["old_embeddings"]),
        node("Concat", ["old_embeddings", "new_embeddings"], ["embeddings"], axis=1),
        *scoring_nodes("embeddings", "scores", templates.vectors.shape[1]),
        *_decision_nodes(),
        node("Slice", ["all_samples", "from_samples", "to_end", "axis_1"], ["next_samples"]),
        node("Slice", ["mel", "from_mel", "to_end", "axis_1"], ["kept_mel"]),
        node("Sub", ["kept_mel", "silent_mel"], ["kept_mel_less"]),
        node("Reshape", ["kept_mel_less", "flat_shape"], ["next_mel"]),
        node("Slice", ["embeddings", "from_embeddings", "to_end", "axis_1"], ["kept_embeddings"]),
        node("Sub", ["kept_embeddings", "silent_embedding"], ["kept_embeddings_less"]),
        node("Reshape", ["kept_embeddings_less", "flat_shape"], ["next_embeddings"]),
        node("Concat", ["next_samples", "next_mel", "next_embeddings"], ["next_state"], axis=1),
    ]
    extra: dict[str, Array] = {
        "state_sizes": np.array(sizes, np.int64),
        "mel_shape": np.array([-1, frames, MEL_BANDS], np.int64),
        "embeddings_shape": np.array([-1, kept_steps, DIMENSIONS], np.int64),
        "flat_shape": np.array([0, -1], np.int64),
        "silent_mel": np.array(SILENT_MEL, np.float32),
        "silent_embedding": silent,
        "from_samples": np.array([-kept_samples], np.int64),
        "from_mel": np.array([-frames], np.int64),
        "from_embeddings": np.array([-kept_steps], np.int64),
        "to_end": np.array([np.iinfo(np.int64).max], np.int64),
    }
    state = sum(sizes)
    return _written(
        nodes,
        embedding,
        speech,
        templates,
        calibrations,
        [Tensor("waveform", ("streams", samples)), Tensor("state", ("streams", state))],
        [Tensor("probabilities", ("streams", len(calibrations) + 2)), Tensor("next_state", ("streams", state))],
        {**metadata, "step": samples, "state": state},
        extra,
    )


def _decision_nodes() -> list[bytes]:
    """Return the nodes from scores [N, templates, steps] to probabilities [N, classes]."""
    return [
        node("MatMul", ["averages", "scores"], ["phrase_scores"]),
        node("ReduceMax", ["phrase_scores"], ["best_scores"], axes=[2], keepdims=0),
        node("Mul", ["best_scores", "slopes"], ["sloped"]),
        node("Add", ["sloped", "offsets"], ["logits"]),
        node("Clip", ["logits", "least_logit", "most_logit"], ["phrase_logits"]),
        node("Abs", ["waveform"], ["magnitudes"]),
        node("ReduceMax", ["magnitudes"], ["peak"], axes=[1], keepdims=1),
        node("Max", ["peak", "least_peak"], ["safe_peak"]),
        node("Log", ["safe_peak"], ["log_peak"]),
        node("Sub", ["silence_log_peak", "log_peak"], ["quietness"]),
        node("Mul", ["quietness", "decibels"], ["quiet_db"]),
        node("Clip", ["quiet_db", "least_logit", "most_logit"], ["silence_logit"]),
        node("Mul", ["silence_logit", "zero"], ["unknown_logit"]),
        node("Concat", ["phrase_logits", "unknown_logit", "silence_logit"], ["all_logits"], axis=1),
        node("Softmax", ["all_logits"], ["probabilities"], axis=1),
    ]


def _written(
    nodes: Sequence[bytes],
    embedding: SpeechEmbedding,
    speech: SpeechModel,
    templates: Templates,
    calibrations: Sequence[Calibration],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    metadata: Mapping[str, Any],
    extra: Mapping[str, Array] | None = None,
) -> bytes:
    members = templates.phrase_of[None, :] == np.arange(len(calibrations))[:, None]
    constants: dict[str, Array] = {
        **embedding.weights,
        **templates.constants(speech),
        "averages": (members / members.sum(axis=1, keepdims=True)).astype(np.float32),
        "slopes": np.array([law.slope for law in calibrations], np.float32),
        "offsets": np.array([law.offset for law in calibrations], np.float32),
        "least_logit": np.array(-_MOST_LOGIT, np.float32),
        "most_logit": np.array(_MOST_LOGIT, np.float32),
        "least_peak": np.array(1e-9, np.float32),
        "silence_log_peak": np.array(_SILENCE_DB * math.log(10) / 20, np.float32),
        "decibels": np.array(20 / math.log(10), np.float32),
        "zero": np.array(0.0, np.float32),
        **(extra or {}),
    }
    return model(nodes, constants, inputs, outputs, {key: json.dumps(value) for key, value in metadata.items()})


def class_labels(phrases: Sequence[str]) -> list[str]:
    """Return the labels of a model of phrases, in the order of its probabilities."""
    return [*phrases, UNKNOWN, SILENCE]
