"""uvicorn's protocols, with the limits that it lacks.

http_protocol         HTTP, also with a time for the headers to arrive
websocket_protocol    WebSocket; streams end with their last events when the server stops

Both limit the number of connections, and the time for which a client does not read. uvicorn would answer a full server in plain
text, and wait without end for space in the send buffer, even to close the connection.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from harken.serve.limits import Limits
from harken.serve.security import SECURITY_HEADERS

# A message that the application receives in the place of one from the client.
SERVER_STOPS: dict[str, Any] = {"type": "websocket.receive", "text": "", "server_stops": True}

if TYPE_CHECKING:

    class _Protocol(asyncio.Protocol):
        app: ASGIApp
        connections: set[Any]
        loop: asyncio.AbstractEventLoop
        transport: asyncio.Transport
else:
    _Protocol = object


class _Limited(_Protocol):
    """The limits `connections`, and `idle_s` on the time without reading."""

    limits: Limits
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self.app = self._refuse

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = f"the server has {self.limits.connections} open connections already: try again in a second"
        headers = {**SECURITY_HEADERS, "Retry-After": "1", "Connection": "close"}
        await JSONResponse({"error": error}, 503, headers)(scope, receive, send)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self._stalled or self.loop.call_later(self.limits.idle_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._reads_again()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._reads_again()

    def _reads_again(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def websocket_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Return uvicorn's WebSocket protocol with the limits `connections` and `idle_s`.

    When the server stops, the application receives `SERVER_STOPS`. uvicorn would close the connection at once.
    """
    server_limits = limits

    class StreamProtocol(_Limited, WebSocketsSansIOProtocol):
        limits = server_limits

        def shutdown(self) -> None:
            if self.handshake_complete and not self.close_sent and not self.disconnected:
                self.queue.put_nowait(SERVER_STOPS)  # type: ignore[arg-type]
            else:
                super().shutdown()

        async def send(self, message: Any) -> None:
            """Send a message, or raise WebSocketDisconnect with the close code if the connection is closed already.

            uvicorn closes it by itself after a message that is too long, and would then raise RuntimeError here.
            """
            await self.writable.wait()
            if self.conn.close_sent is not None:
                raise WebSocketDisconnect(self.conn.close_sent.code)
            await super().send(message)

    return StreamProtocol


def http_protocol(limits: Limits) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol with the limits `connections`, `header_s` and `idle_s`."""
    server_limits = limits

    class RequestProtocol(_Limited, H11Protocol):
        limits = server_limits
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
                self._timeout = self.loop.call_later(limits.header_s, self.transport.close)

        def _cancel_timeout(self) -> None:
            if self._timeout is not None:
                self._timeout.cancel()
                self._timeout = None

    return RequestProtocol
