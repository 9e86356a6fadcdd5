"""What a server grants its clients, and how it refuses the rest.

Limits    every limit, with its default
Refused   a request that is answered with a status and one line
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from harken.errors import HarkenError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is granted, each a number over 0; docs/serve.md says how each is answered when it is passed.

    body_bytes : of one request. upload_s : for a body to arrive. header_s : for the head of a request to arrive.
    clip_s : the longest clip. decoded_samples : of a clip, all channels together, as its header states them.
    connections : open at once, of all kinds. requests : clips read, waiting or judged at once. streams : open at once.
    message_bytes : of one message of a stream. stream_s : how long a stream may last. idle_s : how long one may send no
    audio. drain_s : for what has begun to end, after SIGTERM.
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
    idle_s: float = 30.0
    drain_s: float = 10.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise HarkenError(f"the limit {field.name} is {value}: it must be a number over 0")


def with_limits(limits: Limits, changes: Sequence[str]) -> Limits:
    """Return limits with `name=value` changes. Raises HarkenError when there is no such limit or the value is unfit."""
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


class Refused(Exception):  # noqa: N818 - it is an answer, no error
    """A request that is not served: answered with `status`, and `line` as {"error": line}."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status
        self.line = line
