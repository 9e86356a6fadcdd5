"""Templates of phrases, and how well they match speech.

Templates        the templates of phrases, as constants of a network
SpeechModel      statistics of speech in general
scoring_nodes    the network: embeddings -> scores
TemplateScorer   evaluates this network

A template is one take of a phrase, as a sequence of embeddings. The network aligns it with the audio: each step of the
template is matched with one moment of the audio. From one step to the next, the audio advances by zero, one or two moments.
So the order of the sounds matters and their position does not, and the phrase may be spoken faster or slower.

The similarity of a step and a moment is their cosine, minus a part of the cosine of the moment and the most similar of the
bank's typical embeddings. Without this, moments that resemble all speech would match every phrase.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from harken.models.onnx_bytes import Array, Tensor, model, node
from harken.models.speech_embedding import DIMENSIONS

KINDS = 2  # groups of templates of a phrase: for quiet places, and for talk behind it. The phrase is detected by either
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
