"""The command `harken listen`: a listener on a source, drawn live on a terminal, JSON lines in a pipe.

listen            hear a source out
read_actions      the programs of `--run WORD=COMMAND`
read_thresholds   the numbers of `--threshold WORD=VALUE`
"""

import io
import json
import math
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harken.audio.sources import Source, open_file, open_microphone, open_pcm
from harken.errors import HarkenError
from harken.runtime.listener import Event, Listener
from harken.runtime.recognizer import Recognizer
from harken.runtime.streamfile import StreamFile

_FRAMES_PER_SECOND = 10
_SHOWN_CLASSES = 6
_QUIETEST_DB = -60.0
_BAR = 40


@dataclass(frozen=True)
class Action:
    """A program that a word starts: its arguments, or one line for the shell."""

    command: tuple[str, ...] | str

    def start(self) -> "subprocess.Popen[bytes]":
        """Start it and do not wait. Its output goes to standard error, since ours is for words."""
        return subprocess.Popen(
            self.command,
            shell=isinstance(self.command, str),
            stdin=subprocess.DEVNULL,
            stdout=sys.__stderr__,
        )


def read_actions(runs: Sequence[str], words: Sequence[str], *, shell: bool = False) -> dict[str, Action]:
    """Read `WORD=COMMAND` lines. Without `shell`, a command is split into arguments as a shell would, and no shell runs.

    Raises HarkenError when a line has no `=`, a word is not the model's or comes twice, or there is no such program.
    """
    actions: dict[str, Action] = {}
    for run in runs:
        word, equals, line = run.partition("=")
        if not equals or not line.strip():
            raise HarkenError(f"--run {run}: write it as WORD=COMMAND")
        if word not in words:
            raise HarkenError(f"--run {run}: the model does not know {word!r}; its words are {', '.join(words)}")
        if word in actions:
            raise HarkenError(f"--run {run}: {word} has a command already; put both into one program")
        if shell:
            actions[word] = Action(line)
            continue
        try:
            arguments = tuple(shlex.split(line))
        except ValueError as error:
            raise HarkenError(f"--run {run}: a quotation mark is not closed") from error
        if shutil.which(arguments[0]) is None:
            if Path(arguments[0]).is_file():
                raise HarkenError(f"--run {run}: {arguments[0]} may not be executed: run chmod +x {arguments[0]}")
            raise HarkenError(f"--run {run}: there is no program {arguments[0]}; check its name, or give --shell")
        actions[word] = Action(arguments)
    return actions


def read_thresholds(given: Sequence[str]) -> dict[str, float]:
    """Read `WORD=VALUE` lines. Raises HarkenError when one is not so, or a word comes twice."""
    thresholds: dict[str, float] = {}
    for line in given:
        word, _, value = line.rpartition("=")
        if word in thresholds:
            raise HarkenError(f"--threshold {line}: {word} has a threshold already; give one")
        try:
            thresholds[word] = float(value)
        except ValueError as error:
            raise HarkenError(f"--threshold {line}: write it as WORD=VALUE, such as stop=0.9") from error
    return thresholds


def listen(
    recognizer: Recognizer | StreamFile,
    source: str | None,
    *,
    sample_rate: int | None = None,
    channels: int | None = None,
    device: str | None = None,
    actions: Mapping[str, Action] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Hear a source out: print each word, and start its program.

    source : a file, "-" for PCM on standard input, None for the microphone. sample_rate, channels : of raw PCM.
    device : the microphone. settings : those of the Listener that take the place of the model file's own.

    Raises HarkenError when the source cannot be read, or an option does not fit it.
    """
    if source != "-" and (sample_rate is not None or channels is not None):
        raise HarkenError("--rate and --channels are for raw PCM on standard input: leave them out")
    if source is not None and device is not None:
        raise HarkenError("--device names a microphone: leave it out, or leave SOURCE out")
    with _opened(source, sample_rate, channels, device) as opened:
        listener = Listener(recognizer, source_rate=opened.sample_rate, **(settings or {}))
        started: list[subprocess.Popen[bytes]] = []
        console = Console(highlight=False)
        display = _Display(console, listener, opened) if console.is_terminal else None
        with display or _Lines() as shown:
            for chunk in opened.chunks:
                _tell(listener.push(chunk), shown, actions or {}, started)
            _tell(listener.finish(), shown, actions or {}, started)


def _opened(
    source: str | None, sample_rate: int | None, channels: int | None, device: str | None
) -> AbstractContextManager[Source]:
    if source is None:
        return open_microphone(device)
    if source != "-":
        return open_file(Path(source))
    if sys.stdin is None or sys.stdin.isatty():
        raise HarkenError("nothing is piped in: write `arecord -f S16_LE -r 16000 | harken listen -`, or name a file")
    pipe = cast(io.BufferedReader, sys.stdin.buffer)
    return open_pcm(pipe, "standard input", sample_rate=sample_rate, channels=channels)


def _tell(
    events: Sequence[Event],
    shown: "_Lines | _Display",
    actions: Mapping[str, Action],
    started: "list[subprocess.Popen[bytes]]",
) -> None:
    for event in events:
        shown.word(event)
        if event.word in actions:
            try:
                started.append(actions[event.word].start())
            except OSError as error:
                print(f"harken: the program of {event.word} did not start: {error.strerror}", file=sys.stderr)
    # Asking is what lets go of a program that has ended.
    started[:] = [program for program in started if program.poll() is None]


class _Lines:
    """JSON lines, each flushed, so that a reader has a word as soon as it is heard."""

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def word(self, event: Event) -> None:
        print(json.dumps(asdict(event)), flush=True)


class _Display:
    """The live display: level and most probable classes, under the words heard so far."""

    def __init__(self, console: Console, listener: Listener, source: Source) -> None:
        self._console = console
        self._listener = listener
        self._source = source
        self._live = Live(console=console, refresh_per_second=_FRAMES_PER_SECOND, get_renderable=self._drawn)

    def __enter__(self) -> "_Display":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        listener = self._listener
        if listener.hops:
            saved = 100 * listener.skipped / listener.hops
            self._console.print(f"[dim]{listener.seconds:.1f} s heard, {saved:.0f} % of it silence[/dim]")

    def word(self, event: Event) -> None:
        self._console.print(
            f"[dim]{event.end_s:8.1f} s[/dim]  [bold]{event.word}[/bold]  [dim]{event.confidence:.2f}[/dim]"
        )

    def _drawn(self) -> RenderableType:
        listener = self._listener
        bars = Table(box=None, pad_edge=False, show_header=False)
        bars.add_column(width=12, no_wrap=True)
        bars.add_column()
        bars.add_column(justify="right", width=8)
        level = listener.level_db if listener.hops else -math.inf
        shown = min(1.0, max(0.0, 1 - level / _QUIETEST_DB))
        loud = "red" if level > -1 else "green"
        bars.add_row("level", _bar(shown, loud), f"{level:.0f} dB" if level > -math.inf else "silence")
        posteriors = listener.posteriors
        top = posteriors.argmax()
        for index in posteriors.argsort()[::-1][:_SHOWN_CLASSES]:
            label = listener.labels[index]
            is_word = label in listener.settings.thresholds
            heard = is_word and index == top and listener.confidence >= listener.settings.thresholds[label]
            bars.add_row(label.strip("_"), _bar(posteriors[index], "green" if heard else "blue" if is_word else "grey50"),
                         f"{posteriors[index]:.2f}")  # fmt: skip
        title = Text.assemble(self._source.name, (f"  {self._source.sample_rate} Hz  {listener.seconds:.1f} s", "dim"))
        return Group(title, bars)


def _bar(share: float, style: str) -> ProgressBar:
    return ProgressBar(total=1.0, completed=float(share), width=_BAR, complete_style=style, finished_style=style)
