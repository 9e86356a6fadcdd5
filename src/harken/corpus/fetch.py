"""Download a published corpus, verify it and unpack it. An interrupted download can be resumed.

get_corpus    the name of a corpus -> the folder that contains it

During a download to DIR, `DIR.part` contains the bytes received so far and `DIR.part.json` says which archive they belong
to. Both are removed when the corpus is complete or the archive proves to be a wrong one.
"""

import hashlib
import http.client
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import BinaryIO, Never

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from harken.corpus.catalog import PublishedCorpus, find_corpus
from harken.corpus.file_lock import is_locked_by_us
from harken.corpus.unpack import BadArchiveError, unpacked
from harken.errors import HarkenError
from harken.files import replacing

_BACK_OFF = (1.0, 2.0, 4.0, 8.0)  # seconds before each retry; the count starts again after new bytes
_TIMEOUT_S = 30.0  # a connection without data for this long counts as dead
_BLOCK = 1 << 20
_RETRIABLE = frozenset({408, 425, 429, 500, 502, 503, 504})  # HTTP status codes that may pass


def get_corpus(name: str, directory: Path, *, url: str | None = None, console: Console | None = None) -> Path:
    """Download a published corpus, so that its word folders are directly in `directory`.

    An interrupted download is resumed. A complete corpus is left unchanged.

    Parameters
    ----------
    name
        Name of the corpus (see `catalog.CORPORA`).
    directory
        Folder for the corpus: a new one, an empty one, or one with the complete corpus.
    url
        Another address of the same archive.
    console
        Where messages go. Default: standard error. Progress bars are only shown on a terminal.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    HarkenError
        If the name is unknown, the folder contains something else, the server cannot be reached, or it sends something
        else than this corpus. Wrong data is removed.
    """
    corpus = find_corpus(name)
    console = console or Console(stderr=True)
    directory = Path(directory)
    source = url or corpus.url
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", source):
        raise HarkenError(f"cannot download {source!r}: give an address that starts with https:// or http://")
    try:
        # Checked again after locking, because another run may have finished in between.
        if not _is_complete(corpus, directory, console):
            with _locked_part(directory) as (part, file):
                if not _is_complete(corpus, directory, console):
                    _download_and_unpack(corpus, source, directory, part, file, console)
    except OSError as error:
        raise HarkenError(
            f"cannot use {error.filename or directory}: {error.strerror or error}; "
            f"make room or choose another folder, then run again: the bytes received so far are kept"
        ) from error
    return directory


def _is_complete(corpus: PublishedCorpus, directory: Path, console: Console) -> bool:
    if directory.exists() and not directory.is_dir():
        raise HarkenError(f"{directory} is a file: choose a new folder for {corpus.name}")
    if not directory.is_dir() or not any(directory.iterdir()):
        if os.path.ismount(directory):
            raise HarkenError(f"{directory} is the root of a disk: choose a new folder in it for {corpus.name}")
        return False
    if _difference(corpus, directory) is not None:
        raise HarkenError(
            f"{directory} is neither empty nor a complete {corpus.name}: choose a new folder, or empty this one first"
        )
    _print_line(console, f"{corpus.name} is already complete in {directory}")
    return True


def _difference(corpus: PublishedCorpus, folder: Path) -> str | None:
    """Return how a folder differs from the corpus, or None if it does not."""
    for name, wanted in corpus.recordings.items():
        inner = folder / name
        found = sum(entry.name.lower().endswith(".wav") for entry in os.scandir(inner)) if inner.is_dir() else 0
        if found != wanted:
            return f"{found:,} recordings in {name!r}, where {corpus.name} has {wanted:,}"
    return None


@contextmanager
def _locked_part(directory: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Open the `.part` file of `directory` for appending, and lock it against other runs."""
    place = directory.resolve()
    part = place.with_name(f"{place.name}.part")
    place.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as file:
        if not is_locked_by_us(file):
            raise HarkenError(f"another run is downloading into {directory}: wait until it has ended")
        if not part.exists() or not os.path.samestat(os.fstat(file.fileno()), part.stat()):
            raise HarkenError(f"another run into {directory} has just ended: run again")
        try:
            yield part, file
        finally:
            file.flush()
            if part.stat().st_size == 0:
                if os.name == "nt":  # which deletes no file that is open
                    file.close()
                part.unlink()
                _note_path(part).unlink(missing_ok=True)


def _note_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _download_and_unpack(
    corpus: PublishedCorpus, source: str, directory: Path, part: Path, file: BinaryIO, console: Console
) -> None:
    with _progress_bars(console) as bars:
        download = _Download(corpus, source, part, file, bars)
        try:
            download.run()
            _verify(corpus, source, part, bars)
            with unpacked(
                part, directory.resolve(), on_read=_add_bar(bars, "unpacking", part.stat().st_size)
            ) as folder:
                if (difference := _difference(corpus, folder)) is not None:
                    raise BadArchiveError(f"{source} does not contain {corpus.name}: {difference}")
        except BadArchiveError as error:
            file.truncate(0)
            raise HarkenError(f"{error}; the download was removed") from error
        except KeyboardInterrupt:
            _print_line(console, f"stopped; run the same command to continue from {download.size:,} bytes")
            raise
        file.truncate(0)
    _print_line(console, f"{corpus.name}: {corpus.clips:,} clips in {corpus.folders} folders in {directory}")


def _verify(corpus: PublishedCorpus, source: str, part: Path, bars: Progress) -> None:
    show = _add_bar(bars, "checking", part.stat().st_size)
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            show(file.tell())
    found = digest.hexdigest()
    if corpus.sha256 is None:
        _print_line(bars.console, f"SHA-256 of the archive: {found} (there is no published one to compare it with)")
    elif found != corpus.sha256:
        raise BadArchiveError(f"{source} does not contain {corpus.name}: its SHA-256 is {found}, not {corpus.sha256}")


class _InterruptedTransferError(Exception):
    """The transfer ended early, and another try may succeed."""


class _Download:
    """A download into a `.part` file. Its `.part.json` file stores the address, the length and the validator."""

    def __init__(self, corpus: PublishedCorpus, url: str, part: Path, file: BinaryIO, bars: Progress) -> None:
        self._corpus = corpus
        self._url = url
        self._note = _note_path(part)
        self._file = file
        self._bars = bars
        self.size = part.stat().st_size
        self._total: int | None = None
        self._validator: str | None = None
        self._read_note()
        self._task = bars.add_task("downloading", total=self._total, completed=self.size)

    def run(self) -> None:
        """Download the missing bytes. Raises HarkenError if several tries in a row bring no new bytes."""
        failures, furthest = 0, self.size
        while self.size != self._total:
            try:
                self._try()
            except _InterruptedTransferError as error:
                if self.size > furthest:
                    failures, furthest = 0, self.size
                if failures == len(_BACK_OFF):
                    rest = (
                        f"; run the same command to continue from {self.size:,} bytes"
                        if self.size
                        else ": try again later"
                    )
                    raise HarkenError(f"cannot download {self._url}: {error}{rest}") from error
                if self._bars.console.is_terminal:
                    _print_line(self._bars.console, f"{error}; trying again in {_BACK_OFF[failures]:.0f} s")
                time.sleep(_BACK_OFF[failures])
                failures += 1

    def _read_note(self) -> None:
        try:
            note = json.loads(self._note.read_text())
            if note["url"] == self._url and (note["total"] is None or self.size <= note["total"]):
                self._total, self._validator = note["total"], note["validator"]
                return
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        self._restart()  # without a valid note, the bytes may belong to another archive

    def _restart(self) -> None:
        self._file.truncate(0)
        self.size = 0
        self._total = self._validator = None

    def _try(self) -> None:
        request = urllib.request.Request(self._url)
        request.add_header("User-Agent", "harken")
        request.add_header("Accept-Encoding", "identity")
        if self.size:
            request.add_header("Range", f"bytes={self.size}-")
            if self._validator:
                request.add_header("If-Range", self._validator)
        with self._open(request) as response:
            self._check_response(response)
            self._receive(response)

    def _open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        try:
            response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
            return response
        except urllib.error.HTTPError as error:
            with error:
                self._handle_http_error(error)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            cause = getattr(error, "reason", error)
            if isinstance(error, http.client.InvalidURL | UnicodeError) or isinstance(
                cause, ssl.SSLCertVerificationError
            ):
                raise HarkenError(
                    f"cannot download {self._url}: {cause}; check the address and the clock of this machine"
                ) from error
            raise _InterruptedTransferError(_describe_error(error)) from error

    def _handle_http_error(self, error: urllib.error.HTTPError) -> Never:
        state = f"HTTP {error.code} {error.reason}"
        if error.code in _RETRIABLE:
            raise _InterruptedTransferError(state)
        if error.code == 416 and self.size:  # the file on the server is not longer than the part
            size, promised = self.size, self._total
            self._restart()
            if promised is None:
                raise _InterruptedTransferError("the server cannot continue from there")
            raise HarkenError(
                f"{self._url} announced {promised:,} bytes but has no more than {size:,}: its copy is damaged or has "
                "changed; the bytes received were removed, try again later"
            )
        raise HarkenError(f"cannot download {self._url}: {state}; check the address or give another one")

    def _check_response(self, response: http.client.HTTPResponse) -> None:
        """Check that the response continues this download, and store its length and validator."""
        validator = _validator(response.headers)
        if response.status == 206:
            first, total = _content_range(response.headers)
            if first != self.size or _differ(total, self._total) or _differ(validator, self._validator):
                self._restart()
                raise _InterruptedTransferError("the archive changed on the server")
        elif response.status == 200:  # the whole file: the first try, a server without ranges, or a changed file
            self._restart()
            length = response.headers.get("Content-Length")
            total = int(length) if length and length.isdecimal() else None
        else:
            raise HarkenError(
                f"cannot download {self._url}: HTTP {response.status}; check the address or give another one"
            )
        self._refuse_other_files(response.headers, total)
        self._total = total if total is not None else self._total or self._corpus.archive_bytes
        self._validator = validator or self._validator  # a partial response may omit the date
        self._write_note()
        self._bars.update(self._task, total=self._total, completed=self.size)

    def _refuse_other_files(self, headers: Message, total: int | None) -> None:
        expected = self._corpus.archive_bytes
        if headers.get_content_type() == "text/html":
            found = "a web page"
        elif _differ(total, expected):
            found = f"a file of {total:,} bytes, where {self._corpus.name} has {expected:,}"
        else:
            return
        self._restart()
        raise HarkenError(f"{self._url} answers with {found}: check the address or give another one")

    def _receive(self, response: http.client.HTTPResponse) -> None:
        while self._total is None or self.size < self._total:
            room = _BLOCK if self._total is None else min(_BLOCK, self._total - self.size)
            try:
                block = response.read1(room)
            except (OSError, http.client.HTTPException) as error:
                raise _InterruptedTransferError(_describe_error(error)) from error
            if not block:
                break
            self._file.write(block)
            self.size += len(block)
            self._bars.update(self._task, completed=self.size)
        self._file.flush()
        if self._total is None:
            self._total = self.size  # without a length, the end of the connection is the end of the file
            self._write_note()
        elif self.size < self._total:
            raise _InterruptedTransferError(f"the server stopped at {self.size:,} of {self._total:,} bytes")

    def _write_note(self) -> None:
        with replacing(self._note) as temporary:
            temporary.write_text(json.dumps({"url": self._url, "total": self._total, "validator": self._validator}))


def _validator(headers: Message) -> str | None:
    """Return the value for If-Range: a strong ETag, or else the date of the last change (RFC 9110, 13.1.5)."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _differ(one: object, other: object) -> bool:
    return one is not None and other is not None and one != other


def _content_range(headers: Message) -> tuple[int | None, int | None]:
    """Return the first byte and the total length that a partial response states."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    if match is None:
        return None, None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _describe_error(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return f"no answer for {_TIMEOUT_S:.0f} s"
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _progress_bars(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


def _add_bar(bars: Progress, label: str, total: int) -> Callable[[int], None]:
    task = bars.add_task(label, total=total)
    return lambda done: bars.update(task, completed=done)


def _print_line(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
