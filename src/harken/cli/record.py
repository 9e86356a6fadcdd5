"""The command `harken record`: parse, call, print."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

_METER_DB = -60.0
_METER_WIDTH = 40


def record(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Corpus folder: new, or one to add to.")],
    words: Annotated[str, typer.Option(help="Words to record, as lights,music.")],
    takes: Annotated[int, typer.Option(help="Of each word.")] = 10,
    speaker: Annotated[str, typer.Option(help="Who speaks: letters and digits.")] = "me",
    device: Annotated[str | None, typer.Option(help="Microphone, by number or a part of its name.")] = None,
) -> None:
    """Record a corpus of one's own from a microphone; quiet and clipped takes are asked for again."""
    from harken.audio.record import Moment, record_corpus
    from harken.audio.sources import open_microphone

    console = Console(stderr=True)
    spoken = [word.strip() for word in words.split(",") if word.strip()]
    live = Live(console=console, transient=True, refresh_per_second=20) if console.is_terminal else nullcontext()
    asked: list[Any] = []

    def show(moment: Moment) -> None:
        if isinstance(live, Live):
            live.update(_drawn(moment))
        elif asked[-1:] != [(moment.word, moment.done, moment.fault)]:
            asked.append((moment.word, moment.done, moment.fault))
            if moment.word:
                again = f" ({moment.fault})" if moment.fault else ""
                console.print(f"say {moment.word}, {moment.done + 1} of {moment.wanted}{again}", highlight=False)

    with open_microphone(device) as source, live:
        kept = record_corpus(source, directory, spoken, takes=takes, speaker=speaker, show=show)
    print(f"{directory}: {kept} takes more. To look at them, and to train on them:")
    print(f"harken corpus show {directory}")
    print(f"harken train --recipe own --data {directory} --out run")


def _drawn(moment: Any) -> Group:
    filled = round(_METER_WIDTH * max(0.0, 1 - moment.level_db / _METER_DB))
    colour = "red" if moment.level_db > -1 else "green"
    meter = Text("█" * filled, colour).append("░" * (_METER_WIDTH - filled), "dim")
    return Group(
        Text(f"\n  {moment.word or '…'}\n", "bold"),
        Text("  ").append_text(meter).append(f"  {moment.done} of {moment.wanted}", "dim"),
        Text(f"  {moment.fault}", "yellow"),
    )
