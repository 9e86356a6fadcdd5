"""Options that several commands share."""

from typing import Annotated

import typer

from harken.errors import HarkenError

Channel = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Use only this channel; the first is 1. Default: the average of all channels with the same sound as the first; "
        "of a microphone, the first channel.",
    ),
]

Sensitivity = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="0: fewest false alarms, 1: fewest misses. Moves all thresholds along the model's measured trade-off. "
        "Default: 0.5, the thresholds of the model file.",
    ),
]

Wake = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Model of a wake phrase, after which the words of --model count. Default: they always count.",
    ),
]

CommandTime = Annotated[
    float | None,
    typer.Option(
        "--for",
        metavar="SECONDS",
        help="With --wake: time after the wake phrase during which the words count, in seconds. Default: 5.",
    ),
]


def read_command_time(seconds: float | None, wake: str | None) -> float:
    """Return the value of `--for`, or its default.

    Raises
    ------
    HarkenError
        If it is given without `--wake`, or is not a number of seconds above 0.
    """
    from harken.runtime.wake_listener import DEFAULT_COMMAND_S, MAX_COMMAND_S

    if seconds is None:
        return DEFAULT_COMMAND_S
    if wake is None:
        raise HarkenError(f"--for {seconds:g} has an effect only with --wake: add the model of a wake phrase")
    if not 0 < seconds <= MAX_COMMAND_S:
        raise HarkenError(f"--for {seconds:g}: give a number of seconds above 0 and at most {MAX_COMMAND_S:g}")
    return seconds
