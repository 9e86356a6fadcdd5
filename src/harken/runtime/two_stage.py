"""Two models for one stream: a streaming model follows all of it, and a more accurate one checks what may be a word.

TwoStage            the pair, for a `Listener`
StreamModel         all that a `Listener` can detect words with
open_stream_model   open a model file, a streaming model, or two models joined by `+`
"""

import os
from pathlib import Path

from harken.audio.clip import is_number
from harken.errors import HarkenError
from harken.runtime.modelfile import Card, find_model, is_streaming, open_model
from harken.runtime.recognizer import Recognizer
from harken.runtime.streamfile import StreamFile

JOIN = "+"
DEFAULT_STREAM_MODEL = "base.stream+large"


class TwoStage:
    """A streaming model and a model file that detect words together. Pass it to a `Listener`.

    At each step, the streaming model computes its probabilities. If those of the words add up to `wake_at` or more, the
    second model classifies the last window, and its probabilities count instead. The step is that of the streaming model.
    Thresholds and all other settings are those of the second model. So the words detected are nearly those of the second
    model alone, but most of the time only the first one is computed.

    Such cascades are common in always-on devices, for example in Apple's "Hey Siri" (Siri Team, "Hey Siri: An On-device
    DNN-powered Voice Trigger for Apple's Personal Assistant", Apple Machine Learning Journal, 2017).

    Parameters
    ----------
    first
        Path of the streaming model, or the name of a bundled one, such as `base.stream`.
    second
        Path of the model file, folder of a finished training run, or name of a bundled model, such as `large`.
    threads
        Number of onnxruntime threads, 1 or more.
    sensitivity
        0 to 1: move the thresholds along the second model's measured trade-off. Default: the thresholds of its file.
    wake_at
        The second model decides when the first model's probabilities of the words add up to this or more, 0 to 1.

    Attributes
    ----------
    first : StreamFile
        The streaming model.
    second : Recognizer
        The model that decides.
    wake_at : float
        As given.

    Raises
    ------
    HarkenError
        If one of the models cannot be opened, the first is not a streaming model or the second is one, their classes or
        sample rates differ, or a number is out of range.

    Examples
    --------
    >>> from harken import Listener, TwoStage
    >>> listener = Listener(TwoStage("base.stream", "large"), source_rate=16_000)
    """

    def __init__(
        self,
        first: str | os.PathLike[str],
        second: str | os.PathLike[str],
        *,
        threads: int = 1,
        sensitivity: float | None = None,
        wake_at: float = 0.05,
    ) -> None:
        if not is_number(wake_at) or not 0 <= wake_at <= 1:
            raise HarkenError(f"wake_at={wake_at!r}: give a number from 0 to 1")
        self.wake_at = wake_at
        self.first = StreamFile(first, threads=threads)
        self.second = Recognizer(second, threads=threads, sensitivity=sensitivity)
        if self.first.labels != self.second.labels or self.first.sample_rate != self.second.sample_rate:
            raise HarkenError(
                f"the classes or sample rate of {first} are not those of {second}: give two models of the same words"
            )

    @property
    def card(self) -> Card:
        """Metadata of the second model, with its thresholds."""
        return self.second.card

    @property
    def path(self) -> Path:
        """Path of the second model."""
        return self.second.path

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self.second.labels

    @property
    def sample_rate(self) -> int:
        """Sample rate that both models expect, in Hz."""
        return self.second.sample_rate


StreamModel = Recognizer | StreamFile | TwoStage


def open_stream_model(
    model: str | os.PathLike[str], *, threads: int = 1, sensitivity: float | None = None
) -> StreamModel:
    """Open a model for a `Listener`: as a `Recognizer`, a `StreamFile` or a `TwoStage`.

    Parameters
    ----------
    model
        Path of a model file or a streaming model, folder of a finished training run, or name of a bundled model. Two of them
        joined by `+`, such as `base.stream+large`, are a `TwoStage`.
    threads
        Number of onnxruntime threads, 1 or more.
    sensitivity
        0 to 1, as in `Recognizer`.

    Raises
    ------
    HarkenError
        If the file does not exist or is not a model, `threads` is not a whole number of 1 or more, or `sensitivity` is not
        from 0 to 1. For two models, also in the cases of `TwoStage`.
    """
    if parts := two_stages(model):
        try:
            return TwoStage(*parts, threads=threads, sensitivity=sensitivity)
        except HarkenError as error:
            raise HarkenError(f"{model}: {error}") from error
    path = find_model(model)  # once: a name on the Hub can mean another file a moment later
    session, _ = open_model(path, threads)
    kind = StreamFile if is_streaming(session) else Recognizer
    return kind(path, threads=threads, sensitivity=sensitivity)


def two_stages(model: str | os.PathLike[str]) -> tuple[str, str] | None:
    """Return the two names in `FIRST+SECOND`, or None if the text names one model."""
    first, joined, second = str(model).partition(JOIN)
    if not (first and joined and second) or os.path.exists(model):  # noqa: PTH110 - a path that is too long is none
        return None
    return first, second
