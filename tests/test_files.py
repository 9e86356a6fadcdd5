import errno
import os
import stat
import sys

import pytest

from harken.errors import HarkenError
from harken.files import replacing, replacing_all, require_writable


def test_the_file_appears_only_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "folder" / "report.html"
    with replacing(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent == target.parent  # the same file system, so that the rename is atomic
        assert temporary.suffix == ".html"
        assert temporary.name.startswith(".")
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_only_the_old_file(tmp_path, error):
    target = tmp_path / "history.csv"
    target.write_text("old")

    def write_and_fail():
        with replacing(target) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        write_and_fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_two_simultaneous_writers_do_not_conflict(tmp_path):
    target = tmp_path / "note"
    with replacing(target) as first:
        with replacing(target) as second:
            first.write_text("first")
            second.write_text("second")
        assert target.read_text() == "second"
    assert target.read_text() == "first"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_the_file_gets_the_usual_permissions(tmp_path):
    old = os.umask(0o027)
    try:
        with replacing(tmp_path / "note") as temporary:
            temporary.write_text("hello")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "note").stat().st_mode) == 0o640


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(HarkenError, match=f"^{tmp_path} is a folder: name a file to write$"), replacing(tmp_path):
        pytest.fail("the body ran")


def test_a_link_stays_a_link_to_the_new_file(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with replacing(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on this system")
def test_a_device_or_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HarkenError, match="pipe is not a regular file"), replacing(tmp_path / "pipe"):
        pytest.fail("the body ran")
    assert not (tmp_path / "pipe").is_file()


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "note"
    for path in (target, target / "below"):
        with (
            pytest.raises(HarkenError, match=f"^cannot write {path}: .*; a part of the path is a file"),
            replacing(path),
        ):
            pytest.fail("the body ran")


def test_require_writable_leaves_no_files_or_folders(tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("as it was")
    require_writable(kept, tmp_path / "new" / "deep" / "file.txt")
    assert kept.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [kept]
    with pytest.raises(HarkenError, match=r"kept\.txt|below\.txt"):
        require_writable(tmp_path / "new" / "a.txt", kept / "below.txt")
    assert list(tmp_path.iterdir()) == [kept]


def write_and_fail(path):
    path.write_text("new")
    raise ZeroDivisionError


def test_replacing_all_replaces_all_files_or_none(tmp_path):
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing_all(one, two) as (first, _):
        write_and_fail(first)
    assert one.read_text() == "old"
    assert list(tmp_path.iterdir()) == [one]
    with replacing_all(one, two) as (first, second):
        first.write_text("new")
        second.write_text("new too")
    assert (one.read_text(), two.read_text()) == ("new", "new too")


def test_a_full_disk_names_the_file(tmp_path):
    def write_and_fail():
        with replacing(tmp_path / "best.ckpt"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left") as caught:
        write_and_fail()
    assert caught.value.filename == str(tmp_path / "best.ckpt")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows reports other errors")
def test_a_name_that_is_too_long_is_refused(tmp_path):
    message = f"^cannot write {tmp_path}/x+: File name too long; choose a shorter name$"
    with pytest.raises(HarkenError, match=message), replacing(tmp_path / ("x" * 300)):
        pytest.fail("the body ran")
    with pytest.raises(HarkenError, match="File name too long"):
        require_writable(tmp_path / ("x" * 300) / "file.txt")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="such a link is replaced")
def test_a_link_that_leads_to_itself_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with (
        pytest.raises(HarkenError, match=f"^cannot write {tmp_path}/loop: .*name another file$"),
        replacing(tmp_path / "loop"),
    ):
        pytest.fail("the body ran")


def test_a_folder_that_cannot_be_looked_into_is_refused(tmp_path, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.stat", refuse)
    with pytest.raises(HarkenError, match=r"^cannot write .*a\.txt: Permission denied; choose a folder"):
        require_writable(tmp_path / "secret" / "a.txt")
