"""The streaming form of a model file. It takes a few new samples and a state, and returns probabilities and a new state.

StreamFile   an opened streaming form, as `harken export --to onnx-stream` writes it
"""

import os
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.runtime.modelfile import Card, as_float32, check_tensor, find_model, is_streaming, open_model
from harken.runtime.sensitivity import with_sensitivity


class StreamFile:
    """A streaming model, which computes only what new samples change.

    Pass it to a `Listener` in place of a `Recognizer` to detect words with much less computation.

    Parameters
    ----------
    model
        Path of the streaming model, or the name of a bundled one, such as `base.stream`.
    threads
        Number of onnxruntime threads, 1 or more.
    sensitivity
        0 to 1: move the thresholds along the model's measured trade-off. Default: the thresholds of the model file.

    Attributes
    ----------
    card : Card
        Metadata of the model.
    path : Path
        Path of the file.
    step : int
        Number of samples per step, at the model's sample rate.

    Raises
    ------
    HarkenError
        If the file does not exist or is not a streaming model, `threads` is not a whole number of 1 or more, or
        `sensitivity` is not from 0 to 1.
    """

    card: Card

    def __init__(self, model: str | os.PathLike[str], *, threads: int = 1, sensitivity: float | None = None) -> None:
        self.path = find_model(model)
        self._session, card = open_model(self.path, threads)
        self.card = with_sensitivity(card, sensitivity)
        if not is_streaming(self._session):
            raise HarkenError(
                f"{model} is not a streaming model: create one with `harken export MODEL --to onnx-stream`"
            )
        step, size = card.fields.get("step"), card.fields.get("state")
        if not (isinstance(step, int) and isinstance(size, int) and step > 0 and size > 0):
            raise HarkenError(f"the metadata `step` and `state` of {self.path} are not sizes: export it again")
        self.step, self._size = step, size
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        check_tensor(self.path, inputs, "waveform", self.step)
        check_tensor(self.path, inputs, "state", self._size)
        check_tensor(self.path, outputs, "probabilities", len(card.labels))
        check_tensor(self.path, outputs, "next_state", self._size)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self.card.labels

    @property
    def sample_rate(self) -> int:
        """Sample rate that the model expects, in Hz."""
        return self.card.sample_rate

    def start(self, streams: int = 1) -> NDArray[np.float32]:
        """Return the initial state for a number of streams.

        Parameters
        ----------
        streams
            Number of streams that are processed together, 0 or more.

        Returns
        -------
        ndarray of float32
            The state [streams, size].

        Raises
        ------
        HarkenError
            If `streams` is not a whole number of 0 or more.
        """
        if not isinstance(streams, Integral) or streams < 0:
            raise HarkenError(f"streams={streams!r}: give a whole number, 0 or more")
        return np.zeros((streams, self._size), np.float32)

    def advance(
        self, samples: NDArray[np.floating[Any]], state: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Process the next step of each stream.

        Parameters
        ----------
        samples
            The next samples [streams, step], of any float type. Full scale is 1.0. They are converted to float32.
            NaN and infinity are not refused, and make the state useless.
        state
            The state [streams, size], float32, from `start` or from the previous step.

        Returns
        -------
        tuple of ndarrays
            The probabilities [streams, classes] and the next state [streams, size].

        Raises
        ------
        HarkenError
            If an array has another type or shape, or the two have different numbers of streams.
        """
        # Only types and shapes are checked: a server calls this ten times a second for each of its streams.
        samples = as_float32(samples, "samples")
        if samples.ndim != 2 or samples.shape[1] != self.step:
            raise HarkenError(f"samples of shape {samples.shape} do not fit the model: pass [streams, {self.step}]")
        if not isinstance(state, np.ndarray) or state.dtype != np.float32:
            raise HarkenError(
                "the state is not an array of float32: pass the one from start() or from the previous step"
            )
        if state.shape != (len(samples), self._size):
            raise HarkenError(
                f"a state of shape {state.shape} does not fit samples of shape {samples.shape}: "
                f"pass one of shape {(len(samples), self._size)}, from start({len(samples)}) or from the previous step"
            )
        probabilities, next_state = self._session.run(
            ["probabilities", "next_state"], {"waveform": np.ascontiguousarray(samples), "state": state}
        )
        return probabilities, next_state
