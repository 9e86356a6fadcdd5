"""The application on a port, until a signal ends it.

serve   bind, say where, answer, drain
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
    """Serve until SIGTERM or Ctrl-C; then take nothing new, and let what has begun end. Port 0: any that is free.

    Prints the address when it is bound. Raises HarkenError when the port or the certificate cannot be had.
    """
    _check_certificate(tls_cert, tls_key)
    listening = _bound(host, port)
    scheme = "http" if tls_cert is None else "https"
    name = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        app,
        http=_within(limits.header_s),
        ws="websockets-sansio",
        ws_max_size=limits.message_bytes,
        ws_per_message_deflate=False,  # so that no small message unpacks to a large one
        limit_concurrency=limits.connections,
        log_level="critical",  # uvicorn warns of each connection over its limit
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(limits.drain_s)),
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
    )
    # uvicorn raises the signal anew once it has drained; an ordered end is no failure.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        print(f"{scheme}://{name}:{listening.getsockname()[1]}", flush=True)
        uvicorn.Server(config).run([listening])
    finally:
        signal.signal(signal.SIGTERM, before)
        listening.close()


def is_loopback(host: str) -> bool:
    """Whether a host can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise HarkenError(f"--host {host}: there is no such address on this machine; use 127.0.0.1") from error
    if sys.platform != "win32":  # where it would let two servers share a port
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(_BACKLOG)  # from here on clients wait, however long the application takes to begin
    except OSError as error:
        listening.close()
        raise HarkenError(f"port {port} of {host} cannot be had ({error.strerror}): give another --port") from error
    return listening


def _check_certificate(cert: Path | None, key: Path | None) -> None:
    if cert is None and key is None:
        return
    if cert is None or key is None:
        raise HarkenError("--tls-cert and --tls-key go together: give both")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, lambda: "")
    except (OSError, ValueError) as error:  # of which ssl's own errors are
        raise HarkenError(f"{cert} and {key} are no certificate and its key, in PEM without a password") from error


def _within(header_s: float) -> type[H11Protocol]:
    """Return uvicorn's protocol with a limit on the time in which the head of a request has to arrive."""

    class Protocol(H11Protocol):
        _stalled: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._rest()

        def handle_websocket_upgrade(self, event: Any) -> None:
            super().handle_websocket_upgrade(event)
            self._rest()

        def _watch(self) -> None:
            waits = self.cycle is None or self.cycle.response_complete
            if not waits or self.transport.get_protocol() is not self:
                self._rest()
            elif self._stalled is None:
                self._stalled = self.loop.call_later(header_s, self.transport.close)

        def _rest(self) -> None:
            if self._stalled is not None:
                self._stalled.cancel()
                self._stalled = None

    return Protocol
