"""The command `harken serve`: parse the options and start the server."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from harken.cli.options import CommandTime, Sensitivity, Wake, read_command_time
from harken.errors import HarkenError
from harken.extras import require_extra


def serve(
    model: Annotated[str, typer.Option(help="Model file, run folder, or name of a bundled model.")] = "base",
    streaming: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Model for live audio, as in `harken listen`, for example `base.stream+large`. Default: --model.",
        ),
    ] = None,
    wake: Wake = None,
    command_s: CommandTime = None,
    sensitivity: Sensitivity = None,
    host: Annotated[
        str,
        typer.Option(
            envvar="HARKEN_HOST", help="Address to listen on. 0.0.0.0 makes the server reachable from other machines."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on. 0 picks a free port.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="HARKEN_TOKEN",
            help="Token that requests to /v1 and /metrics must send. Default: no token is required.",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="TLS certificate (PEM), to serve HTTPS. Default: serve HTTP.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key of the certificate (PEM).")] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Other website whose pages may use this server, as `https://HOST`. Repeatable."),
    ] = None,
    teach: Annotated[
        bool,
        typer.Option(
            "--teach",
            help="Visitors can teach the page a wake phrase in their browser. Downloads onnxruntime-web (12 MB) once.",
        ),
    ] = False,
    ort: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For --teach: folder with onnxruntime-web. Default: download it from npm."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Change a limit, for example `streams=50`. Repeatable."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Number of inference threads. Default: one per CPU core.")
    ] = None,
) -> None:
    """Serve a model over HTTP (clips), WebSocket (live audio) and a web page to try it on."""
    require_extra("serve", "fastapi", "uvicorn", "websockets", "python_multipart")
    from harken.runtime.recognizer import Recognizer
    from harken.runtime.two_stage import open_stream_model
    from harken.serve.app import create_app
    from harken.serve.limits import Limits, with_limits
    from harken.serve.loopback import is_loopback
    from harken.serve.security import Access
    from harken.serve.server import serve as serve_app

    command_s = read_command_time(command_s, wake)
    limits = with_limits(Limits(), limit or [])
    access = Access(token=token, origins=tuple(origin or ()), loopback_only=is_loopback(host))
    teaching = None
    if teach:
        from harken.export.web import teaching_page_files

        teaching = teaching_page_files(ort=ort)
    elif ort is not None:
        raise HarkenError("--ort goes with --teach: add it, or leave out --ort")
    app = create_app(
        Recognizer(model, sensitivity=sensitivity),
        limits=limits,
        access=access,
        threads=threads,
        streaming=None if streaming is None else open_stream_model(streaming, sensitivity=sensitivity),
        teaching=teaching,
        wake=None if wake is None else open_stream_model(wake, sensitivity=sensitivity),
        command_s=command_s,
    )
    if not access.loopback_only and token is None:
        print("harken: anyone who can reach this machine can use the server: set --token", file=sys.stderr)
    serve_app(app, host=host, port=port, limits=limits, tls_cert=tls_cert, tls_key=tls_key)
