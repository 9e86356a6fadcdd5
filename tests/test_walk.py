import os

import pytest

from harken.corpus.table import audio_files
from harken.corpus.walk import file_row, fingerprint, walk


@pytest.fixture
def folder(tmp_path):
    for name in ("a.wav", "B.FLAC", "._a.wav", "wav", "notes.txt", "anna/c.mp3", "anna/deep/d.ogg", ".git/e.wav"):
        path = tmp_path / "yes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f.wav").write_text("f")
    (tmp_path / "yes" / "link.wav").symlink_to(tmp_path / "elsewhere" / "f.wav")
    (tmp_path / "yes" / "folder.wav").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "yes" / "anna" / "back").symlink_to(tmp_path / "yes")  # a walk through it would not end
    return tmp_path / "yes"


def rows(folder):
    return sorted(row for found in walk(str(folder)).values() for row in found)


def test_walk_finds_the_same_as_audio_files_with_size_and_time(folder):
    found = rows(folder)
    assert sorted(os.path.join(place, name) for name, place, _, _ in found) == sorted(map(str, audio_files(folder)))  # noqa: PTH118
    assert [name for name, *_ in found] == ["B.FLAC", "a.wav", "c.mp3", "d.ogg", "f.wav", "link.wav"]
    assert ("c.mp3", str(folder / "anna"), len("anna/c.mp3"), (folder / "anna/c.mp3").stat().st_mtime_ns) in found
    assert found[-1][2] == 1  # of what the link points to


def test_files_are_grouped_by_folder(folder):
    places = walk(str(folder))
    assert set(places) == {str(folder / name) for name in (".", "anna", "anna/deep", "folder.wav")}
    assert all(row[1] == place for place, found in places.items() for row in found)


def test_file_row_gives_the_same_row_as_walk(folder):
    assert [file_row(place, name) for name, place, _, _ in rows(folder)] == rows(folder)


@pytest.mark.parametrize("with_folder_open", [True, False])
def test_inaccessible_files_are_listed_too(folder, monkeypatch, with_folder_open):
    if not with_folder_open:
        monkeypatch.setattr(os, "supports_dir_fd", set())
    before = rows(folder)
    (folder / "gone.wav").symlink_to(folder / "nowhere.wav")
    assert rows(folder) == sorted([*before, ("gone.wav", str(folder), -1, -1)])


@pytest.mark.parametrize(
    "change", ["added", "removed", "renamed", "grown", "written to in place", "the target of a link"]
)
def test_every_change_changes_the_fingerprint(folder, change):
    before = fingerprint(rows(folder))
    assert fingerprint(rows(folder)) == before
    path = folder / "anna/deep/d.ogg"
    if change == "added":
        (folder / "new.wav").touch()
    elif change == "removed":
        path.unlink()
    elif change == "renamed":
        path.rename(folder / "anna/deep/e.ogg")
    elif change == "grown":
        path.write_text("longer than before")
    else:
        changed = path if change == "written to in place" else folder / "link.wav"
        content, status = changed.read_text(), changed.stat()
        changed.write_text(content.upper())
        os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert fingerprint(rows(folder)) != before
