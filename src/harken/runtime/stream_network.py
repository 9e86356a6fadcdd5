"""Compute the probabilities of a stream hop by hop, with each kind of model.

StreamNetwork   the interface: probabilities at each hop, and a reset
make_network    make the one for a model
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harken.runtime.modelfile import ModelFile
from harken.runtime.streamfile import StreamFile
from harken.runtime.two_stage import StreamModel, TwoStage


class StreamNetwork(Protocol):
    """The network of one stream.

    Attributes
    ----------
    silence
        Probabilities of digital silence, float32 [classes].
    """

    silence: NDArray[np.float32]

    def reset(self) -> None:
        """Forget the stream, as if it had been silent."""

    def classify(self, window: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
        """Return the probabilities [classes] at a hop.

        Parameters
        ----------
        window
            The last window of the stream, float32 [samples].
        hop
            How many of its samples are new.
        """


def make_network(recognizer: StreamModel, window: int) -> StreamNetwork:
    """Return the network of a model for a new stream, given the length of its window in samples."""
    if isinstance(recognizer, TwoStage):
        return _TwoStageNetwork(recognizer, window)
    if isinstance(recognizer, StreamFile):
        return _StreamingNetwork(recognizer, window)
    return _WindowNetwork(recognizer.model, window)


class _WindowNetwork:
    """A model file, which classifies the whole last window at each hop."""

    def __init__(self, model: ModelFile, window: int) -> None:
        self._model = model
        self.silence = model.probabilities(np.zeros((1, window), np.float32))[0]

    def reset(self) -> None:
        pass

    def classify(self, window: NDArray[np.float32], _: int) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = self._model.probabilities(window[None])[0]
        return probabilities


class _StreamingNetwork:
    """A streaming model, which classifies only the last hop and keeps a state. Its initial state is that of silence."""

    def __init__(self, model: StreamFile, window: int) -> None:
        self._model = model
        zeros, state = np.zeros((1, model.step), np.float32), model.start()
        # The convolutions depend on more than one window. After two windows of zeros, the state is that of silence.
        for _ in range(2 * -(-window // model.step)):
            probabilities, state = model.advance(zeros, state)
        self.silence: NDArray[np.float32] = probabilities[0]
        self._silent_state = state
        self._state = state

    def reset(self) -> None:
        self._state = self._silent_state

    def classify(self, window: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
        probabilities, self._state = self._model.advance(window[None, -hop:], self._state)
        newest: NDArray[np.float32] = probabilities[0]
        return newest


class _TwoStageNetwork:
    """A streaming model at each hop, and a model file that replaces its answer where there may be a word."""

    def __init__(self, models: TwoStage, window: int) -> None:
        self._first = _StreamingNetwork(models.first, models.first.card.window)
        self._second = _WindowNetwork(models.second.model, window)
        self._words = [index for index, label in enumerate(models.labels) if label in models.card.words]
        self._wake_at = models.wake_at
        self.silence = self._second.silence

    def reset(self) -> None:
        self._first.reset()

    def classify(self, window: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
        posteriors = self._first.classify(window, hop)
        if posteriors[self._words].sum() < self._wake_at:
            return posteriors
        return self._second.classify(window, hop)
