"""Who may ask, and what the answers tell a browser.

Access    the token, and the origins and hosts that are let in
Guard     an ASGI application that lets only those through to another
"""

import base64
import binascii
import hmac
import json
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harken.errors import HarkenError

SUBPROTOCOL = "harken"
"""What a browser offers beside its token, since it can send no header with a WebSocket; the server chooses it."""

_BEARER = "bearer."
_OPEN = ("/healthz", "/openapi.json", "/docs", "/")  # they tell nothing of the model or of what was said
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who is let in.

    token : what each request to /v1 and /metrics must bring; None: nothing. origins : of other pages that may ask, such
    as https://example.org; the server's own page always may. loopback_only : names of this machine are the only
    hosts, so that no page of another's can reach the server under a name of its own (DNS rebinding).
    """

    token: str | None = None
    origins: tuple[str, ...] = ()
    loopback_only: bool = True

    def __post_init__(self) -> None:
        if self.token is not None and not re.fullmatch(r"[!-~]+", self.token):
            raise HarkenError("--token: give letters, digits and signs of ASCII, without spaces, or leave it out")
        for origin in self.origins:
            if not (place := _place(origin)) or origin not in (f"http://{place}", f"https://{place}"):
                raise HarkenError(f"--origin {origin}: write it as https://HOST or https://HOST:PORT, without a path")

    def refusal(self, path: str, headers: Headers) -> tuple[int, str] | None:
        """Return status and line for a request that is not let in, else None."""
        host = headers.get("host", "")
        if self.loopback_only and _name(host) not in _LOOPBACK | {_name(urlsplit(o).netloc) for o in self.origins}:
            return 403, f"this server answers to localhost, not to {host or 'no host'}: name it with --host or --origin"
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins and _place(origin) != host:
            return 403, f"pages of {origin} may not use this server: allow it with --origin {origin}"
        if self.token is None or path in _OPEN or path.startswith("/page/"):
            return None
        if hmac.compare_digest(_brought(headers), self.token.encode()):
            return None
        return 401, "the token is missing or wrong: send it as Authorization: Bearer TOKEN"


class Guard:
    """Lets through to `app` what `access` allows, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or 403, a WebSocket's handshake too, or as `app` does."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def guarded(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer.setdefault(name, value)
                if headers.get("origin") in self._access.origins:
                    answer["Access-Control-Allow-Origin"] = headers["origin"]
                    answer["Vary"] = "Origin"
            await send(message)

        refusal = self._access.refusal(scope["path"], headers)
        # A browser asks without the token whether it may send it.
        asks_first = scope["type"] == "http" and scope["method"] == "OPTIONS" and "origin" in headers
        if asks_first and (refusal is None or refusal[0] == 401):
            await _answer(guarded, "http", 204, b"", {
                "Access-Control-Allow-Methods": "GET, POST",
                "Access-Control-Allow-Headers": "Authorization, Content-Type",
            })  # fmt: skip
        elif refusal is None:
            await self._app(scope, receive, guarded)
        else:
            status, line = refusal
            kind = "http" if scope["type"] == "http" else "websocket.http"
            more = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
            body = json.dumps({"error": line}).encode()
            await _answer(guarded, kind, status, body, {"Content-Type": "application/json", **more})


async def _answer(send: Send, kind: str, status: int, body: bytes, headers: dict[str, str]) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": f"{kind}.response.start", "status": status, "headers": pairs})
    await send({"type": f"{kind}.response.body", "body": body})


def _name(netloc: str) -> str:
    """Return the host of `host:port`, or nothing of what is none."""
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str:
    """Return the `host:port` of an origin, or nothing of what is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _brought(headers: Headers) -> bytes:
    """Return the token that a request brings, in its header or, from a browser, in a WebSocket's subprotocols."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip().encode("latin-1")  # as which the header was decoded
    for offered in headers.get("sec-websocket-protocol", "").split(","):
        if offered.strip().startswith(_BEARER):
            encoded = offered.strip().removeprefix(_BEARER)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
            except (binascii.Error, ValueError):
                return b""
    return b""
