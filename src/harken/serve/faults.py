"""Faults of the server's own: answered with one line, and told where they happened.

Caught   an ASGI application that answers where another raises
"""

import json
import logging
import traceback

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG = logging.getLogger("harken.serve")
_LINE = "the server is at fault, and its log says where: please report it"


class Caught:
    """Answers 500 where `app` raises; the log gets the place, and not the message, which may quote what was sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as `app` does. What a WebSocket's application raises is raised anew: the server closes it with 1011."""
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            place = "".join(traceback.format_tb(error.__traceback__))
            _LOG.error("%s in %s\n%s", type(error).__name__, scope.get("path"), place)
            if begun or scope["type"] != "http":
                raise
            body = json.dumps({"error": _LINE}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": body})
