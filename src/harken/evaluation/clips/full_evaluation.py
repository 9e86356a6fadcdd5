"""Measure a model beyond its accuracy on clips: noise, shift and gain, steady noise, false alarms, and cost.

evaluate_fully   make all measurements
FullEvaluation   their results
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harken.corpus.recordings import noise_side, read_recordings, speech_side
from harken.corpus.table import audio_files, read_corpus
from harken.evaluation.clips.cost import Cost, measure_cost
from harken.evaluation.clips.evaluate import ClipEvaluation
from harken.evaluation.clips.rejection import Rejection, measure_rejection
from harken.evaluation.clips.robustness import Robustness, measure_robustness
from harken.evaluation.clips.steady_noise import SteadyNoiseScore, measure_steady_noise


@dataclass(frozen=True)
class FullEvaluation:
    """The measurements.

    Attributes
    ----------
    cost
        Size, arithmetic, time and memory.
    robustness
        Accuracy with noise, shift and gain; None if there was no noise.
    rejection
        False alarms in speech without the words; None if there was no speech.
    steady
        Answers to steady noise; empty if the model has no class for silence.
    """

    cost: Cost
    robustness: Robustness | None
    rejection: Rejection | None
    steady: tuple[SteadyNoiseScore, ...]


def evaluate_fully(
    evaluation: ClipEvaluation, folders: Sequence[Path], *, noise: Sequence[Path] = (), speech: Sequence[Path] = ()
) -> FullEvaluation:
    """Measure a model that was evaluated on clips.

    Only noise that training holds out is used, and only speakers who are kept for measurement: see
    harken.corpus.recordings.

    Parameters
    ----------
    evaluation
        The evaluation of the model.
    folders
        The folders of that evaluation. Their `_background_noise_` is added to `noise`.
    noise
        Folders of noise recordings.
    speech
        Folders of speech without the words.

    Raises
    ------
    HarkenError
        A folder is missing, or a recording cannot be read.
    """
    model = evaluation.model
    rate = model.card.sample_rate
    sounds = [*(file for folder in noise for file in audio_files(folder)), *read_corpus(folders).noise]
    talk = speech_side([file for folder in speech for file in audio_files(folder)], "measure")
    held_out = noise_side(read_recordings(sounds, rate), "held_out") if sounds else None
    return FullEvaluation(
        cost=measure_cost(model),
        robustness=measure_robustness(model, evaluation.examples, held_out) if held_out else None,
        rejection=measure_rejection(model, evaluation.examples, read_recordings(talk, rate)) if talk else None,
        steady=measure_steady_noise(model),
    )
