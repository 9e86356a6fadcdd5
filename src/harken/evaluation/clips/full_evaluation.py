"""What a model that ships is measured for beyond its answers on clips: noise, shift and gain; steady noise; false
alarms; its cost.

evaluate_fully   -> FullEvaluation
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
from harken.evaluation.clips.steady_noise import SteadyAnswers, measure_steady_noise


@dataclass(frozen=True)
class FullEvaluation:
    """The measurements; None where there was no noise, or no speech, to make one with."""

    cost: Cost
    robustness: Robustness | None
    rejection: Rejection | None
    steady: tuple[SteadyAnswers, ...]


def evaluate_fully(
    evaluation: ClipEvaluation, folders: Sequence[Path], *, noise: Sequence[Path] = (), speech: Sequence[Path] = ()
) -> FullEvaluation:
    """Measure a judged model.

    folders : of the evaluation, whose `_background_noise_` counts as noise. Of the noise, that which training holds out
    measures, of the speech without commands the speakers who only measure: see harken.corpus.recordings.
    Raises HarkenError when a folder is missing or a recording cannot be read.
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
