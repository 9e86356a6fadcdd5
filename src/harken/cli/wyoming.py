"""The command `harken wyoming`: parse the options and start the server."""

import logging
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from harken.cli.options import Sensitivity
from harken.errors import HarkenError
from harken.extras import require_extra

_USED_LIMITS = ("connections", "streams", "message_bytes", "header_s", "idle_s")


class OptionalZeroconfName(TyperCommand):
    """A command whose option `--zeroconf` has an optional value. Typer does not support such options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert an empty value after a `--zeroconf` without one."""
        completed = []
        for number, word in enumerate(args):
            follows = args[number + 1] if number + 1 < len(args) else "-"
            completed.append("--zeroconf=" if word == "--zeroconf" and follows.startswith("-") else word)
        return super().parse_args(ctx, completed)


def wyoming(
    uri: Annotated[
        str,
        typer.Option(help="Where to listen: tcp://HOST:PORT, unix:///PATH, or stdio:// for a single client in a pipe."),
    ] = "tcp://0.0.0.0:10400",
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model file, run folder, name of a bundled model, or two joined by `+`, as in `harken listen`. Repeatable. "
            "Default: `base.stream+large`, unless there is a --custom-model-dir."
        ),
    ] = None,
    custom_model_dir: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Folder of model files. New files are available at once. Repeatable."),
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[WORD=]VALUE",
            help="Minimum confidence of all wake words, or of one, 0 to 1. Repeatable. Default: stored in the model file.",
        ),
    ] = None,
    sensitivity: Sensitivity = None,
    refractory_seconds: Annotated[
        float, typer.Option(min=0, max=3600, help="Minimum time between two detections, in seconds.")
    ] = 2.0,
    zeroconf: Annotated[
        str | None,
        typer.Option(
            metavar="[NAME]",
            help="Announce the server in the local network, so that Home Assistant finds it. Default name: harken-HOST.",
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help=f"Change a limit, for example `streams=50`. The limits are {', '.join(_USED_LIMITS)}. Repeatable.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Number of inference threads. Default: one per CPU core.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Log every message, except for the audio.")] = False,
    log_format: Annotated[
        str, typer.Option(help="Format of a line of the log, as in Python's `logging`.")
    ] = "%(asctime)s %(levelname)s %(message)s",
) -> None:
    """Detect wake words for Home Assistant and other clients of the Wyoming protocol."""
    require_extra("wyoming", "wyoming", *(["zeroconf"] if zeroconf is not None else []))
    from harken.runtime.two_stage import DEFAULT_STREAM_MODEL
    from harken.serve.limits import Limits, with_limits
    from harken.serve.wyoming_discovery import check_announceable, default_name
    from harken.serve.wyoming_models import Thresholds, WakeWords
    from harken.serve.wyoming_server import parse_uri, serve_wyoming

    try:
        # A name that no record has is an error only when a line is written.
        logging.Formatter(log_format).format(logging.makeLogRecord({"name": "harken", "levelno": logging.INFO}))
        # `force` replaces the handlers of an earlier call in the same process.
        logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, format=log_format, force=True)
    except (ValueError, KeyError, TypeError) as error:
        raise HarkenError(f"--log-format {log_format}: write it as in '%(levelname)s %(message)s'") from error
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    address = parse_uri(uri)
    service_name = None
    if zeroconf is not None:
        service_name = zeroconf or default_name()
        check_announceable(service_name, address.host)
    for change in limit or []:
        if change.partition("=")[0] not in _USED_LIMITS:
            raise HarkenError(f"--limit {change}: write it as NAME=VALUE; the limits are {', '.join(_USED_LIMITS)}")
    limits = with_limits(Limits(), limit or [])
    words = WakeWords(
        model or ([] if custom_model_dir else [DEFAULT_STREAM_MODEL]),
        custom_model_dir or [],
        thresholds=Thresholds.read(threshold or []),
        refractory_s=refractory_seconds,
        sensitivity=sensitivity,
    )
    serve_wyoming(words, address, limits=limits, threads=threads, service_name=service_name)
