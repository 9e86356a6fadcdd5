"""Decide when a listener detects a word: hop, smoothing, thresholds, refractory time, energy gate, isolation.

ListenerSettings   these settings, as a model file stores them
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harken.audio.clip import is_number
from harken.errors import HarkenError
from harken.labels import normalize_word
from harken.runtime.modelfile import Card

DEFAULT_THRESHOLD = 0.8  # for a word without a threshold in the model file

MAX_SMOOTHING_MS = 10_000.0
MAX_REFRACTORY_MS = 3_600_000.0
MAX_ISOLATION = 40.0  # in logits; the exponential of twice this value still fits a float32, also in the C export


@dataclass(frozen=True, kw_only=True)
class ListenerSettings:
    """Settings that decide when a word is detected.

    A model file stores them as JSON in its metadata key `listener`.

    Parameters
    ----------
    thresholds
        Minimum confidence of each word, 0 to 1.
    hop_ms
        Step between two evaluations of the network, in milliseconds.
    smoothing_ms
        Average the probabilities over this many milliseconds.
    refractory_ms
        Minimum time between two detections, in milliseconds.
    gate_db
        Level in dB of full scale. If all samples of a window are below it, the window counts as silence and the network
        does not run. -inf: the network always runs.
    isolation
        Number of logits by which a word's confidence is reduced if there is other sound before it, and again if there is
        sound right after it. Noise counts less than speech (see `harken.runtime.isolation`). 0: words within a sentence are
        detected like words that stand alone.

    Raises
    ------
    HarkenError
        If a value is not a number or out of range.
    """

    thresholds: Mapping[str, float]
    hop_ms: float = 100.0
    smoothing_ms: float = 500.0
    refractory_ms: float = 1000.0
    gate_db: float = -60.0
    isolation: float = 5.0

    def __post_init__(self) -> None:
        for name in ("hop_ms", "smoothing_ms", "refractory_ms", "gate_db", "isolation"):
            if not is_number(value := getattr(self, name)):
                raise HarkenError(f"{name}={value!r} is not a number: pass a number")
        for name in ("hop_ms", "smoothing_ms", "refractory_ms", "isolation"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0) or (name == "hop_ms" and value == 0):
                raise HarkenError(f"{name}={value} must be {'above 0' if name == 'hop_ms' else '0 or more'}")
        if self.smoothing_ms > MAX_SMOOTHING_MS:  # the listener keeps all probabilities of this time in memory
            raise HarkenError(f"smoothing_ms={self.smoothing_ms} must be at most {MAX_SMOOTHING_MS:g}")
        if self.refractory_ms > MAX_REFRACTORY_MS:
            raise HarkenError(f"refractory_ms={self.refractory_ms:g} must be at most {MAX_REFRACTORY_MS:g}, an hour")
        if self.isolation > MAX_ISOLATION:
            raise HarkenError(f"isolation={self.isolation} must be at most {MAX_ISOLATION:g}: it is in logits")
        if not self.gate_db <= 0:
            raise HarkenError(f"gate_db={self.gate_db} must be 0 or less: it is in dB of full scale")
        if not isinstance(self.thresholds, Mapping):
            raise HarkenError(f"thresholds={self.thresholds!r}: pass a dict of words, for example {{'stop': 0.9}}")
        for word, threshold in self.thresholds.items():
            if not is_number(threshold) or not 0 <= threshold <= 1:
                raise HarkenError(f"the threshold of {word} is {threshold!r}: it must be from 0 to 1")
        composed = {normalize_word(word): float(threshold) for word, threshold in self.thresholds.items()}
        object.__setattr__(self, "thresholds", composed)

    @classmethod
    def from_card(cls, card: Card) -> "ListenerSettings":
        """Return the settings stored in a model file.

        They are in the metadata key `listener`. Without this key, the result is the defaults with the model's
        `thresholds`. A word without any threshold gets 0.8. Thresholds that were tuned before `isolation` existed are
        used with `isolation` 0.

        Parameters
        ----------
        card
            Metadata of the model.

        Raises
        ------
        HarkenError
            If `listener` does not contain valid settings.
        """
        stored = card.fields.get("listener", {})
        try:
            values = dict(stored)
            if values.get("gate_db", 0.0) is None:  # JSON has no infinity
                values["gate_db"] = -math.inf
            if "thresholds" in values:
                values.setdefault("isolation", 0.0)
            thresholds = {word: card.thresholds.get(word, DEFAULT_THRESHOLD) for word in card.words}
            return cls(**{**values, "thresholds": thresholds | values.get("thresholds", {})})
        except (HarkenError, TypeError, ValueError) as error:
            raise HarkenError(
                f"the model's metadata key `listener` contains invalid settings ({error}): tune the model again"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a dict of plain values, ready for JSON. A `gate_db` of -inf becomes None."""
        values = asdict(self)
        return values | {
            "thresholds": dict(self.thresholds),
            "gate_db": None if self.gate_db == -math.inf else self.gate_db,
        }
