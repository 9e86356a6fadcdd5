"""The command `harken record`: parse the options, show the level meter, print what to do next."""

from contextlib import nullcontext
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from harken.cli.options import Channel
from harken.labels import normalize_word

_METER_DB = -60.0
_METER_WIDTH = 40


def record(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Corpus folder to create or add to.")],
    words: Annotated[str, typer.Option(help="Words or phrases to record, separated by commas: `lights,good night`.")],
    takes: Annotated[int, typer.Option(help="Recordings of each word.")] = 10,
    speaker: Annotated[
        str, typer.Option(help="Name of the speaker, in letters and digits. It becomes part of the file names.")
    ] = "me",
    channel: Channel = None,
    device: Annotated[
        str | None, typer.Option(help="Microphone, by number or part of its name. Default: the system's.")
    ] = None,
) -> None:
    """Record your own words with the microphone. Recordings that are too quiet or clipped are repeated."""
    from harken.audio.record import RecordingState, record_corpus
    from harken.audio.sources import open_microphone

    console = Console(stderr=True)
    spoken = [normalize_word(word.strip()) for word in words.split(",") if word.strip()]
    live = Live(console=console, transient=True, refresh_per_second=20) if console.is_terminal else nullcontext()
    printed: list[Any] = []

    def show(moment: RecordingState) -> None:
        if isinstance(live, Live):
            live.update(_drawn(moment))
        elif printed[-1:] != [(moment.word, moment.done, moment.fault)]:
            printed.append((moment.word, moment.done, moment.fault))
            if moment.word:
                again = f" ({moment.fault})" if moment.fault else ""
                console.print(
                    f"say {moment.word}, {moment.done + 1} of {moment.wanted}{again}", highlight=False, markup=False
                )

    with open_microphone(device, channel=channel) as source, live:
        kept = record_corpus(source, directory, spoken, takes=takes, speaker=speaker, show=show)
    print(f"{kept} recordings added to {directory}. To inspect them, and to train on them:")
    print(f"harken corpus show {quote(str(directory))}")
    recipe = "own-embedding" if any(" " in word for word in spoken) else "own"
    print(f"harken train --recipe {recipe} --data {quote(str(directory))} --out run")


def _drawn(moment: Any) -> Group:
    filled = round(_METER_WIDTH * max(0.0, 1 - moment.level_db / _METER_DB))
    color = "red" if moment.level_db > -1 else "green"
    meter = Text("█" * filled, color).append("░" * (_METER_WIDTH - filled), "dim")
    return Group(
        Text(f"\n  {moment.word or '…'}\n", "bold"),
        Text("  ").append_text(meter).append(f"  {moment.done} of {moment.wanted}", "dim"),
        Text(f"  {moment.fault}", "yellow"),
    )
