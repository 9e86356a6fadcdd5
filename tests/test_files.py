import os
import stat

import pytest

from harken.errors import HarkenError
from harken.files import replacing, replacing_all, require_writable


def test_the_file_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "new" / "folder" / "report.html"
    with replacing(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.parent == target.parent  # one file system, so that the rename cannot fail half-way
        assert temporary.suffix == ".html"
        assert temporary.name.startswith(".")
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_no_other(tmp_path, error):
    target = tmp_path / "history.csv"
    target.write_text("old")

    def fail_half_way():
        with replacing(target) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        fail_half_way()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_two_writers_at_once_do_not_meet(tmp_path):
    target = tmp_path / "note"
    with replacing(target) as first:
        with replacing(target) as second:
            first.write_text("first")
            second.write_text("second")
        assert target.read_text() == "second"
    assert target.read_text() == "first"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_the_file_is_as_public_as_any_other(tmp_path):
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


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "note"
    with pytest.raises(HarkenError, match=f"^cannot write {target}: .*; choose a folder"), replacing(target):
        pytest.fail("the body ran")


def test_what_can_be_written_is_tried_without_a_trace(tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("as it was")
    require_writable(kept, tmp_path / "new" / "deep" / "file.txt")
    assert kept.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [kept]
    with pytest.raises(HarkenError, match=r"kept\.txt|below\.txt"):
        require_writable(tmp_path / "new" / "a.txt", kept / "below.txt")
    assert list(tmp_path.iterdir()) == [kept]


def write_half(path):
    path.write_text("new")
    raise ZeroDivisionError


def test_of_several_files_all_are_replaced_or_none(tmp_path):
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing_all(one, two) as (first, _):
        write_half(first)
    assert one.read_text() == "old"
    assert list(tmp_path.iterdir()) == [one]
    with replacing_all(one, two) as (first, second):
        first.write_text("new")
        second.write_text("new too")
    assert (one.read_text(), two.read_text()) == ("new", "new too")
