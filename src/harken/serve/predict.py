"""Recognize clips over HTTP. The body of a request is checked before it is decoded.

read_clip      read the clip in a request
predict_clip   recognize the word in it
"""

import asyncio
import io
from collections.abc import AsyncGenerator
from contextlib import suppress
from email.message import Message

import soundfile
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.requests import ClientDisconnect, Request

from harken.audio.clip import LENGTH_UNKNOWN
from harken.audio.decoder import Decoder, may_be_mp3
from harken.audio.wav import complete_header
from harken.errors import HarkenError
from harken.runtime.recognizer import Prediction, Recognizer
from harken.serve.limits import Limits, RequestError
from harken.serve.workers import Workers

_FIELD = "file"
_FORMATS = "WAV, FLAC, OGG or MP3"
_MAX_PART_HEADER_BYTES = 4096
_MAX_PARTS = 100
_MAX_DISCARD_BYTES = 64 * 2**20
_MAX_DISCARD_S = 2.0


async def read_clip(request: Request, limits: Limits, workers: Workers) -> bytes:
    """Read the clip in a request: the body, or the field `file` of a multipart form. It is never written to the disk.

    Parameters
    ----------
    request
        The request.
    limits
        Limits on the size of the body and the time it may take to arrive.
    workers
        Threads that parse multipart forms.

    Returns
    -------
    bytes
        The clip as it was sent.

    Raises
    ------
    RequestError
        With status 400, 408, 413, 415 or 422.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(415, "the body is compressed: send the clip without Content-Encoding")
    parts = request.stream()
    try:
        async with asyncio.timeout(limits.upload_s):
            body = await _read_body(request, parts, limits.body_bytes)
    except TimeoutError as error:
        raise RequestError(
            408,
            f"the clip did not arrive within {limits.upload_s:g} s: send a shorter clip, or use a faster connection",
        ) from error
    except ClientDisconnect as error:
        raise RequestError(400, "the connection closed before the clip was complete: send it again") from error
    if body is None:
        await _discard_rest(request, parts)
        raise RequestError(413, f"the body is larger than {limits.body_bytes:,} bytes: send a shorter clip, or FLAC")
    content_type = Message()
    content_type["content-type"] = request.headers.get("content-type", "")
    if content_type.get_content_type() != "multipart/form-data":
        return body
    return await workers.run(_file_field, body, str(content_type.get_param("boundary", "")))


def predict_clip(recognizer: Recognizer, clip: bytes, limits: Limits) -> Prediction:
    """Recognize the word in a clip.

    Parameters
    ----------
    recognizer
        The model.
    clip
        Content of an audio file.
    limits
        Limits on the length of the clip.

    Returns
    -------
    Prediction
        The word, or the reason why there is none.

    Raises
    ------
    RequestError
        With status 413, 415 or 422.
    """
    if not clip:
        raise RequestError(422, "the clip is empty: send a file, as the body or as the field `file`")
    if not _has_known_format(clip):
        raise RequestError(415, f"the format of the clip is not supported: send {_FORMATS}")
    _check_length(clip, limits)
    try:
        return recognizer.predict(_NamedClip(clip))
    except HarkenError as error:
        raise RequestError(422, str(error)) from error


class _NamedClip(io.BytesIO):
    name = "the clip"  # in messages


async def _read_body(request: Request, parts: AsyncGenerator[bytes, None], max_bytes: int) -> bytes | None:
    """Return the body, or None as soon as it is known to be too large."""
    if _stated_length(request) > max_bytes:
        return None
    body = bytearray()
    async for part in parts:
        body += part
        if len(body) > max_bytes:
            return None
    return bytes(body)


async def _discard_rest(request: Request, parts: AsyncGenerator[bytes, None]) -> None:
    """Read the rest of a body that is too large, within limits.

    If the server closed the connection with unread data, most clients would report a reset connection instead of the answer.
    """
    stated = _stated_length(request)
    # If the length is stated, nothing has been read yet. A client that expects "100 Continue" has then sent nothing, either.
    if stated > _MAX_DISCARD_BYTES or (stated and request.headers.get("expect", "").lower() == "100-continue"):
        return
    discarded = 0
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_MAX_DISCARD_S):
            async for part in parts:
                discarded += len(part)
                if discarded > _MAX_DISCARD_BYTES:
                    return


def _stated_length(request: Request) -> int:
    """Return the length of the body by its header, or 0 if the header does not state it."""
    stated = request.headers.get("content-length", "")
    return int(stated) if stated.isdecimal() else 0


def _file_field(body: bytes, boundary: str) -> bytes:
    """Return the field `file` of a multipart body. Starlette's own parser would write a large field to the disk."""
    malformed = RequestError(422, "the body is not valid multipart/form-data: send the clip in the field `file`")
    if not boundary:
        raise malformed
    parts: list[bytearray] = []
    names: list[str] = []
    headers: list[bytearray] = []
    ended = []

    def begin_part() -> None:
        if len(parts) == _MAX_PARTS:
            raise malformed
        headers.append(bytearray())
        parts.append(bytearray())

    def add_header_text(data: bytes, start: int, end: int) -> None:
        headers[-1] += data[start:end]
        if len(headers[-1]) > _MAX_PART_HEADER_BYTES:
            raise malformed

    def add_header_value(data: bytes, start: int, end: int) -> None:
        # The parser reports the names and values of headers separately. Join them into lines again.
        add_header_text(b": " + data[start:end], 0, end - start + 2)

    try:
        parser = MultipartParser(
            boundary.encode(),
            {
                "on_part_begin": begin_part,
                "on_header_field": add_header_text,
                "on_header_value": add_header_value,
                "on_header_end": lambda: headers[-1].extend(b"\n"),
                "on_headers_finished": lambda: names.append(_field_name(bytes(headers[-1]))),
                "on_part_data": lambda data, start, end: parts[-1].extend(data[start:end]),
                "on_end": lambda: ended.append(True),
            },
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError, IndexError) as error:
        raise malformed from error
    if not ended:
        raise malformed
    files = [part for part, name in zip(parts, names, strict=False) if name == _FIELD]
    if len(files) != 1:
        raise RequestError(422, f"the form has {len(files)} fields `file`: send one clip in the field `file`")
    return bytes(files[0])


def _field_name(headers: bytes) -> str:
    for line in headers.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            disposition = Message()
            disposition["content-disposition"] = value.strip()
            return str(disposition.get_param("name", "", "content-disposition"))
    return ""


def _has_known_format(clip: bytes) -> bool:
    if clip[:4] in (b"RIFF", b"RIFX", b"RF64"):
        return clip[8:12] == b"WAVE"
    is_mp3 = clip[:3] == b"ID3" or (len(clip) > 1 and clip[0] == 0xFF and clip[1] & 0xE0 == 0xE0)
    return is_mp3 or clip[:4] in (b"fLaC", b"OggS")


def _check_length(clip: bytes, limits: Limits) -> None:
    """Raise an error for a clip whose header states too many samples. No more than these are decoded or allocated."""
    try:
        stream = io.BytesIO(clip)
        completed = complete_header(stream)
        with Decoder(completed or stream, mp3=completed is None and may_be_mp3(stream)) as file:
            frames, channels, rate = file.frames, file.channels, file.samplerate
            if frames >= LENGTH_UNKNOWN:  # a FLAC that was written to a pipe
                longest = min(int(limits.clip_s * rate), limits.decoded_samples // channels)
                frames = len(file.read_block(longest + 1))
    except (soundfile.LibsndfileError, TypeError):
        return  # the recognizer reports what is wrong with it
    if frames > limits.clip_s * rate:
        raise RequestError(413, f"the clip is longer than {limits.clip_s:g} s: shorten it, or use /v1/listen")
    if frames * channels > limits.decoded_samples:
        raise RequestError(
            413,
            f"the clip has more than {limits.decoded_samples:,} samples: send one channel, or a lower sample rate",
        )
