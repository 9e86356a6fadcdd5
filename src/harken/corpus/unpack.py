"""Unpack an archive from an untrusted source.

unpacked           unpack a tar.gz or zip into a folder, completely or not at all
BadArchiveError    the archive itself is at fault

The whole archive is refused if one of its entries would be written outside the folder, if an entry is not a plain file or
folder, or if it contains more than a corpus can. Owners, permissions and times in the archive are ignored.
"""

import errno
import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, BinaryIO

from harken.errors import HarkenError

# Speech Commands v0.02 unpacks to 3.4 GB in 106,000 files, 1.4 times its archive.
_MAX_BYTES = 16 << 30
_MAX_ENTRIES = 1_000_000
_MAX_RATIO = 20  # of the unpacked size to that of the archive
_UNCHECKED_BYTES = 64 << 20  # the ratio is not checked for archives that unpack to less

_BLOCK = 1 << 20
_FILE_BLOCK = 1 << 16  # fits a clip; larger blocks would need a memory mapping for each file
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,
    NotImplementedError,
)


class BadArchiveError(HarkenError):
    """The archive is damaged, malicious or the wrong one, so that unpacking it again cannot help."""


@contextmanager
def unpacked(archive: Path, target: Path, *, on_read: Callable[[int], None] | None = None) -> Iterator[Path]:
    """Unpack an archive beside `target`, yield that folder for inspection, and rename it to `target` at the end.

    If the archive consists of a single folder of folders, its content is placed directly in `target`. On any error the
    unpacked files are removed and `target` stays unchanged.

    Parameters
    ----------
    archive
        A tar.gz or zip file.
    target
        Folder to create. It must be missing or empty, and only one call at a time may use it.
    on_read
        Called with the number of bytes of the archive that have been read.

    Raises
    ------
    BadArchiveError
        If the archive is at fault.
    HarkenError
        If the files cannot be written.
    """
    temporary = target.with_name(f".{target.name}.unpacking")
    try:
        try:
            if temporary.exists():  # left by a run that was killed
                shutil.rmtree(temporary)
            temporary.mkdir(parents=True)
            _unpack(archive, temporary, on_read or (lambda _: None))
        except _DAMAGE as error:
            raise BadArchiveError(f"{archive} is damaged ({error}): download it again") from error
        except OSError as error:
            raise _cannot_write(target, error) from error
        inner = _skip_single_folders(temporary)
        yield inner
        try:
            if target.is_dir():
                target.rmdir()
            inner.rename(target)
        except OSError as error:
            raise _cannot_write(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unpack(archive: Path, folder: Path, on_read: Callable[[int], None]) -> None:
    with archive.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"\x1f\x8b":
        _unpack_tar(archive, folder, on_read)
    elif start == b"PK\x03\x04":
        _unpack_zip(archive, folder, on_read)
    else:
        raise BadArchiveError(f"{archive} is neither a tar.gz nor a zip archive: it starts with {start!r}")


def _unpack_tar(archive: Path, folder: Path, on_read: Callable[[int], None]) -> None:
    limit = _UnpackLimit(archive)
    made: set[Path] = set()
    with archive.open("rb") as packed, _MeteredGzip(packed, limit, on_read) as stream:
        # The stream is only read forward, so that a forged header cannot send the reader back into a loop.
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK) as tar:
            while (member := tar.next()) is not None:
                limit.count_entry()
                path = _checked_path(archive, member.name)
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise _refusal(archive, member.name, _TAR_KINDS.get(member.type, "not a plain file"))
                content = tar.extractfile(member)
                if content is not None and not _is_leftover(path):
                    _write(archive, folder / path, made, content, lambda _: None)
        while stream.read(_BLOCK):  # gzip verifies its checksum at its end, which is after the end of the tar
            pass


def _unpack_zip(archive: Path, folder: Path, on_read: Callable[[int], None]) -> None:
    limit = _UnpackLimit(archive)
    made: set[Path] = set()
    with zipfile.ZipFile(archive) as pack:
        bytes_read = 0
        for entry in pack.infolist():
            limit.count_entry()
            path = _checked_path(archive, entry.orig_filename)
            kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 if the archive was not created on Unix
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refusal(archive, entry.filename, "a symbolic link" if kind == stat.S_IFLNK else "a device")
            if entry.flag_bits & 1:
                raise _refusal(archive, entry.filename, "encrypted")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _refusal(archive, entry.filename, f"compressed by method {entry.compress_type}")
            if not entry.is_dir() and not _is_leftover(path):
                with pack.open(entry) as content:
                    _write(archive, folder / path, made, content, limit.count_bytes)
            bytes_read += entry.compress_size
            on_read(bytes_read)


_TAR_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
}


class _UnpackLimit:
    """Counts what is unpacked from an archive, and refuses it as a decompression bomb beyond the limits."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._bytes = min(_MAX_BYTES, max(_UNCHECKED_BYTES, _MAX_RATIO * archive.stat().st_size))
        self._entries = _MAX_ENTRIES

    def count_bytes(self, count: int) -> None:
        self._bytes -= count
        if self._bytes < 0:
            raise BadArchiveError(
                f"{self._archive} unpacks to far more than a corpus of its size: it was not unpacked; download it from its "
                "publisher"
            )

    def count_entry(self) -> None:
        self._entries -= 1
        if self._entries < 0:
            raise BadArchiveError(
                f"{self._archive} contains more than {_MAX_ENTRIES:,} entries: it was not unpacked; download it from its "
                "publisher"
            )


class _MeteredGzip(gzip.GzipFile):
    """A gzip file that counts every unpacked byte toward a limit, including tar headers of any size."""

    def __init__(self, packed: BinaryIO, limit: _UnpackLimit, on_read: Callable[[int], None]) -> None:
        super().__init__(fileobj=packed)
        self._packed = packed
        self._limit = limit
        self._on_read = on_read

    def read(self, size: int | None = -1) -> bytes:
        block = super().read(size)
        self._limit.count_bytes(len(block))
        self._on_read(self._packed.tell())
        return block


def _checked_path(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts or "\\" in name or "\0" in name:
        raise _refusal(archive, name, "a path outside of the folder")
    return path


def _is_leftover(path: PurePosixPath) -> bool:
    """Return whether macOS added this file to the archive. `._take.wav` would count as an unreadable clip."""
    return "__MACOSX" in path.parts or path.name == ".DS_Store" or path.name.startswith("._")


def _write(archive: Path, path: Path, made: set[Path], content: IO[bytes], count_bytes: Callable[[int], None]) -> None:
    try:
        if path.parent not in made:  # saves a system call for each of 100,000 files
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        file = path.open("xb", buffering=_FILE_BLOCK)
    except (FileExistsError, NotADirectoryError) as error:
        raise _refusal(archive, path.name, "in it twice") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise _refusal(archive, f"{path.name[:40]}…", "too long for a file name") from error
        raise
    with file:
        while block := content.read(_FILE_BLOCK):
            count_bytes(len(block))
            file.write(block)


def _skip_single_folders(folder: Path) -> Path:
    while True:
        entries = list(folder.iterdir())
        if len(entries) != 1 or not entries[0].is_dir() or not any(inner.is_dir() for inner in entries[0].iterdir()):
            return folder
        folder = entries[0]


def _refusal(archive: Path, name: str, what: str) -> BadArchiveError:
    return BadArchiveError(
        f"{archive} contains {name!r}, which is {what}: it was not unpacked; download it from its publisher"
    )


def _cannot_write(target: Path, error: OSError) -> HarkenError:
    return HarkenError(
        f"cannot unpack into {target}: {error.strerror or error}; make room or choose another folder, then run again"
    )
