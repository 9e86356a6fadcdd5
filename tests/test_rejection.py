"""Thresholds chosen for a rate of false alarms, and what they do."""

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import MakeModel
from harken.corpus.recordings import Recordings, recordings_from_arrays
from harken.evaluation.clips.examples import Examples
from harken.evaluation.clips.rejection import calibrate_thresholds, measure_rejection
from harken.runtime.modelfile import ModelFile

RATE = 8_000
CLEAR, DOUBTFUL, CERTAIN = 0.6, 0.35, 0.9  # amplitudes that the model takes for a class with 0.998, 0.79 and 1.0


def clip(quarter: int, amplitude: float) -> NDArray[np.float32]:
    samples = np.zeros(RATE, np.float32)
    samples[quarter * RATE // 4 : (quarter + 1) * RATE // 4] = amplitude
    return samples


def examples(*quarters: int) -> Examples:
    waveforms = np.stack([clip(quarter, CLEAR) for quarter in quarters])
    return Examples(waveforms, np.array(quarters), tuple(map(str, range(len(quarters)))), {})


def speech(*amplitudes: float) -> Recordings:
    """Return a minute of silence for each amplitude, with a sound of a quarter of a second in it."""
    minutes = [np.concatenate([clip(0, amplitude), np.zeros(59 * RATE)]) for amplitude in amplitudes]
    return recordings_from_arrays(
        [f"minute{number}" for number in range(len(minutes))], [np.int16(32767 * minute) for minute in minutes], RATE
    )


@pytest.fixture
def model(make_model: MakeModel) -> ModelFile:
    return ModelFile(make_model())


def test_thresholds_stay_within_the_rate_and_keep_the_words(model: ModelFile) -> None:
    clips, talk = examples(0, 0, 1, 1, 2, 3), speech(DOUBTFUL, DOUBTFUL)
    thresholds = calibrate_thresholds(model, clips, talk, alarms_per_minute=(0.0,))
    assert thresholds.keys() == {"yes", "no"}
    assert thresholds["yes"] > 0.79
    rejection = measure_rejection(model, clips, talk, thresholds)
    assert (rejection.found, rejection.alarms, rejection.minutes) == (1.0, 0, 2.0)
    assert measure_rejection(model, clips, talk, {"yes": 0.5, "no": 0.5}).alarms == 2


def test_the_first_possible_rate_is_used(model: ModelFile) -> None:
    talk = speech(CERTAIN, DOUBTFUL)  # no threshold rejects the first sound, which is half an alarm per minute
    assert calibrate_thresholds(model, examples(0, 1), talk, alarms_per_minute=(0.0, 0.4)) == {}
    thresholds = calibrate_thresholds(model, examples(0, 1), talk, alarms_per_minute=(0.0, 0.5, 5.0))
    assert measure_rejection(model, examples(0, 1), talk, thresholds).alarms_per_minute == 0.5


def test_without_clips_of_words_no_share_of_them_is_made_up(model: ModelFile) -> None:
    rejection = measure_rejection(model, examples(2, 3), speech(DOUBTFUL), {"yes": 0.5, "no": 0.5})
    assert rejection.found is None
    assert rejection.confused is None
    assert (rejection.accepted, rejection.alarms) == (0.0, 1)
