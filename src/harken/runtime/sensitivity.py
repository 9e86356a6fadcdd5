"""Sensitivity: one number from 0 to 1 that moves all thresholds of a model along its measured trade-off.

STEPS               the sensitivities for which a model file stores a shift
with_sensitivity    shift the thresholds of a card, for clips and for streams
shift_thresholds    shift thresholds by a number of logits
stored_shifts       a measured trade-off -> the shifts to store

At 0.5 the thresholds are those of the model file. Lower values give fewer false alarms and more misses,
higher values the reverse. Over the whole range, the false alarms change by a factor of 64, unless that takes more than
3 logits on one side.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import is_number
from harken.errors import HarkenError
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import Card

STEPS = tuple(step / 10 for step in range(11))
DEFAULT_SENSITIVITY = 0.5
RANGE = 8.0  # at 0 the model file's false alarms are divided by this, at 1 they are multiplied by it
_MAX_LOGITS = 3.0  # largest shift, at 0 and at 1; also the shift of a model without a measured trade-off
_LOGIT_MARGIN = 1e-6  # thresholds are shifted in logits, in which 0 and 1 do not exist


def with_sensitivity(card: Card, sensitivity: float | None) -> Card:
    """Return a card with the thresholds for a sensitivity.

    Parameters
    ----------
    card
        Metadata of a model. Its entry `sensitivity` contains the measured shifts. Without it, thresholds move by up to 3
        logits in either direction.
    sensitivity
        0 to 1. None and 0.5: the card's own thresholds.

    Raises
    ------
    HarkenError
        If the sensitivity is not a number from 0 to 1, or the stored shifts are not numbers.
    """
    if sensitivity is None:
        return card
    if not is_number(sensitivity) or not 0 <= sensitivity <= 1:
        raise HarkenError(
            f"sensitivity={sensitivity!r}: give a number from 0 (fewest false alarms) to 1 (fewest misses)"
        )
    if sensitivity == DEFAULT_SENSITIVITY:
        return card
    listener = ListenerSettings.from_card(card)
    moved = replace(listener, thresholds=shift_thresholds(listener.thresholds, _shift(card, "stream", sensitivity)))
    clips = shift_thresholds(card.thresholds, _shift(card, "clips", sensitivity))
    return replace(card, thresholds=clips, fields={**card.fields, "listener": moved.to_json()})


def shift_thresholds(thresholds: Mapping[str, float], logits: float) -> dict[str, float]:
    """Return thresholds shifted by `logits`. A shift of 0 returns them unchanged."""
    if logits == 0:
        return dict(thresholds)
    shifted = {}
    for word, threshold in thresholds.items():
        clipped = min(max(threshold, _LOGIT_MARGIN), 1 - _LOGIT_MARGIN)
        shifted[word] = float(1 / (1 + (1 / clipped - 1) * math.exp(-logits)))
    return shifted


def stored_shifts(shifts: NDArray[np.float64], false_alarms: NDArray[np.float64]) -> list[float]:
    """Return the shift of all thresholds, in logits, for each sensitivity in `STEPS`.

    Parameters
    ----------
    shifts
        Measured shifts, in ascending order. They include 0.
    false_alarms
        The rate of false alarms (or of false acceptances) at each shift, above 0. It falls as the shift rises.
    """
    rates = np.minimum.accumulate(np.log(false_alarms))  # an increase with the shift is chance
    # Beyond the first shift with the fewest false alarms there is nothing to gain, only words to miss.
    useful = int(np.argmax(rates == rates[-1])) + 1
    shifts, rates = shifts[:useful], rates[:useful]
    unshifted = np.interp(0.0, shifts, rates)
    wanted = unshifted + math.log(RANGE) * (2 * np.array(STEPS) - 1)
    found = np.interp(wanted, rates[::-1], shifts[::-1])
    found[STEPS.index(DEFAULT_SENSITIVITY)] = 0.0
    # A single confident false alarm would move the thresholds further than it is worth: all words would be missed.
    most = _MAX_LOGITS * (1 - 2 * np.array(STEPS))
    # If the first shift with the fewest false alarms is below 0, nothing stricter than 0 is better: it stays 0.
    bounded = np.clip(found, np.minimum(most, 0), np.maximum(most, 0))
    return [round(float(value), 3) for value in bounded]


def _shift(card: Card, use: str, sensitivity: float) -> float:
    stored: Any = card.fields.get("sensitivity", {})
    shifts = stored.get(use) if isinstance(stored, Mapping) else stored
    if shifts is None:
        return _MAX_LOGITS * (1 - 2 * sensitivity)
    if not isinstance(shifts, Sequence) or len(shifts) != len(STEPS) or not all(map(is_number, shifts)):
        raise HarkenError("the model's metadata key `sensitivity` contains no valid shifts: tune the model again")
    return float(np.interp(sensitivity, STEPS, shifts))
