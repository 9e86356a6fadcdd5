"""Run the application on a port until a signal stops it.

serve         run the server
is_loopback   check whether a host is this machine only
"""

import asyncio
import ipaddress
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from harken.errors import HarkenError
from harken.serve.limits import Limits

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

    The address is printed as soon as the port is open. After the signal, the server accepts no new connections, and
    finishes the running requests and streams, for at most `limits.drain_s` seconds.

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
        http=_protocol_with_timeout(limits.header_s),
        ws="websockets-sansio",
        ws_max_size=limits.message_bytes,
        ws_per_message_deflate=False,  # a small compressed message could expand to a very large one
        limit_concurrency=limits.connections,
        log_level="critical",  # uvicorn logs a warning for each connection above the limit
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


def is_loopback(host: str) -> bool:
    """Return whether a host can be reached only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise HarkenError(f"--host {host}: this machine has no such address; use 127.0.0.1") from error
    if sys.platform != "win32":  # on Windows, two servers could then share a port
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(_BACKLOG)  # from now on clients wait, even if the application takes long to start
    except OSError as error:
        listening.close()
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


def _protocol_with_timeout(header_s: float) -> type[H11Protocol]:
    """Return uvicorn's HTTP protocol with a time limit for the headers of a request to arrive."""

    class Protocol(H11Protocol):
        _timeout: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._update_timeout()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._update_timeout()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._cancel_timeout()

        def handle_websocket_upgrade(self, event: Any) -> None:
            super().handle_websocket_upgrade(event)
            self._cancel_timeout()

        def _update_timeout(self) -> None:
            waiting_for_headers = self.cycle is None or self.cycle.response_complete
            if not waiting_for_headers or self.transport.get_protocol() is not self:
                self._cancel_timeout()
            elif self._timeout is None:
                self._timeout = self.loop.call_later(header_s, self.transport.close)

        def _cancel_timeout(self) -> None:
            if self._timeout is not None:
                self._timeout.cancel()
                self._timeout = None

    return Protocol
