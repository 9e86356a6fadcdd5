"""Options that several commands share."""

from typing import Annotated

import typer

Channel = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Use only this channel; the first is 1. Default: the average of all channels with the same sound as the first.",
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
