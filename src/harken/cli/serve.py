"""The command `harken serve`: parse, call, print."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from harken.extras import require_extra


def serve(
    model: Annotated[
        str, typer.Option(help="Path of a model file, folder of a run, or name of a bundled model.")
    ] = "base",
    streaming: Annotated[
        str | None, typer.Option(help="Streaming form to hear streams with: its path, or base.stream, tiny.stream.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to bind; 0.0.0.0 opens it to others.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="HARKEN_TOKEN", help="What requests to /v1 and /metrics must bring to be answered."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate, PEM: serve https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    origin: Annotated[
        list[str] | None, typer.Option(help="Another site whose pages may use it, as https://HOST; repeatable.")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="A limit, as NAME=VALUE, such as streams=50; repeatable.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="That judge; else as many as cores.")] = None,
) -> None:
    """Serve a model: a page to speak to, clips over HTTP, streams over WebSocket."""
    require_extra("serve", "fastapi", "uvicorn", "websockets", "python_multipart")
    from harken.runtime.recognizer import Recognizer
    from harken.runtime.streamfile import StreamFile
    from harken.serve.app import create_app
    from harken.serve.limits import Limits, with_limits
    from harken.serve.security import Access
    from harken.serve.server import is_loopback
    from harken.serve.server import serve as serve_app

    limits = with_limits(Limits(), limit or [])
    access = Access(token=token, origins=tuple(origin or ()), loopback_only=is_loopback(host))
    form = StreamFile(streaming) if streaming is not None else None
    app = create_app(Recognizer(model), limits=limits, access=access, threads=threads, streaming=form)
    if not access.loopback_only and token is None:
        print("harken: anyone who reaches this machine can use the server: give --token", file=sys.stderr)
    serve_app(app, host=host, port=port, limits=limits, tls_cert=tls_cert, tls_key=tls_key)
