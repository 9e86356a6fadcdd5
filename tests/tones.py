"""A recognizer whose words are tones, so that the expected probabilities are known."""

import numpy as np

from harken.labels import SILENCE, UNKNOWN
from harken.runtime.modelfile import Card

RATE = 8_000
WINDOW = 4_000
TONES = {"low": 500.0, "high": 1_500.0}
WAKE_TONES = {"bell": 2_500.0}


class ToneModel:
    """A model whose words are tones.

    The score of a word is the amplitude of its tone in the window. Silence has the score 0.02, and `_unknown_` what is
    left of the mean amplitude. Probabilities are the scores divided by their sum.
    """

    def __init__(self, tones=None, rate=RATE):
        self.window = WINDOW * rate // RATE
        seconds = np.arange(self.window) / rate
        self.waves = np.exp(2j * np.pi * np.outer(seconds, list((tones or TONES).values()))).astype(np.complex64)
        self.windows = 0  # number of windows classified so far

    def probabilities(self, windows):
        assert windows.shape == (1, self.window)
        self.windows += 1
        amplitudes = 2 * np.abs(windows @ self.waves) / self.window
        other = np.clip(np.abs(windows).mean(axis=1, keepdims=True) - amplitudes.sum(axis=1, keepdims=True), 0, None)
        scores = np.concatenate([amplitudes, other, np.full((1, 1), 0.02)], axis=1)
        return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


class ToneRecognizer:
    """A recognizer with a `ToneModel`. `tones` has the frequency of each word, and `rate` is that of the model."""

    def __init__(self, thresholds=None, *, tones=None, rate=RATE, **fields):
        tones = tones or TONES
        self.model = ToneModel(tones, rate)
        self.card = Card((*tones, UNKNOWN, SILENCE), rate, self.model.window, thresholds or {}, fields)
        self.labels = self.card.labels
        self.sample_rate = rate


def tone(word, seconds=0.3, rate=RATE, amplitude=0.5):
    return (
        amplitude * np.sin(2 * np.pi * (TONES | WAKE_TONES)[word] * np.arange(round(seconds * rate)) / rate)
    ).astype(np.float32)


def quiet(seconds, rate=RATE):
    return np.zeros(round(seconds * rate), np.float32)
