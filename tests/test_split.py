from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from conftest import OTHER_WORDS, SPEAKERS, TEN_WORDS
from harken.corpus import split
from harken.corpus.table import Clip, Corpus, read_corpus
from harken.errors import HarkenError

# Reckoned by hand from the published rule: SHA-1 of the speaker, its last 27 bits as a percentage of 2**27 - 1.
KNOWN = {
    "00000000": "validation",  # 9.556 %
    "00000001": "train",  # 50.969 %
    "00000002": "test",  # 16.414 %
    "0000000f": "validation",  # 0.505 %
    "0000002d": "test",  # 10.299 %
    "00000035": "validation",  # 9.967 %
    "0000003b": "train",  # 99.758 %
    "0000003f": "test",  # 19.977 %
}


def clips_of(counts, word="yes"):
    """Return the given number of clips for each speaker."""
    return [
        Clip(Path(f"{word}/{speaker or 'x'}_{take}.wav"), word, speaker)
        for speaker, count in counts.items()
        for take in range(count)
    ]


def sides_of_speakers(clips, sides):
    found = defaultdict(set)
    for clip, side in zip(clips, sides, strict=True):
        found[clip.speaker].add(side)
    return found


@pytest.mark.parametrize(("speaker", "side"), KNOWN.items())
@pytest.mark.parametrize("take", ["0", "7", "12_nohash_3"])
def test_the_official_rule_gives_the_published_sides(speaker, side, take):
    assert split.official_side(f"{speaker}_nohash_{take}") == side


def test_percentages_set_the_sizes_of_the_sides():
    stem = "00000035_nohash_0"  # 9.967 %
    assert split.official_side(stem, 9.96, 10) == "test"
    assert split.official_side(stem, 9.97, 10) == "validation"
    assert split.official_side(stem, 0, 9.96) == "train"
    assert split.official_side(stem, 0, 0) == "train"
    assert split.official_side("0000003b_nohash_0", 100, 0) == "validation"  # 99.758 %


def test_without_nohash_the_whole_file_name_is_hashed():
    # SHA-1 of "take5.wav" and of "take3.wav": 11.572 % and 27.778 %. Of "take5" alone it would be 8.823 %.
    assert split.official_side("take5") == "test"
    assert split.official_side("take3") == "train"


def test_the_official_split_is_by_speaker(tiny_corpus):
    corpus = read_corpus([tiny_corpus])
    sides = split.official(corpus)
    assert Counter(sides) == {"train": 6 * 12, "validation": 2 * 12, "test": 2 * 12}
    found = sides_of_speakers(corpus.clips, sides)
    assert all(len(of_one) == 1 for of_one in found.values())
    assert {speaker for speaker, side in found.items() if side == {"validation"}} == {"00000000", "00000007"}
    assert set(split.official(corpus, validation_percent=0, test_percent=0)) == {"train"}


def test_no_speaker_is_on_two_sides_of_the_official_split_in_the_long_run():
    speakers = [f"{number * 2_654_435_761 % 2**32:08x}" for number in range(4_000)]
    clips = tuple(Clip(Path(f"{word}/{s}_nohash_{take}.wav"), word, s)
                  for s in speakers for word, take in (("yes", 0), ("no", 1)))  # fmt: skip
    sides = split.official(Corpus((), clips))
    assert all(len(of_one) == 1 for of_one in sides_of_speakers(clips, sides).values())
    counts = Counter(sides)
    assert counts["validation"] / len(clips) == pytest.approx(0.1, abs=0.02)
    assert counts["test"] / len(clips) == pytest.approx(0.1, abs=0.02)


def test_lists_take_precedence_over_the_hash(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    (first / "validation_list.txt").write_text("yes/00000001_nohash_0.wav\nturn on/00000002_nohash_0.wav\n")
    (second / "testing_list.txt").write_text("yes/00000000_nohash_1.wav\r\n")
    expected = {
        ("yes", "00000001_nohash_0.flac"): "validation",  # the hash says train; a list names files as .wav
        ("yes", "00000001_nohash_1.flac"): "train",
        ("no", "00000001_nohash_0.flac"): "train",
        ("turn on", "00000002_nohash_0.wav"): "validation",  # the hash says test
        ("yes", "00000000_nohash_0.wav"): "validation",
        ("yes", "00000000_nohash_1.wav"): "test",  # the hash says validation
    }
    clips = tuple(Clip(first / word / name, word, name[:8]) for word, name in expected)
    assert split.official(Corpus((first, second), clips)) == list(expected.values())
    (second / "testing_list.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(HarkenError, match=f"{second / 'testing_list.txt'} is not UTF-8 text"):
        split.official(Corpus((first, second), clips))


def test_a_list_names_clips_in_folders_of_speakers_by_their_path(tmp_path):
    clips = tuple(
        Clip(tmp_path / "lights" / speaker / f"{take}.flac", "lights", speaker)
        for speaker in ("anna", "ben")
        for take in ("1", "2")
    )
    (tmp_path / "splits.csv").write_text(
        "path,split\nlights/anna/1.flac,test\nlights/anna/2.flac,validation\nlights/ben/1.flac,train\n"
    )
    assert split.listed_sides(Corpus((tmp_path,), clips), clips) == ["test", "validation", "train", None]
    assert split.official(Corpus((tmp_path,), clips))[:3] == ["test", "validation", "train"]


def test_a_list_does_not_change_the_sides_of_another_corpus_with_lists(tmp_path):
    names = ("clip-000000", "clip-000001")
    clips = tuple(
        Clip(tmp_path / corpus / "yes" / f"{name}.wav", "yes", "") for corpus in ("a", "b", "c") for name in names
    )
    for corpus, side in (("a", "test"), ("b", "train")):
        (tmp_path / corpus).mkdir()
        (tmp_path / corpus / "splits.csv").write_text(f"path,split\nyes/clip-000000.wav,{side}\n")
    (tmp_path / "b" / "validation_list.txt").write_text("yes/clip-000001.wav\n")
    for order in ("abc", "bac"):
        sides = split.listed_sides(Corpus(tuple(tmp_path / corpus for corpus in order), clips), clips)
        assert sides[:4] == ["test", None, "train", "validation"]
        assert sides[5] == "validation"  # "c" has no lists of its own


def test_lists_of_the_current_folder_are_found(tmp_path, monkeypatch):
    (tmp_path / "splits.csv").write_text("path,split\nyes/anna/1.wav,test\n")
    monkeypatch.chdir(tmp_path)
    clip = Clip(Path("yes/anna/1.wav"), "yes", "anna")
    assert split.listed_sides(Corpus((Path(),), (clip,)), [clip]) == ["test"]


def test_the_bytes_of_a_name_are_hashed_also_if_it_is_not_utf8():
    for name, percent in ((b"caf\xe9".decode(errors="surrogateescape"), 90.03), ("jürgen_nohash_0", 36.61)):
        assert split.official_side(name, percent, 0) == "train"
        assert split.official_side(name, percent + 0.01, 0) == "validation"


def test_the_official_split_knows_speakers_from_folders_too():
    clips = tuple(
        Clip(Path(f"yes/{number}/{take}.wav"), "yes", str(number)) for number in range(300) for take in range(3)
    )
    sides = split.official(Corpus((), clips))
    assert all(len(of_one) == 1 for of_one in sides_of_speakers(clips, sides).values())
    assert set(sides) == {"train", "validation", "test"}


def test_the_real_corpus_is_split_as_its_readme_says(speech_commands, speech_commands_more):
    # Whoever made the folders left the test side of the official split out: not one clip may fall there.
    corpus = read_corpus([speech_commands, speech_commands_more])
    sides = split.official(corpus)
    counts = Counter((clip.word in TEN_WORDS, side) for clip, side in zip(corpus.clips, sides, strict=True))
    assert counts == {
        (True, "train"): 14_284,
        (True, "validation"): 1_900,
        (False, "train"): 8_280,
        (False, "validation"): 1_276,
    }
    assert all(len(of_one) == 1 for of_one in sides_of_speakers(corpus.clips, sides).values())


def test_by_speaker_keeps_speakers_together_and_fills_the_sides():
    rng = np.random.default_rng(2)
    clips = clips_of({f"s{number}": int(rng.integers(1, 20)) for number in range(60)})
    clips += clips_of({f"s{number}": 5 for number in range(0, 60, 2)}, "no")
    sides = split.by_speaker(clips, validation=0.15, test=0.1, seed=4)
    assert all(len(of_one) == 1 for of_one in sides_of_speakers(clips, sides).values())
    counts = Counter(sides)
    assert counts["validation"] / len(clips) == pytest.approx(0.15, abs=0.02)
    assert counts["test"] / len(clips) == pytest.approx(0.1, abs=0.02)
    assert split.by_speaker(clips, validation=0.15, test=0.1, seed=4) == sides
    assert split.by_speaker(clips, validation=0.15, test=0.1, seed=5) != sides


@pytest.mark.parametrize("speakers", [2, 3, 4, 6, 20])
def test_each_wanted_side_gets_a_speaker_if_there_are_enough(speakers):
    clips = clips_of({f"s{number}": 10 for number in range(speakers)})
    sides = split.by_speaker(clips, validation=0.15, test=0, seed=7)
    assert all(len(of_one) == 1 for of_one in sides_of_speakers(clips, sides).values())
    assert set(sides) == {"train", "validation"}


def test_three_speakers_fill_three_sides_even_if_one_has_few_clips():
    clips = clips_of({"loud": 40, "quiet": 3, "middle": 20})
    sides = split.by_speaker(clips, validation=0.05, test=0.05, seed=7)
    found = {speaker: next(iter(of_one)) for speaker, of_one in sides_of_speakers(clips, sides).items()}
    assert found["loud"] == "train"  # the smallest are given away
    assert sorted(found.values()) == ["test", "train", "validation"]


@pytest.mark.parametrize("speaker", ["anna", ""])
def test_clips_are_split_word_by_word_if_one_or_no_speaker_is_known(speaker):
    clips = [clip for word in ("yes", "no") for clip in clips_of({speaker: 20}, word)] + clips_of({speaker: 3}, "up")
    sides = split.by_speaker(clips, validation=0.2, test=0.1, seed=3)
    counts = Counter((clip.word, side) for clip, side in zip(clips, sides, strict=True))
    for word in ("yes", "no"):
        assert [counts[word, side] for side in ("train", "validation", "test")] == [14, 4, 2]
    assert [counts["up", side] for side in ("train", "validation", "test")] == [1, 1, 1]


def test_the_only_clip_of_a_word_is_for_training():
    assert split.by_speaker(clips_of({"anna": 1}), validation=0.15, test=0.15, seed=1) == ["train"]


def test_known_speakers_stay_together_beside_unknown_speakers():
    clips = clips_of({"anna": 20, "": 40, "bob": 20, "carl": 20})
    sides = split.by_speaker(clips, validation=0.25, test=0, seed=3)
    found = sides_of_speakers(clips, sides)
    assert all(len(found[speaker]) == 1 for speaker in ("anna", "bob", "carl"))
    assert sum(side == "validation" for clip, side in zip(clips, sides, strict=True) if not clip.speaker) == 10


def test_the_tutorials_split_equals_scikit_learns():
    from sklearn.model_selection import train_test_split

    # As many clips of each word as Speech Commands v0.01 has of exactly one second: 21,312 together.
    counts = [2_130, 2_131, 2_132, 2_133, 2_134, 2_128, 2_129, 2_131, 2_132, 2_132]
    labels = np.repeat(np.arange(10), counts)
    waves = np.arange(21_312)  # stand for the clips
    assert len(labels) == len(waves)

    sides = np.array(split.tutorial(labels.tolist(), seed=7))

    train, test, _, _ = train_test_split(waves, labels, test_size=0.2, random_state=7, shuffle=True, stratify=labels)
    train, validation = train_test_split(train, test_size=0.2, random_state=7)
    assert [len(train), len(test), len(validation)] == [13_639, 4_263, 3_410]
    for side, members in (("train", train), ("test", test), ("validation", validation)):
        np.testing.assert_array_equal(np.flatnonzero(sides == side), np.sort(members))
    assert set(np.bincount(labels[sides == "test"])) == {426, 427}


@pytest.mark.parametrize("labels", [[], [0], [0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 2, 2]])
def test_too_few_clips_for_the_tutorials_split_are_refused(labels):
    with pytest.raises(HarkenError, match="clips cannot be split: "):
        split.tutorial(labels, seed=7)


def test_the_tiny_corpus_has_speakers_on_every_side():
    assert {split.official_side(f"{speaker}_nohash_0") for speaker in SPEAKERS} == {"train", "validation", "test"}
    assert len(TEN_WORDS + OTHER_WORDS) == 12
