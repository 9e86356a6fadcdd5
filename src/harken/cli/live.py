"""Run a listener on a source of audio, with a live display on a terminal and JSON lines in a pipe.

listen            detect words in a source until it ends
read_actions      read the programs of `--run WORD=COMMAND`
read_thresholds   read the numbers of `--threshold WORD=VALUE`
"""

import io
import json
import math
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harken.audio.sources import Source, open_file, open_microphone, open_pcm
from harken.errors import HarkenError
from harken.labels import normalize_word
from harken.runtime.clip_saver import ClipSaver
from harken.runtime.listener import Event, Listener
from harken.runtime.two_stage import StreamModel
from harken.runtime.wake_listener import DEFAULT_COMMAND_S, WakeEvent, WakeListener

_FRAMES_PER_SECOND = 10
_SHOWN_CLASSES = 6
_QUIETEST_DB = -60.0  # left end of the level meter
_BAR_WIDTH = 40  # characters


@dataclass(frozen=True)
class Action:
    """A program to start when a word is detected: its arguments, or one line for the shell."""

    command: tuple[str, ...] | str

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the program without waiting for it. Its output goes to standard error, since standard output is for words."""
        return subprocess.Popen(
            self.command,
            shell=isinstance(self.command, str),
            stdin=subprocess.DEVNULL,
            stdout=sys.__stderr__,
        )


def read_actions(runs: Sequence[str], words: Sequence[str], *, shell: bool = False) -> dict[str, Action]:
    """Read the values of `--run WORD=COMMAND`.

    Parameters
    ----------
    runs
        The values, each `WORD=COMMAND`.
    words
        The model's words.
    shell
        Run each command in the shell. Otherwise the command is split into arguments and started directly.

    Raises
    ------
    HarkenError
        If a value has no `=`, its word is unknown to the model or given twice, or the program does not exist.
    """
    actions: dict[str, Action] = {}
    for run in runs:
        word, equals, line = _split_at_word(run, words)
        if not equals or not line.strip():
            raise HarkenError(f"--run {run}: write it as WORD=COMMAND")
        if word not in words:
            raise HarkenError(f"--run {run}: the model does not know {word!r}; its words are {', '.join(words)}")
        if word in actions:
            raise HarkenError(f"--run {run}: {word} already has a command; put both into one program")
        if shell:
            actions[word] = Action(line)
            continue
        try:
            arguments = tuple(shlex.split(line))
        except ValueError as error:
            raise HarkenError(f"--run {run}: a quotation mark is not closed") from error
        if shutil.which(arguments[0]) is None:
            if Path(arguments[0]).is_file():
                raise HarkenError(f"--run {run}: {arguments[0]} is not executable; run chmod +x {arguments[0]}")
            raise HarkenError(f"--run {run}: program {arguments[0]} not found; check its name, or add --shell")
        actions[word] = Action(arguments)
    return actions


def _split_at_word(run: str, words: Sequence[str]) -> tuple[str, str, str]:
    """Return WORD, = and COMMAND. Both may contain "="; if several words fit, it is the longest one."""
    word, equals, line = run.partition("=")
    for place, character in enumerate(run):
        if character == "=" and normalize_word(run[:place]) in words:
            word, line = run[:place], run[place + 1 :]
    return normalize_word(word), equals, line


def read_thresholds(given: Sequence[str]) -> dict[str, float]:
    """Read the values of `--threshold WORD=VALUE`.

    Raises
    ------
    HarkenError
        If a value does not have this form, or a word is given twice.
    """
    thresholds: dict[str, float] = {}
    for line in given:
        word, _, value = line.rpartition("=")
        word = normalize_word(word)
        if not word:
            raise HarkenError(f"--threshold {line}: write it as WORD=VALUE, for example stop=0.9")
        if word in thresholds:
            raise HarkenError(f"--threshold {line}: {word} already has a threshold; give only one")
        try:
            thresholds[word] = float(value)
        except ValueError as error:
            raise HarkenError(f"--threshold {line}: write it as WORD=VALUE, for example stop=0.9") from error
    return thresholds


def listen(
    recognizer: StreamModel,
    source: str | None,
    *,
    sample_rate: int | None = None,
    channels: int | None = None,
    channel: int | None = None,
    pcm_format: str | None = None,
    device: str | None = None,
    actions: Mapping[str, Action] | None = None,
    settings: Mapping[str, Any] | None = None,
    save: Path | None = None,
    wake: StreamModel | None = None,
    command_s: float = DEFAULT_COMMAND_S,
) -> None:
    """Detect words in a source until it ends: print each word, and start its program.

    Parameters
    ----------
    recognizer
        The model.
    source
        A file, "-" for raw PCM on standard input, or None for the microphone.
    sample_rate, channels, pcm_format
        Format of raw PCM.
    channel
        Number of the only channel to use, from 1.
    device
        Microphone, by number or part of its name.
    actions
        Program to start for each word. The program of a word that both models have is started for the command only.
    settings
        Settings of the Listener that replace those stored in the model file. With `wake`, thresholds of the wake model's
        own words apply to that model.
    save
        Folder in which to save each detection and near miss as a clip.
    wake
        Model of a wake phrase. The words of `recognizer` then count only after it.
    command_s
        Time after the wake phrase during which they count, in seconds.

    Raises
    ------
    HarkenError
        If the source cannot be read, or an option does not apply to it.
    """
    if source != "-" and (sample_rate, channels, pcm_format) != (None, None, None):
        raise HarkenError(
            "--rate, --channels and --format are for raw PCM on standard input: leave them out; --channel N chooses a channel"
        )
    if source is not None and device is not None:
        raise HarkenError("--device names a microphone: leave it out, or leave SOURCE out")
    with _open_source(source, sample_rate, channels, channel, pcm_format, device) as opened:
        listener = _make_listener(recognizer, wake, opened.sample_rate, settings or {}, command_s)
        detector = listener if save is None else ClipSaver(listener, opened.sample_rate, save)
        started: list[subprocess.Popen[bytes]] = []
        console = Console(highlight=False)
        live_display = _LiveDisplay(console, listener, opened) if console.is_terminal else None
        with live_display or _JsonLines() as output:
            try:
                for chunk in opened.chunks:
                    _report(detector.push(chunk), output, actions or {}, recognizer.card.words, started)
            except (KeyboardInterrupt, HarkenError):  # the only ends of a microphone, and the end of a broken file
                if isinstance(detector, ClipSaver):
                    detector.finish()  # the last clips wait for the audio after them
                raise
            _report(detector.finish(), output, actions or {}, recognizer.card.words, started)


def _make_listener(
    recognizer: StreamModel,
    wake: StreamModel | None,
    source_rate: int,
    settings: Mapping[str, Any],
    command_s: float,
) -> Listener | WakeListener:
    if wake is None:
        return Listener(recognizer, source_rate=source_rate, **settings)
    own, of_wake = _split_thresholds(settings.get("thresholds", {}), recognizer.card.words, wake.card.words)
    commands = Listener(recognizer, source_rate=source_rate, **{**settings, "thresholds": own})
    return WakeListener(Listener(wake, source_rate=source_rate, thresholds=of_wake), commands, command_s=command_s)


def _split_thresholds(
    thresholds: Mapping[str, float], words: Iterable[str], wake_words: Iterable[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the thresholds for the command model and those for the wake model. Words of both are for the commands."""
    of_wake = {word for word in thresholds if word in {*wake_words} - {*words}}
    if unknown := [word for word in thresholds if word not in {*words, *wake_words}]:
        known = ", ".join([*words, *wake_words])
        raise HarkenError(f"--threshold {unknown[0]}: neither model has this word; their words are {known}")
    return (
        {word: value for word, value in thresholds.items() if word not in of_wake},
        {word: value for word, value in thresholds.items() if word in of_wake},
    )


def _open_source(
    source: str | None,
    sample_rate: int | None,
    channels: int | None,
    channel: int | None,
    pcm_format: str | None,
    device: str | None,
) -> AbstractContextManager[Source]:
    if source is None:
        return open_microphone(device, channel=channel)
    if source != "-":
        return open_file(Path(source), channel=channel)
    if sys.stdin is None or sys.stdin.isatty():
        raise HarkenError(
            "no audio on standard input: pipe some in, as in `arecord -f S16_LE -r 16000 | harken listen -`, or give a file"
        )
    pipe = cast(io.BufferedReader, sys.stdin.buffer)
    return open_pcm(
        pipe, "standard input", sample_rate=sample_rate, channels=channels, channel=channel, pcm_format=pcm_format
    )


def _report(
    events: Sequence[Event],
    output: "_JsonLines | _LiveDisplay",
    actions: Mapping[str, Action],
    words: Sequence[str],
    started: "list[subprocess.Popen[bytes]]",
) -> None:
    for event in events:
        output.show_word(event)
        is_shared_wake_word = isinstance(event, WakeEvent) and event.kind == "wake" and event.word in words
        if event.word in actions and not is_shared_wake_word:
            try:
                started.append(actions[event.word].start())
            except OSError as error:
                print(f"harken: the program for {event.word} did not start: {error.strerror}", file=sys.stderr)
    # Polling a program that has ended also releases its process entry.
    started[:] = [program for program in started if program.poll() is None]


class _JsonLines:
    """Output of JSON lines, each flushed, so that a reader gets a word as soon as it is detected."""

    def __enter__(self) -> "_JsonLines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show_word(self, event: Event) -> None:
        print(json.dumps(event.to_json()), flush=True)


class _LiveDisplay:
    """The live display: level and most probable classes, below the words detected so far.

    With a wake listener, it also shows whether commands count now. The classes are those of the command model.
    """

    def __init__(self, console: Console, listener: Listener | WakeListener, source: Source) -> None:
        self._console = console
        self._wake_listener = listener if isinstance(listener, WakeListener) else None
        self._listener = listener.commands if isinstance(listener, WakeListener) else listener
        self._source = source
        self._live = Live(console=console, refresh_per_second=_FRAMES_PER_SECOND, get_renderable=self._draw)

    def __enter__(self) -> "_LiveDisplay":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        listener = self._listener
        if listener.hops:
            silent = 100 * listener.skipped / listener.hops
            self._console.print(f"[dim]{listener.seconds:.1f} s of audio, {silent:.0f} % of it silence[/dim]")

    def show_word(self, event: Event) -> None:
        is_wake = isinstance(event, WakeEvent) and event.kind == "wake"
        parts = [(f"{event.end_s:8.1f} s  ", "dim"), (event.word, "bold"), (f"  {event.confidence:.2f}", "dim")]
        self._console.print(Text.assemble(*parts, *([("  wake phrase", "dim")] if is_wake else [])))

    def _draw(self) -> RenderableType:
        listener = self._listener
        bars = Table(box=None, pad_edge=False, show_header=False)
        bars.add_column(width=12, no_wrap=True)
        bars.add_column()
        bars.add_column(justify="right", width=8)
        level = listener.level_db if listener.hops else -math.inf
        meter = min(1.0, max(0.0, 1 - level / _QUIETEST_DB))
        color = "red" if level > -1 else "green"
        bars.add_row("level", _bar(meter, color), f"{level:.0f} dB" if level > -math.inf else "silence")
        posteriors = listener.posteriors
        top = posteriors.argmax()
        for index in posteriors.argsort()[::-1][:_SHOWN_CLASSES]:
            label = listener.labels[index]
            is_word = label in listener.settings.thresholds
            detected = is_word and index == top and listener.confidence >= listener.settings.thresholds[label]
            color = "green" if detected else "blue" if is_word else "grey50"
            bars.add_row(Text(label.strip("_")), _bar(posteriors[index], color), f"{posteriors[index]:.2f}")
        title = Text.assemble(self._source.name, (f"  {self._source.sample_rate} Hz  {listener.seconds:.1f} s", "dim"))
        return Group(title, *self._draw_wake_state(), bars)

    def _draw_wake_state(self) -> Iterator[RenderableType]:
        if self._wake_listener is None:
            return
        if (until_s := self._wake_listener.until_s) is None:
            phrases = " or ".join(f"“{word}”" for word in self._wake_listener.wake.settings.thresholds)
            yield Text(f"waiting for {phrases}", "dim")
        else:
            left_s = math.ceil(until_s - self._wake_listener.seconds)
            yield Text(f"listening for commands, {left_s} s left", "bold green")


def _bar(share: float, style: str) -> ProgressBar:
    return ProgressBar(total=1.0, completed=float(share), width=_BAR_WIDTH, complete_style=style, finished_style=style)
