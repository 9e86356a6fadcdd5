import gzip
import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from harken.corpus import unpack
from harken.corpus.unpack import BadArchiveError, unpacked
from harken.errors import HarkenError


def write_tar(path, members):
    """Write (name, content) or ready TarInfo members to a tar.gz."""
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                name, content = member
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        for entry, content in members:
            pack.writestr(entry, content)
    return path


def special_tar_member(kind, name="yes/evil.wav", linkname=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


def special_zip_entry(mode, name="yes/evil.wav"):
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = mode << 16
    return entry


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def files_below(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unpack_to(archive, target):
    with unpacked(archive, target):
        pass
    return files_below(target)


WORDS = [("yes/a_nohash_0.wav", b"yes"), ("no/b_nohash_0.wav", b"no"), ("README.md", b"read")]


@pytest.mark.parametrize("write", [write_tar, write_zip])
@pytest.mark.parametrize("prefix", ["", "./", "top/", "outer/inner/"])
def test_word_folders_are_directly_in_the_target(tmp_path, write, prefix):
    archive = write(tmp_path / "archive", [(prefix + name, content) for name, content in WORDS])
    assert unpack_to(archive, tmp_path / "corpus") == dict(WORDS)
    assert names_in(tmp_path) == ["archive", "corpus"]


def test_a_single_word_folder_is_kept(tmp_path):
    archive = write_tar(tmp_path / "archive", [("yes/a.wav", b"yes")])
    assert unpack_to(archive, tmp_path / "corpus") == {"yes/a.wav": b"yes"}


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_files_of_macos_are_skipped(tmp_path, write):
    junk = ["__MACOSX/mini/yes/._a.wav", "mini/.DS_Store", "mini/yes/._a.wav"]
    archive = write(tmp_path / "archive", [(name, b"junk") for name in junk] + [("mini/yes/a.wav", b"yes")])
    assert unpack_to(archive, tmp_path / "corpus") == {"yes/a.wav": b"yes"}


def test_permissions_in_the_archive_are_ignored(tmp_path):
    info = tarfile.TarInfo("yes/a.wav")
    info.mode = 0o6777
    unpack_to(write_tar(tmp_path / "archive", [info, ("no/b.wav", b"no")]), tmp_path / "corpus")
    assert stat.S_IMODE((tmp_path / "corpus/yes/a.wav").stat().st_mode) & 0o6111 == 0


def test_an_empty_target_and_leftovers_of_a_killed_run_are_replaced(tmp_path):
    (tmp_path / "corpus").mkdir()
    (tmp_path / ".corpus.unpacking/yes").mkdir(parents=True)
    (tmp_path / ".corpus.unpacking/yes/old.wav").write_bytes(b"old")
    assert unpack_to(write_tar(tmp_path / "archive", WORDS), tmp_path / "corpus") == dict(WORDS)
    assert names_in(tmp_path) == ["archive", "corpus"]


MALICIOUS = {
    "parent": (write_tar, [("../evil.wav", b"evil")], "outside of the folder"),
    "parent within": (write_tar, [("yes/../../evil.wav", b"evil")], "outside of the folder"),
    "absolute": (write_tar, [("/harken-evil.wav", b"evil")], "outside of the folder"),
    "drive": (write_tar, [("C:evil.wav", b"evil")], "outside of the folder"),
    "backslash": (write_tar, [("..\\evil.wav", b"evil")], "outside of the folder"),
    "parent folder": (write_tar, [special_tar_member(tarfile.DIRTYPE, "../evil")], "outside of the folder"),
    "symbolic link": (write_tar, [special_tar_member(tarfile.SYMTYPE, linkname="../../evil")], "symbolic link"),
    "symbolic link inside": (
        write_tar,
        [("yes/a.wav", b"a"), special_tar_member(tarfile.SYMTYPE, linkname="a.wav")],
        "symbolic",
    ),
    "hard link": (
        write_tar,
        [("yes/a.wav", b"a"), special_tar_member(tarfile.LNKTYPE, linkname="yes/a.wav")],
        "hard link",
    ),
    "character device": (write_tar, [special_tar_member(tarfile.CHRTYPE)], "a device"),
    "block device": (write_tar, [special_tar_member(tarfile.BLKTYPE)], "a device"),
    "pipe": (write_tar, [special_tar_member(tarfile.FIFOTYPE)], "named pipe"),
    "sparse": (write_tar, [special_tar_member(tarfile.GNUTYPE_SPARSE)], "not a plain file"),
    "twice": (write_tar, [("yes/a.wav", b"1"), ("yes/a.wav", b"2")], "in it twice"),
    "file as folder": (write_tar, [("yes", b"1"), ("yes/a.wav", b"2")], "in it twice"),
    "long name": (write_tar, [("yes/" + "a" * 300, b"1")], "too long for a file name"),
    "zip parent": (write_zip, [("../evil.wav", b"evil")], "outside of the folder"),
    "zip absolute": (write_zip, [("/harken-evil.wav", b"evil")], "outside of the folder"),
    "zip symbolic link": (write_zip, [(special_zip_entry(stat.S_IFLNK | 0o777), b"../../evil")], "symbolic link"),
    "zip device": (write_zip, [(special_zip_entry(stat.S_IFCHR | 0o666), b"")], "a device"),
    "zip bzip2": (
        lambda path, _: zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2).writestr("yes/a.wav", b"1"),
        [],
        "compressed by method",
    ),
}


@pytest.mark.parametrize("case", MALICIOUS)
def test_malicious_archives_are_refused_as_a_whole(tmp_path, case):
    write, members, reason = MALICIOUS[case]
    outside = tmp_path / "room"
    outside.mkdir()
    write(outside / "archive", members)
    with pytest.raises(BadArchiveError, match=reason) as caught, unpacked(outside / "archive", outside / "corpus"):
        pytest.fail("it was unpacked")
    assert "\n" not in str(caught.value)
    assert names_in(outside) == ["archive"]
    assert names_in(tmp_path) == ["room"]
    assert not Path("/harken-evil.wav").exists()


def test_an_encrypted_zip_is_refused(tmp_path):
    archive = write_zip(tmp_path / "archive", [("yes/a.wav", b"1")])
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(BadArchiveError, match="encrypted"), unpacked(archive, tmp_path / "corpus"):
        pass


def test_a_zip_of_a_later_version_is_refused(tmp_path):
    archive = write_zip(tmp_path / "archive", [("yes/a.wav", b"1")])
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 99
    archive.write_bytes(data)
    with pytest.raises(BadArchiveError), unpacked(archive, tmp_path / "corpus"):
        pass


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_unpacking_stops_at_the_maximum_ratio(tmp_path, write, monkeypatch):
    monkeypatch.setattr(unpack, "_UNCHECKED_BYTES", 1 << 20)
    most = 0

    def watch(_):
        nonlocal most
        most = max(most, sum(path.stat().st_size for path in tmp_path.rglob("*.wav")))

    monkeypatch.setattr(unpack, "_BLOCK", 1 << 19)
    archive = write(tmp_path / "archive", [(f"yes/{i}.wav", bytes(1 << 17)) for i in range(400)])
    with (
        pytest.raises(BadArchiveError, match="far more"),
        unpacked(archive, tmp_path / "corpus", on_read=watch),
    ):
        pytest.fail("it was unpacked")
    assert 0 < most <= max(1 << 20, 20 * archive.stat().st_size)
    assert names_in(tmp_path) == ["archive"]


def test_the_ratio_includes_tar_headers_and_data_after_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "_UNCHECKED_BYTES", 1 << 20)
    long_name = special_tar_member(tarfile.GNUTYPE_LONGNAME, "././@LongLink")
    long_name.size = 64 << 20
    with gzip.open(tmp_path / "header", "wb") as file:
        file.write(long_name.tobuf(tarfile.GNU_FORMAT) + bytes(64 << 20))
    plain = gzip.decompress(write_tar(tmp_path / "plain", WORDS).read_bytes())
    (tmp_path / "tail").write_bytes(gzip.compress(plain + bytes(64 << 20)))
    for name in ("header", "tail"):
        with pytest.raises(BadArchiveError, match="far more"), unpacked(tmp_path / name, tmp_path / "corpus"):
            pytest.fail("it was unpacked")


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_unpacking_stops_at_the_maximum_number_of_entries(tmp_path, write, monkeypatch):
    monkeypatch.setattr(unpack, "_MAX_ENTRIES", 9)
    archive = write(tmp_path / "archive", [(f"yes/{i}.wav", b"") for i in range(10)])
    with pytest.raises(BadArchiveError, match="more than 9 entries"), unpacked(archive, tmp_path / "corpus"):
        pytest.fail("it was unpacked")


def cut(data):
    return data[: len(data) // 2]


def flip(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


def damage_checksum(data):  # of a gzip file: the last eight bytes are CRC and length
    return data[:-8] + bytes(8)


NOISE = [(f"yes/{i}.wav", os.urandom(5000)) for i in range(20)]


@pytest.mark.parametrize(
    ("write", "harm"),
    [(write_tar, cut), (write_tar, flip), (write_tar, damage_checksum), (write_zip, cut), (write_zip, flip)],
)
def test_a_damaged_archive_leaves_nothing(tmp_path, write, harm):
    archive = write(tmp_path / "archive", NOISE)
    archive.write_bytes(harm(archive.read_bytes()))
    with pytest.raises(BadArchiveError, match="damaged"), unpacked(archive, tmp_path / "corpus"):
        pytest.fail("it was unpacked")
    assert names_in(tmp_path) == ["archive"]


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", bytes(512)])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "archive").write_bytes(content)
    with (
        pytest.raises(BadArchiveError, match=r"neither a tar\.gz nor a zip"),
        unpacked(tmp_path / "archive", tmp_path / "c"),
    ):
        pass


def test_an_error_during_inspection_leaves_no_target(tmp_path):
    archive = write_tar(tmp_path / "archive", WORDS)
    with pytest.raises(KeyboardInterrupt), unpacked(archive, tmp_path / "corpus"):
        raise KeyboardInterrupt
    assert names_in(tmp_path) == ["archive"]


def test_a_full_disk_is_not_a_bad_archive(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unpack, "_write", full)
    archive = write_tar(tmp_path / "archive", WORDS)
    with pytest.raises(HarkenError, match="No space left") as caught, unpacked(archive, tmp_path / "corpus"):
        pass
    assert not isinstance(caught.value, BadArchiveError)


def test_progress_ends_at_the_length_of_the_archive(tmp_path):
    read = []
    archive = write_tar(tmp_path / "archive", NOISE)
    with unpacked(archive, tmp_path / "corpus", on_read=read.append):
        pass
    assert read == sorted(read)
    assert read[-1] == archive.stat().st_size
