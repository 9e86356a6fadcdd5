"""Clips over HTTP: a body in, checked before it is decoded, and what is heard in it out.

read_clip   the bytes of the clip in a request
predict_clip       what is heard in it
"""

import asyncio
import io
from email.message import Message

import soundfile
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.requests import ClientDisconnect, Request

from harken.errors import HarkenError
from harken.runtime.recognizer import Prediction, Recognizer
from harken.serve.limits import Limits, Refused
from harken.serve.workers import Workers

_FIELD = "file"
_READ = "WAV, FLAC, OGG and MP3"
_MOST_PART_HEADERS = 4096  # bytes
_MOST_PARTS = 100


async def read_clip(request: Request, limits: Limits, workers: Workers) -> bytes:
    """Return the clip in a request: its body, or the field `file` of a multipart one. It is kept in memory alone.

    Raises Refused with 408, 413, 415 or 422.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "the body is compressed: send the clip as it is, without Content-Encoding")
    try:
        async with asyncio.timeout(limits.upload_s):
            body = await _read_body(request, limits.body_bytes)
    except TimeoutError as error:
        raise Refused(408, f"the clip did not arrive within {limits.upload_s:g} s: send it faster, or less") from error
    except ClientDisconnect as error:
        raise Refused(400, "the connection ended before the clip did: send it again") from error
    content_type = Message()
    content_type["content-type"] = request.headers.get("content-type", "")
    if content_type.get_content_type() != "multipart/form-data":
        return body
    return await workers.run(_file_field, body, str(content_type.get_param("boundary", "")))


def predict_clip(recognizer: Recognizer, clip: bytes, limits: Limits) -> Prediction:
    """Return what is heard in a clip. Raises Refused with 413, 415 or 422."""
    if not clip:
        raise Refused(422, "the clip is empty: send a file, as the body or as the field `file`")
    if not _is_of_read_format(clip):
        raise Refused(415, f"the clip is of no format that is read: send {_READ}")
    _check_length(clip, limits)
    try:
        return recognizer.predict(_Clip(clip))
    except HarkenError as error:
        raise Refused(422, str(error)) from error


class _Clip(io.BytesIO):
    name = "the clip"  # in messages


async def _read_body(request: Request, most: int) -> bytes:
    too_large = Refused(413, f"the body is over {most:,} bytes: send a shorter clip, or FLAC")
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > most:
        raise too_large
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise too_large
    return bytes(body)


def _file_field(body: bytes, boundary: str) -> bytes:
    """Return the field `file` of a multipart body. Starlette's own parser would put a large one on the disk."""
    broken = Refused(422, "the body is not the multipart/form-data that it says it is: send the field `file`")
    if not boundary:
        raise broken
    parts: list[bytearray] = []
    names: list[str] = []
    heads: list[bytearray] = []
    ended = []

    def begin() -> None:
        if len(parts) == _MOST_PARTS:
            raise broken
        heads.append(bytearray())
        parts.append(bytearray())

    def head(data: bytes, start: int, end: int) -> None:
        heads[-1] += data[start:end]
        if len(heads[-1]) > _MOST_PART_HEADERS:
            raise broken

    def value(data: bytes, start: int, end: int) -> None:
        # Names and values of headers come apart; a colon and a line's end put them together again.
        head(b": " + data[start:end], 0, end - start + 2)

    try:
        parser = MultipartParser(
            boundary.encode(),
            {
                "on_part_begin": begin,
                "on_header_field": head,
                "on_header_value": value,
                "on_header_end": lambda: heads[-1].extend(b"\n"),
                "on_headers_finished": lambda: names.append(_field_name(bytes(heads[-1]))),
                "on_part_data": lambda data, start, end: parts[-1].extend(data[start:end]),
                "on_end": lambda: ended.append(True),
            },
        )
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError, IndexError) as error:
        raise broken from error
    if not ended:
        raise broken
    found = [part for part, name in zip(parts, names, strict=False) if name == _FIELD]
    if len(found) != 1:
        raise Refused(422, f"the form has {len(found)} fields `file`: send one clip in the field `file`")
    return bytes(found[0])


def _field_name(head: bytes) -> str:
    for line in head.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            disposition = Message()
            disposition["content-disposition"] = value.strip()
            return str(disposition.get_param("name", "", "content-disposition"))
    return ""


def _is_of_read_format(clip: bytes) -> bool:
    if clip[:4] in (b"RIFF", b"RIFX", b"RF64"):
        return clip[8:12] == b"WAVE"
    is_mp3 = clip[:3] == b"ID3" or (len(clip) > 1 and clip[0] == 0xFF and clip[1] & 0xE0 == 0xE0)
    return is_mp3 or clip[:4] in (b"fLaC", b"OggS")


def _check_length(clip: bytes, limits: Limits) -> None:
    """Refuse by its header what is too long: a reader decodes, and makes room for, no more than the header states."""
    try:
        with soundfile.SoundFile(io.BytesIO(clip)) as file:
            frames, channels, rate = file.frames, file.channels, file.samplerate
    except (soundfile.LibsndfileError, TypeError):
        return  # the recognizer says what is wrong with it
    if frames > limits.clip_s * rate:
        raise Refused(413, f"the clip is over {limits.clip_s:g} s by its header: cut it, or use /v1/listen")
    if frames * channels > limits.decoded_samples:
        raise Refused(413, f"the clip holds over {limits.decoded_samples:,} samples: send one channel, a lower rate")
