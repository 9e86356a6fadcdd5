"""Run the application on a port until a signal stops it."""

import errno
import signal
import socket
import ssl
import sys
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from harken.errors import HarkenError
from harken.serve.limits import Limits
from harken.serve.protocols import http_protocol, websocket_protocol

_BACKLOG = 2048


def serve(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    limits: Limits,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    The address is printed as soon as the port is open. After the signal, the server accepts no new connections. It finishes
    the running requests, and ends each stream with its last events, for at most `limits.drain_s` seconds.

    Parameters
    ----------
    app
        ASGI application, from `create_app`.
    host
        Address to listen on, for example 127.0.0.1.
    port
        Port to listen on. 0: any free port.
    limits
        Limits on connections, messages and times.
    tls_cert
        Certificate file in PEM format, for HTTPS. Default: HTTP.
    tls_key
        Key file of the certificate, in PEM format, without a password.

    Raises
    ------
    HarkenError
        If the port cannot be opened or the certificate cannot be loaded.
    """
    _check_certificate(tls_cert, tls_key)
    listening = _bind(host, port)
    scheme = "http" if tls_cert is None else "https"
    name = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        app,
        http=http_protocol(limits),
        ws=websocket_protocol(limits),
        ws_max_size=limits.message_bytes,
        ws_per_message_deflate=False,  # a small compressed message could expand to a very large one
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(limits.drain_s)),
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
    )
    # uvicorn raises the signal again after it has shut down. Ignore it, so that the exit code is 0.
    previous_handler = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        print(f"{scheme}://{name}:{listening.getsockname()[1]}", flush=True)
        uvicorn.Server(config).run([listening])
    finally:
        signal.signal(signal.SIGTERM, previous_handler)
        listening.close()


def _bind(host: str, port: int) -> socket.socket:
    no_address = HarkenError(f"--host {host}: this machine has no such address; use 127.0.0.1")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, OverflowError, UnicodeError) as error:  # UnicodeError: no name of a host
        raise no_address from error
    if sys.platform != "win32":  # on Windows, two servers could then share a port
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(_BACKLOG)  # from now on clients wait, even if the application takes long to start
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise no_address from error
        raise HarkenError(f"cannot open port {port} on {host} ({error.strerror}): choose another --port") from error
    return listening


def _check_certificate(cert: Path | None, key: Path | None) -> None:
    if cert is None and key is None:
        return
    if cert is None or key is None:
        raise HarkenError("--tls-cert and --tls-key belong together: set both")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, lambda: "")
    except (OSError, ValueError) as error:  # the base classes of ssl's errors
        raise HarkenError(
            f"{cert} and {key} are not a certificate and its key: pass PEM files without a password"
        ) from error
