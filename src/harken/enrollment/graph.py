"""The network of an enrolled model: waveform -> speech embedding -> alignment with templates -> probabilities.

enrolled_model    the network as a model file
enrolled_stream   the network as a streaming file, which is evaluated step by step
class_labels      phrases -> class names
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harken.enrollment.calibration import Calibration
from harken.enrollment.templates import KINDS, SpeechModel, Templates, scoring_nodes
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

_MAX_LOGIT = 16.0
RIVALRY = 4.0  # by how much the distance of a phrase's logit from the best phrase's is multiplied
_SILENCE_DB = -54.0  # peak level at which `_silence_` is as probable as `_unknown_`


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
        *_peak_nodes("waveform", "peak"),
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
    the embeddings and peak levels of the window. Their values in digital silence are subtracted, so that a state of zeros is
    silence.

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
    kept_peaks = math.ceil(samples_of(window) / samples) - 1
    sizes = [kept_samples, frames * MEL_BANDS, kept_steps * DIMENSIONS, kept_peaks]
    silent = embedding.embed(np.zeros(samples_of(1), np.float32))[0]
    nodes = [
        node(
            "Split",
            ["state", "state_sizes"],
            ["old_samples", "old_mel_flat", "old_embeddings_flat", "old_peaks"],
            axis=1,
        ),
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
        *_peak_nodes("waveform", "new_peak"),
        node("Concat", ["old_peaks", "new_peak"], ["peaks"], axis=1),
        node("ReduceMax", ["peaks"], ["peak"], axes=[1], keepdims=1),
        *_decision_nodes(),
        node("Slice", ["peaks", "from_peaks", "to_end", "axis_1"], ["next_peaks"]),
        node("Slice", ["all_samples", "from_samples", "to_end", "axis_1"], ["next_samples"]),
        node("Slice", ["mel", "from_mel", "to_end", "axis_1"], ["kept_mel"]),
        node("Sub", ["kept_mel", "silent_mel"], ["kept_mel_offset"]),
        node("Reshape", ["kept_mel_offset", "flat_shape"], ["next_mel"]),
        node("Slice", ["embeddings", "from_embeddings", "to_end", "axis_1"], ["kept_embeddings"]),
        node("Sub", ["kept_embeddings", "silent_embedding"], ["kept_embeddings_offset"]),
        node("Reshape", ["kept_embeddings_offset", "flat_shape"], ["next_embeddings"]),
        node("Concat", ["next_samples", "next_mel", "next_embeddings", "next_peaks"], ["next_state"], axis=1),
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
        "from_peaks": np.array([1], np.int64),
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


def _peak_nodes(waveform: str, peak: str) -> list[bytes]:
    """Return the nodes that compute the peak level [N, 1] of a waveform [N, samples]."""
    return [
        node("Abs", [waveform], ["magnitudes"]),
        node("ReduceMax", ["magnitudes"], [peak], axes=[1], keepdims=1),
    ]


def _decision_nodes() -> list[bytes]:
    """Return the nodes that turn scores [N, templates, steps] and the peak level [N, 1] into probabilities [N, classes]."""
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
