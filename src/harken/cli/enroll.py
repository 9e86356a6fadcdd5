"""The command `harken enroll`: parse, call, print."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harken.errors import HarkenError

if TYPE_CHECKING:
    from harken.enrollment import Enrollment

_MOST_RECORDED = 20


def enroll(
    phrase: Annotated[str, typer.Argument(metavar="PHRASE", help="The wake phrase, as it is spoken.")],
    clips: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[CLIP]...", help="Recordings that hold the phrase once: three to five."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Model file to write. Default: PHRASE.onnx.")] = None,
    typed: Annotated[
        bool,
        typer.Option("--typed", help="Learn from the spelling too: the installed synthetic voices speak the phrase."),
    ] = False,
    record: Annotated[int, typer.Option(min=0, max=_MOST_RECORDED, help="Takes to record from the microphone.")] = 0,
    device: Annotated[str | None, typer.Option(help="Microphone, by number or a part of its name.")] = None,
    into: Annotated[
        Path | None, typer.Option(metavar="MODEL", help="Model of enrolled phrases to add this one to.")
    ] = None,
    background: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Recordings without the phrase from where it will be used; sets the threshold too."
        ),
    ] = None,
    false_alarms: Annotated[float, typer.Option(help="False alarms per hour of talk to set the threshold for.")] = 0.5,
    stream: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the streaming form too, which takes less work.")
    ] = None,
) -> None:
    """Learn a wake phrase from a few recordings or from its spelling, in seconds and without training."""
    from harken.cli.tables import print_note
    from harken.enrollment import enroll as enroll_phrase
    from harken.enrollment.typed import check_phrase
    from harken.files import require_writable

    check_phrase(phrase)
    target = out or into or Path(re.sub(r"[^\w]+", "-", phrase).strip("-") + ".onnx")
    require_writable(target)
    sources: list[Any] = list(clips or [])
    rate = None
    if record:
        recorded, rate = _recorded(phrase, record, device)
        sources += recorded
    enrolled = enroll_phrase(
        phrase,
        sources,
        out=target,
        source_rate=rate,
        typed=typed,
        into=into,
        background=background,
        false_alarms_per_hour=false_alarms,
        stream=stream,
    )
    for note in enrolled.notes:
        print_note(note)
    _print(enrolled)


def _print(enrolled: "Enrollment") -> None:
    if enrolled.voices:
        print(f"voices: {enrolled.voices}")
    if enrolled.recognized is not None:
        whose = "takes" if enrolled.takes > 1 else "synthetic voices"
        print(f"{100 * enrolled.recognized:.0f} % of the {whose} would be recognized, each by a model of the others")
    print(
        f"{enrolled.false_alarms} false alarm{'' if enrolled.false_alarms == 1 else 's'} in {enrolled.hours:.1f} hours of "
        f"other people's talk: at most {enrolled.at_most:.1f} an hour, at 95 % confidence"
    )
    if len(enrolled.phrases) > 1:
        print(f"phrases: {', '.join(enrolled.phrases)}")
    print(enrolled.path)


def _recorded(phrase: str, wanted: int, device: str | None) -> tuple[list[Any], int]:
    """Record takes from the microphone; one that is too quiet, clipped or cut off is recorded again."""
    import tempfile

    from rich.console import Console

    from harken.audio.clip import load_clip
    from harken.audio.record import RecordingState, record_corpus
    from harken.audio.sources import open_microphone

    console = Console(stderr=True, highlight=False)
    asked: list[tuple[str, int, str]] = []

    def show(moment: RecordingState) -> None:
        state = (moment.word, moment.done, moment.fault)
        if moment.word and asked[-1:] != [state]:
            asked.append(state)
            again = f" ({moment.fault})" if moment.fault else ""
            console.print(f"say “{phrase}”, {moment.done + 1} of {moment.wanted}{again}")

    with tempfile.TemporaryDirectory() as folder, open_microphone(device) as source:
        record_corpus(source, Path(folder), ["phrase"], takes=wanted, speaker="me", show=show)
        takes = sorted((Path(folder) / "phrase").glob("*.wav"))
        if len(takes) < wanted:
            raise HarkenError(f"{source.name} gave {len(takes)} of {wanted} takes: record again")
        return [load_clip(take, source.sample_rate) for take in takes], source.sample_rate
