"""What a model that ships is measured for beyond its answers on clips: noise, shift and gain; steady noise; false
alarms; its cost.

measure_shipped   -> Shipped
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harken.corpus.recordings import noise_side, read_recordings, speech_side
from harken.corpus.table import audio_files, read_corpus
from harken.evaluation.cost import Cost, measure_cost
from harken.evaluation.judge import Judgement
from harken.evaluation.rejection import Rejection, measure_rejection
from harken.evaluation.robustness import Robustness, measure_robustness
from harken.evaluation.steady import SteadyAnswers, measure_steady_noise


@dataclass(frozen=True)
class Shipped:
    """The measurements; None where there was no noise, or no speech, to make one with."""

    cost: Cost
    robustness: Robustness | None
    rejection: Rejection | None
    steady: tuple[SteadyAnswers, ...]


def measure_shipped(
    judgement: Judgement, folders: Sequence[Path], *, noise: Sequence[Path] = (), speech: Sequence[Path] = ()
) -> Shipped:
    """Measure a judged model.

    folders : of the judgement, whose `_background_noise_` counts as noise. Of the noise, that which training holds out
    measures, of the speech without commands the speakers who only measure: see harken.corpus.recordings.
    Raises HarkenError when a folder is missing or a recording cannot be read.
    """
    model = judgement.model
    rate = model.card.sample_rate
    sounds = [*(file for folder in noise for file in audio_files(folder)), *read_corpus(folders).noise]
    talk = speech_side([file for folder in speech for file in audio_files(folder)], "measure")
    held_out = noise_side(read_recordings(sounds, rate), "held_out") if sounds else None
    return Shipped(
        cost=measure_cost(model),
        robustness=measure_robustness(model, judgement.examples, held_out) if held_out else None,
        rejection=measure_rejection(model, judgement.examples, read_recordings(talk, rate)) if talk else None,
        steady=measure_steady_noise(model),
    )
