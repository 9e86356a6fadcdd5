"""The command `harken enroll`: parse the options, enroll the phrase and print the result."""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harken.errors import HarkenError, reporting_unreadable

if TYPE_CHECKING:
    from harken.enrollment import Enrollment

_MAX_RECORDED = 20


def enroll(
    phrase: Annotated[str, typer.Argument(metavar="PHRASE", help="Wake phrase, written as it is spoken.")],
    clips: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="CLIP", help="Recordings of the phrase, each with the phrase once. Three to five are enough."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Model file to write. Default: PHRASE.onnx.")] = None,
    typed: Annotated[
        bool,
        typer.Option("--typed", help="Also learn from the spelling, spoken by the installed synthetic voices."),
    ] = False,
    record: Annotated[
        int, typer.Option(min=0, max=_MAX_RECORDED, help="Number of takes to record from the microphone.")
    ] = 0,
    device: Annotated[
        str | None, typer.Option(help="Microphone, by number or part of its name. Default: the system's.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="Add the phrase to this model, which `harken enroll` wrote before."),
    ] = None,
    background: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of recordings from the place of use, without the phrase. False alarms in them raise the threshold.",
        ),
    ] = None,
    false_alarms: Annotated[
        float, typer.Option(help="Set the threshold for this many false alarms per hour of speech.")
    ] = 0.5,
    stream: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the streaming file, which needs less computation.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Speech embedding to use: harken, or google (extra `own`). Default: that of --into, otherwise harken."
        ),
    ] = None,
) -> None:
    """Learn a wake phrase from a few recordings or from its spelling, in seconds and without training."""
    from harken.cli.tables import print_note
    from harken.enrollment import enroll as enroll_phrase
    from harken.enrollment.request import check_request
    from harken.enrollment.takes import read_takes

    _require_quotation_marks(phrase, clips or [])
    target = out or into or _default_name(phrase)
    takes: list[Any] = list(clips or [])
    options: dict[str, Any] = {
        "typed": typed,
        "into": into,
        "background": background,
        "false_alarms_per_hour": false_alarms,
        "stream": stream,
        "encoder": encoder,
    }
    if record:  # `enroll_phrase` checks too, but only after the user has spoken
        check_request(phrase, takes, out=target, to_record=record, **options)
        read_takes(takes)
    with _keeping_takes(target) as folder:
        if record:
            takes += _record_takes(phrase, record, device, folder)
        enrolled = enroll_phrase(phrase, takes, out=target, **options)
    notes = list(enrolled.notes)
    if any(str(folder) in note for note in notes):  # it asks the user to listen to a take, or to add others to it
        kept = _keep_takes(folder, target)
        notes = [note.replace(str(folder), str(kept)) for note in notes] + [f"the takes are in {kept}"]
    else:
        shutil.rmtree(folder, ignore_errors=True)
    for note in notes:
        print_note(note)
    _print_result(enrolled)


def _require_quotation_marks(phrase: str, clips: Sequence[Path]) -> None:
    rest = [clip.name for clip in takewhile(lambda clip: not clip.suffix and not clip.exists(), clips)]
    if rest:
        raise HarkenError(
            f'{rest[0]} does not exist: check the path, or write the phrase in quotes, "{" ".join([phrase, *rest])}"'
        )


def _default_name(phrase: str) -> Path:
    """Return the name of the model file, if there is no model of other phrases with this name."""
    from harken.enrollment.existing import read_enrolled
    from harken.enrollment.typed import check_phrase, normalize_phrase

    phrase = normalize_phrase(phrase)
    check_phrase(phrase)
    path = Path((re.sub(r"[^\w]+", "-", phrase).strip("-") or "phrase") + ".onnx")
    try:
        with reporting_unreadable(path):
            others = path.exists()
        others = others and read_enrolled(path).phrases != (phrase,)
    except HarkenError:
        others = True
    if others:
        raise HarkenError(f"{path} exists and is no model of {phrase!r} alone: add --out FILE, or --into {path}")
    return path


def _print_result(enrolled: "Enrollment") -> None:
    if enrolled.voices:
        print(f"voices: {enrolled.voices}")
    if enrolled.recognized is not None:
        tested = "takes" if enrolled.takes else "synthetic voices"
        print(f"{100 * enrolled.recognized:.0f} % of the {tested} would be recognized, each by a model of the others")
    print(
        f"{enrolled.false_alarms} false alarm{'' if enrolled.false_alarms == 1 else 's'} in {enrolled.hours:.1f} hours of "
        f"other people's speech, so at most {enrolled.at_most:.1f} per hour, at 95 % confidence"
    )
    if len(enrolled.phrases) > 1:
        print(f"phrases: {', '.join(enrolled.phrases)}")
    print(enrolled.path)


@contextmanager
def _keeping_takes(model: Path) -> Iterator[Path]:
    """Yield a temporary folder for recordings. If enrolling fails, they are kept, and the message says where."""
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    except BaseException as error:  # whatever it is, the user should not have to speak again
        if not any(folder.iterdir()):
            folder.rmdir()
            raise
        kept = _keep_takes(folder, model)
        where = f"the takes are in {kept}"
        if isinstance(error, HarkenError):
            raise HarkenError(f"{error}; {where}".replace(str(folder), str(kept))) from error
        print(where, file=sys.stderr)
        raise


def _keep_takes(folder: Path, model: Path) -> Path:
    """Move recordings to a new folder beside the model file, and return it. If it cannot be written, return the old one."""
    names = (f"{model.stem}-takes{number}" for number in ("", *(f"-{count}" for count in range(2, 1000))))
    kept = next(path for name in names if not (path := model.with_name(name)).exists())
    try:
        shutil.copytree(folder, kept)
    except OSError:
        shutil.rmtree(kept, ignore_errors=True)
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    return kept


def _record_takes(phrase: str, wanted: int, device: str | None, folder: Path) -> list[Any]:
    """Record takes from the microphone into a folder, and return their paths.

    A take that is too quiet, clipped or cut off is recorded again.
    """
    from rich.console import Console

    from harken.audio.record import RecordingState, record_phrase
    from harken.audio.sources import open_microphone

    console = Console(stderr=True, highlight=False)
    prompted: list[tuple[str, int, str]] = []

    def show(moment: RecordingState) -> None:
        state = (moment.word, moment.done, moment.fault)
        if moment.word and prompted[-1:] != [state]:
            prompted.append(state)
            again = f" ({moment.fault})" if moment.fault else ""
            console.print(f"say “{phrase}”, {moment.done + 1} of {moment.wanted}{again}", markup=False, emoji=False)

    with open_microphone(device) as source:
        return list(record_phrase(source, folder, phrase, takes=wanted, show=show))
