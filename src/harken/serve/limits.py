"""The limits of the server.

Limits         all limits, with their defaults
with_limits    change limits with `name=value` options
RequestError   an error that is answered with an HTTP status and one line
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from harken.errors import HarkenError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of the server. All of them are numbers above 0.

    docs/reference/limits.md lists the answer that a client gets when it exceeds a limit.

    Parameters
    ----------
    body_bytes
        Maximum size of a request body.
    upload_s
        Maximum time for a body to arrive, in seconds.
    header_s
        Maximum time for the headers of a request to arrive, in seconds.
    clip_s
        Maximum length of a clip, in seconds.
    decoded_samples
        Maximum number of samples of a clip, all channels together, as its header states them.
    connections
        Maximum number of open connections of any kind.
    requests
        Maximum number of clips that are read, queued or classified at the same time.
    streams
        Maximum number of open streams.
    message_bytes
        Maximum size of one message in a stream.
    stream_s
        Maximum duration of a stream, in seconds.
    lag_s
        How far live streams may be behind, in seconds. Beyond it, the newest stream is closed.
    idle_s
        Maximum time for which a stream can send no audio, and for which a client can leave answers unread, in seconds.
    drain_s
        Time that running requests and streams have to finish after SIGTERM, in seconds.

    Raises
    ------
    HarkenError
        If a limit is not a number above 0.
    """

    body_bytes: int = 8 * 2**20
    upload_s: float = 30.0
    header_s: float = 10.0
    clip_s: float = 30.0
    decoded_samples: int = 12_000_000
    connections: int = 1000
    requests: int = 32
    streams: int = 100
    message_bytes: int = 2**18
    stream_s: float = 3600.0
    lag_s: float = 1.0
    idle_s: float = 30.0
    drain_s: float = 10.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise HarkenError(f"the limit {field.name} is {value}: it must be a number above 0")


def with_limits(limits: Limits, changes: Sequence[str]) -> Limits:
    """Return limits with some values changed.

    Parameters
    ----------
    limits
        Limits to start from.
    changes
        Changes, each as `name=value`.

    Raises
    ------
    HarkenError
        If a limit does not exist or a value is not valid.
    """
    kinds = {field.name: type(getattr(limits, field.name)) for field in fields(limits)}
    values = {}
    for change in changes:
        name, _, text = change.partition("=")
        if name not in kinds:
            raise HarkenError(f"--limit {change}: write it as NAME=VALUE; the limits are {', '.join(kinds)}")
        try:
            values[name] = kinds[name](text)
        except ValueError as error:
            kind = "a whole number" if kinds[name] is int else "a number"
            raise HarkenError(f"--limit {change}: the value must be {kind}") from error
    return replace(limits, **values)


class RequestError(Exception):
    """A request that cannot be served. The server answers with the status and `{"error": message}`.

    Parameters
    ----------
    status
        HTTP status code.
    message
        One line: what is wrong with the request and how to fix it.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
