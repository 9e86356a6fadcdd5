"""The streaming form of a model file: a step of samples and the state in, probabilities and the next state out.

StreamFile          an opened streaming form, as `harken export --to onnx-stream` writes it
open_stream_model    a model or a streaming form, whichever a file holds
"""

import os

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.runtime.modelfile import Card, find_model, is_streaming, open_model
from harken.runtime.recognizer import Recognizer


class StreamFile:
    """A streaming form at work: it computes only what the new samples change.

    form : path of the file, or the name of a bundled one, such as base.stream. threads : of onnxruntime. `step` are the
    samples of one step, at the card's rate.
    Raises HarkenError when the file is missing or no streaming form.
    """

    card: Card

    def __init__(self, form: str | os.PathLike[str], *, threads: int = 1) -> None:
        self.path = find_model(form)
        self._session, self.card = open_model(self.path, threads)
        if not is_streaming(self._session):
            raise HarkenError(f"{form} is no streaming form: write one with `harken export MODEL --to onnx-stream`")
        sizes = {node.name: node.shape[-1] for node in self._session.get_inputs()}
        self.step, self._size = sizes["waveform"], sizes["state"]
        if (self.step, self._size) != (self.card.fields.get("step"), self.card.fields.get("state")):
            raise HarkenError(
                f"{self.path} has metadata `step` and `state` that are not its network's: export it again"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self.card.labels

    @property
    def sample_rate(self) -> int:
        """The rate of the samples that it takes, in Hz."""
        return self.card.sample_rate

    def start(self, streams: int = 1) -> NDArray[np.float32]:
        """Return the state [streams, size] of streams that begin."""
        return np.zeros((streams, self._size), np.float32)

    def advance(
        self, samples: NDArray[np.float32], state: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Take the next samples [streams, step]; return probabilities [streams, classes] and the next state."""
        probabilities, following = self._session.run(
            ["probabilities", "next_state"], {"waveform": np.ascontiguousarray(samples), "state": state}
        )
        return probabilities, following


def open_stream_model(model: str | os.PathLike[str], *, threads: int = 1) -> Recognizer | StreamFile:
    """Open what a Listener takes: a model, or a streaming form. Raises HarkenError when it is neither."""
    path = find_model(model)
    session, _ = open_model(path, threads)
    return StreamFile(path, threads=threads) if is_streaming(session) else Recognizer(model, threads=threads)
