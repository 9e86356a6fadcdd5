"""Access control and security headers.

Access             the token, and the allowed origins and hosts
AccessMiddleware   ASGI middleware that refuses all other requests and adds security headers to each response
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
from harken.serve.loopback import is_loopback

SUBPROTOCOL = "harken"
"""WebSocket subprotocol that the server selects.

A browser cannot send headers with a WebSocket. It sends its token as a second subprotocol beside this one.
"""

_TOKEN_PREFIX = "bearer."
# These reveal nothing about the model or the audio.
_PUBLIC_PATHS = ("/healthz", "/openapi.json", "/docs", "/")
_PUBLIC_FOLDERS = ("/page/", "/ort/", "/teach/")

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TEACHING_POLICY = _POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
"""Content security policy of a page that learns phrases. It may also compile WebAssembly, for onnxruntime-web."""

SECURITY_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, kw_only=True)
class Access:
    """Rules for who can use the server.

    Parameters
    ----------
    token
        Token that each request to /v1 and /metrics must contain. None: no token is required.
    origins
        Origins of other web pages that may use the server, such as https://example.org. The server's own page is always
        allowed.
    loopback_only
        Accept only requests whose host is a name of this machine or of one of `origins`. This keeps other web pages from
        reaching the server under a domain of their own (DNS rebinding).

    Raises
    ------
    HarkenError
        If the token contains characters other than printable ASCII, or if an origin is not valid.
    """

    token: str | None = None
    origins: tuple[str, ...] = ()
    loopback_only: bool = True

    def __post_init__(self) -> None:
        if self.token is not None and not re.fullmatch(r"[!-~]+", self.token):
            raise HarkenError(
                "--token: use ASCII letters, digits and punctuation, without spaces, or remove the option"
            )
        given, origins = self.origins, tuple(map(_as_browsers_send, self.origins))
        object.__setattr__(self, "origins", origins)
        for text, origin in zip(given, origins, strict=True):
            if not (netloc := _netloc(origin)) or origin not in (f"http://{netloc}", f"https://{netloc}"):
                raise HarkenError(f"--origin {text}: write it as https://HOST or https://HOST:PORT, without a path")

    def refusal(self, path: str, headers: Headers) -> tuple[int, str] | None:
        """Return the status and message for a request that is not allowed, or None for an allowed one."""
        host = headers.get("host", "")
        hosts = {_hostname(urlsplit(origin).netloc) for origin in self.origins}
        if self.loopback_only and not is_loopback(_hostname(host)) and _hostname(host) not in hosts:
            return (
                403,
                f"this server answers requests for localhost, not for {host or 'an empty host'}: "
                "start it with --host or --origin",
            )
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins and _netloc(origin) != host:
            return 403, f"web pages of {origin} may not use this server: start it with --origin {origin} to allow them"
        if self.token is None or path in _PUBLIC_PATHS or path.startswith(_PUBLIC_FOLDERS):
            return None
        if hmac.compare_digest(_request_token(headers), self.token.encode()):
            return None
        return 401, "the token is missing or wrong: send it as Authorization: Bearer TOKEN"


class AccessMiddleware:
    """Pass allowed requests to an application, and add security headers to each response.

    Parameters
    ----------
    app
        Application to protect.
    access
        Rules for who can use it.
    """

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, or answer 401 or 403. The handshake of a WebSocket is checked, too."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                response_headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    response_headers.setdefault(name, value)
                if headers.get("origin") in self._access.origins:
                    response_headers["Access-Control-Allow-Origin"] = headers["origin"]
                    response_headers["Vary"] = "Origin"
            await send(message)

        refusal = self._access.refusal(scope["path"], headers)
        # A browser's preflight request does not contain the token. It asks whether the token may be sent.
        preflight = scope["type"] == "http" and scope["method"] == "OPTIONS" and "origin" in headers
        if preflight and (refusal is None or refusal[0] == 401):
            await _respond(send_with_headers, "http", 204, b"", {
                "Access-Control-Allow-Methods": "GET, POST",
                "Access-Control-Allow-Headers": "Authorization, Content-Type",
            })  # fmt: skip
        elif refusal is None:
            await self._app(scope, receive, send_with_headers)
        else:
            status, error = refusal
            kind = "http" if scope["type"] == "http" else "websocket.http"
            response_headers = {"Content-Type": "application/json"}
            if status == 401:
                response_headers["WWW-Authenticate"] = "Bearer"
            await _respond(send_with_headers, kind, status, json.dumps({"error": error}).encode(), response_headers)


async def _respond(send: Send, kind: str, status: int, body: bytes, headers: dict[str, str]) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": f"{kind}.response.start", "status": status, "headers": pairs})
    await send({"type": f"{kind}.response.body", "body": body})


def _as_browsers_send(origin: str) -> str:
    """Return an origin in lowercase and without the default port of its scheme."""
    origin = origin.lower()
    return origin.removesuffix(":443" if origin.startswith("https:") else ":80")


def _hostname(netloc: str) -> str:
    """Return the host of `host:port`, or an empty string if it is not valid."""
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    """Return the `host:port` of an origin, or an empty string if it is not valid."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _request_token(headers: Headers) -> bytes:
    """Return the token of a request, from its header or, for a browser's WebSocket, from the subprotocols."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip().encode("latin-1")  # Starlette decodes headers as Latin-1
    for offered in headers.get("sec-websocket-protocol", "").split(","):
        if offered.strip().startswith(_TOKEN_PREFIX):
            encoded = offered.strip().removeprefix(_TOKEN_PREFIX)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).strip()
            except (binascii.Error, ValueError):
                return b""
    return b""
