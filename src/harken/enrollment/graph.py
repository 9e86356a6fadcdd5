"""The network of an enrolled model: waveform -> speech embedding -> alignment with templates -> probabilities.

Templates          the templates of the phrases, as constants of the network
SpeechModel        statistics of speech in general
TemplateScorer     scores how well each template matches a sequence of embeddings
Calibration        converts a phrase's score into the false alarms per hour at that score
threshold_for      false alarms per hour -> threshold
enrolled_model     the whole network as a model file
enrolled_stream    the network as a streaming file, which is evaluated step by step
class_labels       phrases -> class names

A template is one take of a phrase, as a sequence of embeddings. The network aligns it with the audio: each step of the
template is matched with one moment of the audio. From one step to the next, the audio advances by zero, one or two moments.
So the order of the sounds matters and their position does not, and the phrase may be spoken faster or slower.

The similarity of a step and a moment is their cosine, minus a part of the cosine of the moment and the most similar of the
bank's typical embeddings. Without this, moments that resemble all speech would match every phrase.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from harken.labels import SILENCE, UNKNOWN
from harken.models.onnx_bytes import Array, Tensor, model, node
from harken.models.speech_embedding import (
    DIMENSIONS,
    FRAMES,
    HOP,
    MEL_BANDS,
    SILENT_MEL,
    STEP,
    STRIDE,
    SpeechEmbedding,
    mel_nodes,
    samples_of,
)

REFERENCE_PER_HOUR = 60.0  # false alarms per hour at which a phrase is as probable as `_unknown_`
KINDS = 2  # groups of templates of a phrase: for quiet places, and for talk behind it. The phrase is detected by either
_MAX_LOGIT = 16.0
RIVALRY = 4.0  # by how much the distance of a phrase's logit from the best phrase's is multiplied
_SILENCE_DB = -54.0  # peak level at which `_silence_` is as probable as `_unknown_`
_BATCH_STEPS = 256  # embeddings that are scored at once; larger batches need more memory and save no time


@dataclass(frozen=True)
class Templates:
    """Templates of one or more phrases.

    Attributes
    ----------
    vectors
        Normalized embeddings [templates, steps, 96]. Shorter templates are padded with zeros at their start.
    lengths
        Number of steps of each template [templates].
    group_of
        Index of the group that each template belongs to [templates]. Each phrase has `KINDS` groups, one after another: the
        templates for quiet places, and those for talk behind the phrase.
    """

    vectors: NDArray[np.float32]
    lengths: NDArray[np.int64]
    group_of: NDArray[np.int64]

    @staticmethod
    def of(sequences: Sequence[NDArray[np.float32]], group_of: Sequence[int]) -> "Templates":
        """Return templates from sequences of normalized embeddings [steps, 96]."""
        longest = max(len(sequence) for sequence in sequences)
        vectors = np.zeros((len(sequences), longest, DIMENSIONS), np.float32)
        for padded, sequence in zip(vectors, sequences, strict=True):
            padded[longest - len(sequence) :] = sequence
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        return Templates(vectors, lengths, np.array(group_of, np.int64))

    @property
    def sequences(self) -> list[NDArray[np.float32]]:
        """The templates without their padding."""
        longest = self.vectors.shape[1]
        return [padded[longest - length :] for padded, length in zip(self.vectors, self.lengths, strict=True)]

    @property
    def steps(self) -> int:
        """Number of embeddings in a window. The longest template fits even if it is spoken a quarter more slowly."""
        longest = int(self.vectors.shape[1])
        return math.ceil(1.25 * longest) + 2

    def constants(self, speech: "SpeechModel") -> dict[str, Array]:
        """Return the constants that `scoring_nodes` uses."""
        count, longest, _ = self.vectors.shape
        by_step = self.vectors.transpose(2, 1, 0)  # [96, steps, templates], so that the scores of a step are adjacent
        is_step = np.arange(longest)[:, None] >= longest - self.lengths[None, :]
        return {
            "speech_mean": speech.mean,
            "typical_speech": np.ascontiguousarray(speech.typical.T),
            "templates": np.ascontiguousarray(by_step.reshape(DIMENSIONS, longest * count)),
            "speech_weights": (speech.weight * is_step).astype(np.float32).reshape(1, 1, longest * count),
            "template_lengths": self.lengths.astype(np.float32).reshape(1, count, 1),
            "least_length": np.array(1e-6, np.float32),
        }


@dataclass(frozen=True)
class SpeechModel:
    """Statistics of speech in general.

    Attributes
    ----------
    mean
        Mean embedding [96].
    typical
        Typical embeddings [entries, 96], normalized.
    weight
        Part of the similarity to typical speech that is subtracted from the similarity to a template.
    """

    mean: NDArray[np.float32]
    typical: NDArray[np.float32]
    weight: float

    def normalized(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalize embeddings [steps, 96]: subtract the mean of speech and divide by the length."""
        centered = embeddings - self.mean
        normalized: NDArray[np.float32] = centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-6)
        return normalized


@dataclass(frozen=True)
class Calibration:
    """Exponential distribution of the highest scores in speech without the phrase (peaks over threshold).

    It is that of a group of templates, whose false alarms are counted together with those of the phrase's other group.

    Attributes
    ----------
    start
        Score from which the distribution is fitted.
    scale
        Increase of the score that divides the false alarms by e.
    per_hour
        False alarms per hour at `start`.
    """

    start: float
    scale: float
    per_hour: float

    @property
    def slope(self) -> float:
        """Logits per unit of score."""
        return 1 / self.scale

    @property
    def offset(self) -> float:
        """The logit at a score of 0."""
        return -self.start / self.scale - math.log(self.per_hour / REFERENCE_PER_HOUR)


def threshold_for(false_alarms_per_hour: float) -> float:
    """Return the threshold at which a calibrated phrase has this many false alarms per hour."""
    return 1 / (1 + false_alarms_per_hour / REFERENCE_PER_HOUR)


def scoring_nodes(embeddings: str, scores: str, longest: int) -> list[bytes]:
    """Return the nodes that turn embeddings [N, steps, 96] into scores [N, templates, steps].

    The score at a step is that of the best alignment that ends there.
    """
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
        # The best alignment of the previous steps may end at this moment or at one of the two moments before it.
        nodes.append(node("MaxPool", [best], [f"reached_{step}"], kernel_shape=[3], pads=[2, 0], strides=[1]))
        nodes.append(node("Add", [f"reached_{step}", rows[step]], [f"aligned_{step}"]))
        best = f"aligned_{step}"
    nodes.append(node("Div", [best, "template_lengths"], [scores]))
    return nodes


class TemplateScorer:
    """Score how well templates match sequences of embeddings.

    Parameters
    ----------
    templates
        The templates.
    speech
        Statistics of speech in general.
    """

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
        self._templates = len(templates.vectors)
        self._context = 2 * longest  # steps that can contribute to a score

    def scores(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the score [templates, steps] of each template at each step of embeddings [steps, 96]."""
        return self.sums(embeddings, np.arange(self._templates))

    def sums(self, embeddings: NDArray[np.float32], group_of: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the sum [groups, steps] of the scores of each group of templates, at each step of embeddings [steps, 96].

        Parameters
        ----------
        embeddings
            Embeddings [steps, 96].
        group_of
            Number of the group that each template belongs to [templates].
        """
        members = (np.arange(group_of.max() + 1)[:, None] == group_of).astype(np.float32)
        sums = np.empty((len(members), len(embeddings)), np.float32)
        for start in range(0, len(embeddings), _BATCH_STEPS):
            first = max(0, start - self._context)
            (found,) = self._session.run(["scores"], {"embeddings": embeddings[None, first : start + _BATCH_STEPS]})
            sums[:, start : start + _BATCH_STEPS] = members @ found[0][:, start - first :]
        return sums


def enrolled_model(
    embedding: SpeechEmbedding,
    speech: SpeechModel,
    templates: Templates,
    calibrations: Sequence[Sequence[Calibration]],
    metadata: Mapping[str, Any],
) -> bytes:
    """Return the content of a model file.

    Its input is `waveform` [N, samples], and its output `probabilities` [N, classes], in the order of `class_labels`.

    Parameters
    ----------
    embedding
        The speech embedding.
    speech
        Statistics of speech in general.
    templates
        Templates of all phrases.
    calibrations
        Calibrations of each phrase, one for each of its groups of templates.
    metadata
        Entries of the file's metadata.
    """
    steps = templates.steps
    nodes = [
        *mel_nodes("waveform", "mel"),
        *embedding.nodes("mel", "embeddings"),
        *scoring_nodes("embeddings", "scores", templates.vectors.shape[1]),
        *_decision_nodes(),
    ]
    return _model_file(
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
    calibrations: Sequence[Sequence[Calibration]],
    metadata: Mapping[str, Any],
    steps: int,
) -> bytes:
    """Return the content of a streaming file.

    Its inputs are `waveform`, the samples of `steps` embeddings, and `state`. Its outputs are `probabilities` and
    `next_state`. The state contains the last samples and mel frames that are also part of the next embedding's input, and
    the embeddings of the window. Their values in digital silence are subtracted, so that a state of zeros is silence.

    Parameters
    ----------
    embedding, speech, templates, calibrations, metadata
        See `enrolled_model`.
    steps
        Number of embeddings in a step.
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
        node("Reshape", ["old_mel_flat", "mel_shape"], ["old_mel_offset"]),
        node("Add", ["old_mel_offset", "silent_mel"], ["old_mel"]),
        node("Concat", ["old_mel", "new_mel"], ["mel"], axis=1),
        *embedding.nodes("mel", "new_embeddings"),
        node("Reshape", ["old_embeddings_flat", "embeddings_shape"], ["old_embeddings_offset"]),
        node("Add", ["old_embeddings_offset", "silent_embedding"], ["old_embeddings"]),
        node("Concat", ["old_embeddings", "new_embeddings"], ["embeddings"], axis=1),
        *scoring_nodes("embeddings", "scores", templates.vectors.shape[1]),
        *_decision_nodes(),
        node("Slice", ["all_samples", "from_samples", "to_end", "axis_1"], ["next_samples"]),
        node("Slice", ["mel", "from_mel", "to_end", "axis_1"], ["kept_mel"]),
        node("Sub", ["kept_mel", "silent_mel"], ["kept_mel_offset"]),
        node("Reshape", ["kept_mel_offset", "flat_shape"], ["next_mel"]),
        node("Slice", ["embeddings", "from_embeddings", "to_end", "axis_1"], ["kept_embeddings"]),
        node("Sub", ["kept_embeddings", "silent_embedding"], ["kept_embeddings_offset"]),
        node("Reshape", ["kept_embeddings_offset", "flat_shape"], ["next_embeddings"]),
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
    return _model_file(
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
    """Return the nodes that turn scores [N, templates, steps] into probabilities [N, classes]."""
    return [
        node("MatMul", ["averages", "scores"], ["group_scores"]),
        node("ReduceMax", ["group_scores"], ["best_scores"], axes=[2], keepdims=0),
        node("Mul", ["best_scores", "slopes"], ["sloped"]),
        node("Add", ["sloped", "offsets"], ["group_logits"]),
        node("Reshape", ["group_logits", "phrases_by_kind"], ["logits_by_kind"]),
        node("ReduceMax", ["logits_by_kind"], ["logits"], axes=[2], keepdims=0),
        # The best phrase keeps its probability against `_unknown_`; a softmax alone would share it with similar phrases.
        node("ReduceMax", ["logits"], ["best_logit"], axes=[1], keepdims=1),
        node("Sub", ["logits", "best_logit"], ["behind"]),
        node("Mul", ["behind", "rivalry"], ["far_behind"]),
        node("Clip", ["best_logit", "least_logit", "most_logit"], ["clipped_best"]),
        node("Add", ["clipped_best", "far_behind"], ["rival_logits"]),
        node("Max", ["rival_logits", "least_logit"], ["phrase_logits"]),
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


def _model_file(
    nodes: Sequence[bytes],
    embedding: SpeechEmbedding,
    speech: SpeechModel,
    templates: Templates,
    calibrations: Sequence[Sequence[Calibration]],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    metadata: Mapping[str, Any],
    extra: Mapping[str, Array] | None = None,
) -> bytes:
    groups = [calibration for of_phrase in calibrations for calibration in of_phrase]
    members = templates.group_of[None, :] == np.arange(len(groups))[:, None]
    constants: dict[str, Array] = {
        **embedding.constants,
        **templates.constants(speech),
        "averages": (members / members.sum(axis=1, keepdims=True)).astype(np.float32),
        "slopes": np.array([calibration.slope for calibration in groups], np.float32),
        "offsets": np.array([calibration.offset for calibration in groups], np.float32),
        "phrases_by_kind": np.array([-1, len(calibrations), KINDS], np.int64),
        "rivalry": np.array(RIVALRY, np.float32),
        "least_logit": np.array(-_MAX_LOGIT, np.float32),
        "most_logit": np.array(_MAX_LOGIT, np.float32),
        "least_peak": np.array(1e-9, np.float32),
        "silence_log_peak": np.array(_SILENCE_DB * math.log(10) / 20, np.float32),
        "decibels": np.array(20 / math.log(10), np.float32),
        "zero": np.array(0.0, np.float32),
        **(extra or {}),
    }
    return model(nodes, constants, inputs, outputs, {key: json.dumps(value) for key, value in metadata.items()})


def class_labels(phrases: Sequence[str]) -> list[str]:
    """Return the class names of a model, in the order of its probabilities."""
    return [*phrases, UNKNOWN, SILENCE]
