import os
import shutil

import numpy as np
import pytest
import soundfile

from conftest import OTHER_WORDS, SPEAKERS, TEN_WORDS, tone
from harken.corpus import table
from harken.corpus.table import Clip, audio_files, read_corpus, same_content
from harken.corpus.walk import walk
from harken.errors import HarkenError


def put(root, *names, frequency=440.0):
    """Write a clip with each of these names, each with other samples."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(frequency + number, 0.05, 8_000), 8_000)
    return root


def names(corpus):
    return [clip.name for clip in corpus.clips]


def test_the_tiny_corpus_is_read_like_speech_commands(tiny_corpus):
    corpus = read_corpus([tiny_corpus])
    assert corpus.roots == (tiny_corpus,)
    assert corpus.words == tuple(sorted(TEN_WORDS + OTHER_WORDS))
    assert len(corpus.clips) == 12 * 10
    assert {clip.speaker for clip in corpus.clips} == set(SPEAKERS)
    assert [path.name for path in corpus.noise] == ["white.wav"]
    assert corpus.duplicates == ()


def test_clips_are_ordered_by_word_and_file_name(tmp_path):
    put(
        tmp_path,
        "yes/b_nohash_0.wav",
        "no/z_nohash_0.wav",
        "yes/B_nohash_0.wav",
        "no/a_nohash_1.wav",
        "no/c_nohash_0.flac",
    )
    assert names(read_corpus([tmp_path])) == [
        "no/a_nohash_1",
        "no/c_nohash_0",
        "no/z_nohash_0",
        "yes/B_nohash_0",
        "yes/b_nohash_0",
    ]


def test_of_words_orders_by_the_given_words_and_file_name(tiny_corpus):
    corpus = read_corpus([tiny_corpus]).of_words(("up", "go"))
    assert [clip.word for clip in corpus.clips] == ["up"] * 10 + ["go"] * 10
    for part in (corpus.clips[:10], corpus.clips[10:]):
        assert [clip.path.name for clip in part] == [f"{speaker}_nohash_0.wav" for speaker in sorted(SPEAKERS)]
    assert [path.name for path in corpus.noise] == ["white.wav"]


def test_of_words_sorts_by_file_name_across_folders(tmp_path):
    first = put(tmp_path / "1", "yes/b_nohash_0.wav", "yes/d_nohash_0.wav")
    second = put(tmp_path / "2", "yes/a_nohash_0.ogg", "yes/c_nohash_0.ogg", frequency=900)
    joined = read_corpus([first, second]).of_words(["yes"])
    assert [clip.path.name[0] for clip in joined.clips] == ["a", "b", "c", "d"]


def test_of_words_names_missing_words(tmp_path):
    put(tmp_path, "yes/a.wav", "no/a.wav")
    with pytest.raises(HarkenError, match=f"^{tmp_path} contains no clips of up, go: its words are no, yes$"):
        read_corpus([tmp_path]).of_words(("yes", "up", "go"))


def test_only_folders_of_the_given_words_are_listed(tmp_path, monkeypatch):
    first = put(tmp_path / "1", "yes/b_nohash_0.wav", "no/a_nohash_0.wav", "up/a_nohash_0.wav", "up/A_nohash_0.wav")
    second = put(tmp_path / "2", "up/a_nohash_1.ogg", frequency=900)
    (second / "_background_noise_").mkdir()
    third = put(tmp_path / "3", "no/b_nohash_0.ogg", frequency=900)
    roots = [first, second, third]
    walked = []
    monkeypatch.setattr(table, "walk", lambda folder, skipped: walked.append(folder) or walk(folder, skipped))
    corpus = read_corpus(roots, words=("yes", "up"))
    assert walked == [str(first / "up"), str(first / "yes"), str(second / "up")]
    assert names(corpus) == names(read_corpus(roots).of_words(("yes", "up")))
    assert corpus.clips.paths == [str(clip.path) for clip in corpus.clips]
    both = " [+] ".join(map(str, roots))
    with pytest.raises(HarkenError, match=f"^{both} contains no clips of go: its words are no, up, yes$"):
        read_corpus(roots, words=("yes", "go"))


def test_all_audio_formats_are_found_and_nothing_else(tmp_path):
    put(tmp_path, "yes/a.wav", "yes/b.flac", "yes/c.ogg", "yes/d.mp3", "yes/E.WAV", "yes/._a.wav", ".git/a.wav")
    put(tmp_path, "_background_noise_/hum.wav", "_background_noise_/rain/drops.flac", "loose.wav", frequency=900)
    (tmp_path / "yes" / "README.md").write_text("read me")
    (tmp_path / "yes" / "f.opus").write_bytes(b"whatever is in it")
    corpus = read_corpus([tmp_path])
    assert [clip.path.name for clip in corpus.clips] == ["E.WAV", "a.wav", "b.flac", "c.ogg", "d.mp3", "f.opus"]
    assert corpus.words == ("yes",)
    assert [path.name for path in corpus.noise] == ["hum.wav", "drops.flac"]


def test_the_classes_of_a_test_archive_are_treated_like_words(tmp_path):
    put(tmp_path, "_unknown_/a_nohash_0.wav", "_silence_/b.wav", "yes/a_nohash_0.wav")
    corpus = read_corpus([tmp_path])
    assert corpus.words == ("_silence_", "_unknown_", "yes")
    assert len(corpus.clips) == 3
    assert corpus.noise == ()


@pytest.mark.parametrize("path", ["./yes/a.wav", "yes\\a.wav", " yes/a.wav ", "{root}/yes/a.wav"])
def test_speakers_csv_accepts_different_forms_of_paths(tmp_path, path):
    put(tmp_path, "yes/a.wav")
    (tmp_path / "speakers.csv").write_text(f"path,speaker\n{path.format(root=tmp_path)}, ann \n")
    assert [clip.speaker for clip in read_corpus([tmp_path]).clips] == ["ann"]


def test_speakers_csv_without_existing_clips_is_refused(tmp_path):
    put(tmp_path, "yes/a.wav")
    (tmp_path / "speakers.csv").write_text("path,speaker\nyes/a,ann\n")
    with pytest.raises(
        HarkenError, match=r"lists only clips that do not exist \(yes/a\): write paths as word/file.wav"
    ):
        read_corpus([tmp_path])


def test_the_speaker_comes_from_name_list_or_folder(tmp_path):
    put(
        tmp_path,
        "yes/00000a1b_nohash_0.wav",
        "yes/take1.wav",
        "yes/anna/take1.wav",
        "yes/anna/monday/take2.wav",
        "yes/bob/take1.wav",
        "yes/carl/00000a1b_nohash_1.wav",
    )
    (tmp_path / "speakers.csv").write_text("path,speaker\nyes/bob/take1.wav,Robert\nyes/00000a1b_nohash_0.wav,nobody\n")
    speakers = {clip.path.relative_to(tmp_path).as_posix(): clip.speaker for clip in read_corpus([tmp_path]).clips}
    assert speakers == {
        "yes/00000a1b_nohash_0.wav": "00000a1b",
        "yes/take1.wav": "",
        "yes/anna/take1.wav": "anna",
        "yes/anna/monday/take2.wav": "anna",
        "yes/bob/take1.wav": "Robert",
        "yes/carl/00000a1b_nohash_1.wav": "00000a1b",
    }


def test_speakers_csv_written_by_a_spreadsheet(tmp_path):
    put(tmp_path, "ja/eins.wav", "ja/zwei.wav", "ja/drei.wav")
    (tmp_path / "speakers.csv").write_bytes(
        '\ufeffage,speaker,path\r\n30,Jürgen,ja/eins.wav\r\n40,"Li, Wei",ja/zwei.wav\r\n50\r\n'.encode()
    )
    assert {clip.path.stem: clip.speaker for clip in read_corpus([tmp_path]).clips} == {
        "eins": "Jürgen",
        "zwei": "Li, Wei",
        "drei": "",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"yes/a.wav,anna\n", "has no header with the columns path,speaker"), (b"", "has no header"),
     ("path,speaker\nyes/a.wav,Jürgen\n".encode("latin-1"), "is not comma-separated UTF-8 text"),
         (b"path,speaker\nyes/a.wav," + b"x" * 200_000, "is not comma-separated UTF-8 text")],
)  # fmt: skip
def test_unreadable_speakers_csv_is_refused(tmp_path, content, message):
    put(tmp_path, "yes/a.wav")
    (tmp_path / "speakers.csv").write_bytes(content)
    with pytest.raises(HarkenError, match=f"^{tmp_path / 'speakers.csv'} {message}"):
        read_corpus([tmp_path])


def test_a_speaker_is_the_same_in_all_folders(tmp_path):
    first = put(tmp_path / "1", "yes/00000a1b_nohash_0.wav")
    second = put(tmp_path / "2", "yes/00000a1b_nohash_1.ogg", "no/00000a1b_nohash_0.ogg", frequency=900)
    corpus = read_corpus([first, second])
    assert {clip.speaker for clip in corpus.clips} == {"00000a1b"}
    assert len(corpus.clips) == 3


def test_a_clip_in_two_folders_counts_once_and_is_reported(tmp_path):
    first = put(tmp_path / "1", "yes/00000a1b_nohash_0.flac", "yes/00000a1b_nohash_1.flac")
    second = put(tmp_path / "2", "yes/00000a1b_nohash_0.ogg", "yes/00000c2d_nohash_0.ogg", frequency=900)
    corpus = read_corpus([first, second])
    assert names(corpus) == ["yes/00000a1b_nohash_0", "yes/00000a1b_nohash_1", "yes/00000c2d_nohash_0"]
    ((repeat, original),) = corpus.duplicates
    assert repeat.path == second / "yes/00000a1b_nohash_0.ogg"
    assert original.path == first / "yes/00000a1b_nohash_0.flac"


def test_takes_of_the_same_name_in_two_folders_both_count(tmp_path):
    """`harken record` calls every first take me_nohash_0. Only Speech Commands' names are those of one recording."""
    first = put(tmp_path / "1", "yes/me_nohash_0.wav", "yes/1_nohash_0.wav")
    second = put(tmp_path / "2", "yes/me_nohash_0.wav", "yes/1_nohash_0.wav", frequency=900)
    corpus = read_corpus([first, second])
    assert len(corpus.clips) == 4
    assert not corpus.duplicates


def test_a_folder_given_twice_counts_once(tiny_corpus):
    once, twice = read_corpus([tiny_corpus]), read_corpus([tiny_corpus, tiny_corpus])
    assert twice.clips == once.clips
    assert len(twice.duplicates) == len(once.clips)


def test_same_content_counts_once_for_one_word_but_not_for_two(tmp_path):
    put(tmp_path, "yes/a.wav", "yes/b.wav")
    shutil.copy(tmp_path / "yes/a.wav", tmp_path / "yes/copy.wav")
    (tmp_path / "no").mkdir()
    shutil.copy(tmp_path / "yes/a.wav", tmp_path / "no/a.wav")
    corpus = read_corpus([tmp_path])
    assert names(corpus) == [
        "no/a",
        "yes/a",
        "yes/b",
    ]  # a problem that the page of the corpus shows
    assert [(repeat.name, original.name) for repeat, original in corpus.duplicates] == [("yes/copy", "yes/a")]


def test_equal_names_in_two_folders_are_different_clips(tmp_path):
    first = put(tmp_path / "anna", "yes/take1.wav")
    second = put(tmp_path / "bob", "yes/take1.wav", frequency=900)
    corpus = read_corpus([first, second])
    assert names(corpus) == ["yes/take1", "yes/take1"]
    assert corpus.duplicates == ()


@pytest.fixture
def opened(monkeypatch):
    """Return a list that receives the names of files whose content is compared."""
    names = []

    def noting(paths):
        paths = list(paths)
        names.extend(path.name for path in paths)
        return same_content(paths)

    monkeypatch.setattr(table, "same_content", noting)
    return names


def test_an_unchanged_folder_is_listed_without_opening_files(tmp_path, opened):
    put(tmp_path / "corpus", "yes/a.wav", "yes/b.wav", "no/0000000c_nohash_0.wav", "no/0000000c_nohash_0.flac")
    shutil.copy(tmp_path / "corpus/yes/a.wav", tmp_path / "corpus/yes/copy.wav")
    first = read_corpus([tmp_path / "corpus"], cache=tmp_path / "cache")
    assert set(opened) == {"a.wav", "b.wav", "copy.wav"}  # the files of `no` differ in size
    opened.clear()
    again = read_corpus([tmp_path / "corpus"], cache=tmp_path / "cache")
    assert opened == []
    assert again == first
    assert [(one.name, of.path.name) for one, of in again.duplicates] == [
        ("no/0000000c_nohash_0", "0000000c_nohash_0.flac"),
        ("yes/copy", "a.wav"),
    ]


@pytest.mark.parametrize("change", ["added", "removed", "renamed", "written to in place"])
def test_a_changed_folder_is_read_again(tmp_path, change):
    corpus, cache = put(tmp_path / "corpus", "yes/a.wav", "yes/b.wav", "yes/c.wav"), tmp_path / "cache"
    assert len(read_corpus([corpus], cache=cache).clips) == 3
    a, b = corpus / "yes/a.wav", corpus / "yes/b.wav"
    if change == "added":
        shutil.copy(a, corpus / "yes/d.wav")
    elif change == "removed":
        b.unlink()
    elif change == "renamed":
        b.rename(corpus / "yes/z.wav")
    else:
        b.write_bytes(a.read_bytes())
    again = read_corpus([corpus], cache=cache)
    expected = {
        "added": (["yes/a", "yes/b", "yes/c"], ["yes/d"]),
        "removed": (["yes/a", "yes/c"], []),
        "renamed": (["yes/a", "yes/c", "yes/z"], []),
        "written to in place": (["yes/a", "yes/c"], ["yes/b"]),
    }
    assert (names(again), [one.name for one, _ in again.duplicates]) == expected[change]
    assert again == read_corpus([corpus], cache=tmp_path / "another")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"fingerprint": 1}'])
def test_an_unreadable_note_is_written_again(tmp_path, opened, content):
    corpus, cache = put(tmp_path / "corpus", "yes/a.wav", "yes/b.wav"), tmp_path / "cache"
    read_corpus([corpus], cache=cache)
    (note,) = cache.iterdir()
    whole = note.read_text()
    note.write_text(content)
    assert names(read_corpus([corpus], cache=cache)) == ["yes/a", "yes/b"]
    assert note.read_text() == whole


def test_an_unwritable_cache_is_not_needed(tmp_path, tiny_corpus):
    (tmp_path / "file").touch()
    assert len(read_corpus([tiny_corpus], cache=tmp_path / "file" / "cache").clips) == 120


def test_clips_are_a_sequence_created_on_access(tiny_corpus, monkeypatch):
    clips = read_corpus([tiny_corpus]).clips
    with monkeypatch.context() as patch:
        patch.delattr(table, "Clip")
        assert len(clips) == 120
        assert clips.words == sorted(TEN_WORDS * 10 + OTHER_WORDS * 10)
        some = clips.of_words(("up", "go", "there is none"))
        assert (len(some), some.words) == (20, ["up"] * 10 + ["go"] * 10)
        with pytest.raises(NameError):
            clips[0]
    made = tuple(clips)
    assert clips == made == clips[:]
    assert clips[-1] == made[-1]
    assert clips[3:5] == made[3:5]
    assert some == [clip for word in ("up", "go") for clip in made if clip.word == word]
    assert clips != some
    assert hash(clips) == hash(read_corpus([tiny_corpus]).clips)


def test_the_search_for_duplicates_skips_unreadable_files(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(bytes(100))
    probe = table._probe

    def closed(path):
        if path.name == "b":
            raise PermissionError(13, "Permission denied")
        return probe(path)

    monkeypatch.setattr(table, "_probe", closed)
    ((_, paths),) = same_content(sorted(tmp_path.iterdir()))
    assert [path.name for path in paths] == ["a", "c"]


def test_same_content_distinguishes_files_that_differ_in_one_byte(tmp_path):
    content = np.random.default_rng(1).bytes(50_000)
    for name, change in (("a", None), ("b", None), ("first", 0), ("middle", 25_000), ("last", 49_999)):
        changed = bytearray(content)
        if change is not None:
            changed[change] ^= 1
        (tmp_path / name).write_bytes(changed)
    (tmp_path / "short").write_bytes(content[:-1])
    ((digest, paths),) = same_content(sorted(tmp_path.iterdir()))
    assert [path.name for path in paths] == ["a", "b"]
    assert len(digest) == 64


@pytest.mark.parametrize(
    ("folder", "message"),
    [("missing", "does not exist: give a folder with one folder for each word"), ("file.wav", "is a file: give a folder"),
     ("empty", "contains no clips: a corpus has one folder for each word"),
     ("loose", "contains clips, but no folders of words: give the folder that contains loose, or move")],
)  # fmt: skip
def test_other_folders_are_refused(tmp_path, tiny_corpus, folder, message):
    put(tmp_path, "file.wav", "loose/clip.wav", "loose/_background_noise_/hum.wav")
    (tmp_path / "empty").mkdir()
    with pytest.raises(HarkenError, match=f"^{tmp_path / folder} {message}"):
        read_corpus([tiny_corpus, tmp_path / folder])


def test_missing_folders_are_refused():
    with pytest.raises(HarkenError, match="--data DIR"):
        read_corpus([])


def test_a_single_folder_in_place_of_a_list_is_refused(tiny_corpus):
    for folder in (tiny_corpus, str(tiny_corpus)):
        with pytest.raises(HarkenError, match=r"^folders is a single folder: pass a list of folders$"):
            read_corpus(folder)


def test_audio_files_of_a_file_a_folder_and_a_missing_path(tmp_path):
    put(tmp_path, "b.wav", "a/z.flac", "a/.hidden/x.wav", "a/b/c.mp3")
    assert audio_files(tmp_path) == [tmp_path / "a/b/c.mp3", tmp_path / "a/z.flac", tmp_path / "b.wav"]
    assert audio_files(str(tmp_path / "b.wav")) == [tmp_path / "b.wav"]
    with pytest.raises(HarkenError, match="missing does not exist"):
        audio_files(tmp_path / "missing")


@pytest.mark.skipif(os.name == "nt", reason="Windows reports other errors")
def test_a_path_that_cannot_be_looked_up_is_refused(tmp_path):
    path = tmp_path / ("x" * 300)
    for read in (audio_files, lambda path: read_corpus([path])):
        with pytest.raises(HarkenError, match=f"^{path} cannot be opened: File name too long; check the path"):
            read(path)


def test_the_name_of_a_clip_is_the_same_in_any_encoding(tmp_path):
    assert Clip(tmp_path / "x/yes/a_nohash_0.flac", "yes", "a").name == "yes/a_nohash_0"
    assert Clip(tmp_path / "a_nohash_0.ogg", "yes", "a").name == "yes/a_nohash_0"


def test_the_real_folders_can_be_read_together(speech_commands, speech_commands_more):
    corpus = read_corpus([speech_commands, speech_commands_more])
    assert len(corpus.clips) == 25_740
    assert corpus.duplicates == ()
    assert len(corpus.noise) == 6
    assert set(TEN_WORDS) < set(corpus.words)
    assert all(len(clip.speaker) == 8 for clip in corpus.clips)
