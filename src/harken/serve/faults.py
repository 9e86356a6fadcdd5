"""Errors in the server itself: answer them with one line, and log where they happened.

ErrorMiddleware   ASGI middleware that answers 500 when the application raises an exception
"""

import json
import logging
import traceback

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG = logging.getLogger("harken.serve")
_MESSAGE = "internal server error: please report it, with the traceback from the server's log"


class ErrorMiddleware:
    """Answer 500 when `app` raises an exception.

    The log gets the type and the traceback of the exception. It does not get the message, which may contain what the
    client sent.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application. Exceptions of a WebSocket are raised again: the server then closes it with code 1011."""
        started = False

        async def record_start(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, record_start)
        except Exception as error:
            stack = "".join(traceback.format_tb(error.__traceback__))
            _LOG.error("%s in %s\n%s", type(error).__name__, scope.get("path"), stack)
            if started or scope["type"] != "http":
                raise
            body = json.dumps({"error": _MESSAGE}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 500, "headers": headers})
            await send({"type": "http.response.body", "body": body})
