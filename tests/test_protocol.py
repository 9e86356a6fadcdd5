import shutil
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.model_selection import train_test_split

from conftest import OTHER_WORDS, TEN_WORDS, tone
from harken.corpus.pack import PackedClips
from harken.corpus.recordings import Recordings
from harken.corpus.split import official_side
from harken.corpus.table import Clip
from harken.errors import HarkenError
from harken.evaluation.clips.examples import gather_examples
from harken.labels import COMMANDS, SILENCE, UNKNOWN
from harken.runtime.modelfile import Card
from harken.tasks import protocol
from harken.tasks.protocol import Material, Task, make_task, side_waveforms
from harken.tasks.recipe import RECIPES
from small_corpora import PEOPLE, RATE, own_names, recipe, write_corpus, write_noise


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write ten recordings of one second, some of which are held out."""
    return write_noise(tmp_path_factory.mktemp("noise"), *(f"noise{number}" for number in range(10)))


def clips_on(task: Task, side: str) -> list[Clip]:
    return [task.clips[row] for row in task.rows(side)]


def words_on(task: Task, side: str) -> Counter[str]:
    return Counter(clip.word for clip in clips_on(task, side))


def speakers_on(task: Task, side: str) -> set[str]:
    return {clip.speaker for clip in clips_on(task, side)}


def assert_no_speaker_on_two_sides(task: Task) -> None:
    sides = [speakers_on(task, side) for side in ("train", "validation", "test")]
    assert sum(map(len, sides)) == len(set().union(*sides))


# v12 and v35: the official split.


@pytest.fixture(scope="module")
def v12(tiny_corpus: Path) -> Task:
    return make_task(recipe("v12"), Material(data=(tiny_corpus,)))


def test_v12_has_ten_words_unknown_and_silence(v12: Task) -> None:
    assert v12.labels == (*COMMANDS, UNKNOWN, SILENCE)
    assert v12.words == 10
    for clip, number in zip(v12.clips, v12.classes, strict=True):
        assert v12.labels[number] == (clip.word if clip.word in COMMANDS else UNKNOWN)


def test_v12_sides_are_the_official_ones(v12: Task) -> None:
    for clip, side in zip(v12.clips, v12.sides, strict=True):
        assert side == official_side(clip.path.stem)
    assert words_on(v12, "train") == dict.fromkeys((*TEN_WORDS, *OTHER_WORDS), 6)
    assert_no_speaker_on_two_sides(v12)


def test_v12_validates_a_tenth_of_unknown_and_of_silence(v12: Task) -> None:
    validation = words_on(v12, "validation")
    assert sum(validation[word] for word in COMMANDS) == 20
    assert sum(validation[word] for word in OTHER_WORDS) == 2
    assert len(v12.silence) == 2


def test_v12_splits_its_noise(v12: Task) -> None:
    assert v12.noise is not None
    assert v12.held_out_noise is not None
    assert (v12.noise.seconds(), v12.held_out_noise.seconds()) == (32, 8)
    assert not np.isin(v12.noise.samples[:9], v12.held_out_noise.samples[:9]).all()


def test_v12_chooses_the_same_unknown_and_silence_again(v12: Task, tiny_corpus: Path) -> None:
    again = make_task(recipe("v12"), Material(data=(tiny_corpus,)))
    assert again.silence == v12.silence
    assert clips_on(again, "validation") == clips_on(v12, "validation")
    other = make_task(recipe("v12", "seed=8"), Material(data=(tiny_corpus,)))
    assert other.silence != v12.silence


def test_v12_held_out_words_are_not_used_for_training(tiny_corpus: Path) -> None:
    task = make_task(recipe("v12", "held_out_words=bed"), Material(data=(tiny_corpus,)))
    assert words_on(task, "train")["bed"] == 0
    assert words_on(task, "train")["cat"] == 6


def test_v12_validates_with_the_clips_of_the_fixed_list(tmp_path: Path, noise: Path) -> None:
    listed = "dog/0a7c2a8d_nohash_0"  # on the list, though its speaker is on the train side
    assert official_side(Path(listed).name) == "train"
    names = [f"{word}/{speaker}_nohash_0" for word in ("yes", "dog") for speaker in ("00000000", "00000001")]
    data = write_corpus(tmp_path, [*names, listed])
    task = make_task(recipe("v12", "words=yes"), Material(data=(data,), noise=(noise,)), evaluation_only=True)
    assert words_on(task, "validation") == {"yes": 1, "dog": 1}
    assert listed in {clip.name for clip in clips_on(task, "validation")}
    assert words_on(task, "train") == {"yes": 1}  # `dog` is a word that v12 holds out


def test_lists_in_the_folder_take_precedence_over_the_hash(tmp_path: Path, noise: Path) -> None:
    speakers = ("00000001", "00000003", "00000004")
    names = [f"{word}/{speaker}_nohash_0" for word in ("yes", "bed") for speaker in speakers]
    data = write_corpus(tmp_path, names)
    lines = [f"{word}/00000001_nohash_0.wav\n" for word in ("yes", "bed")]
    (data / "validation_list.txt").write_text("".join(lines))
    (data / "testing_list.txt").write_text("yes/00000003_nohash_0.wav\nbed/00000003_nohash_0.wav\n")
    task = make_task(recipe("v12", "words=yes"), Material(data=(data,), noise=(noise,)))
    assert {clip.name for clip in clips_on(task, "validation")} == {"yes/00000001_nohash_0", "bed/00000001_nohash_0"}
    assert {clip.name for clip in clips_on(task, "test")} == {"yes/00000003_nohash_0"}
    assert {clip.name for clip in clips_on(task, "train")} == {"yes/00000004_nohash_0", "bed/00000004_nohash_0"}


def test_v35_makes_every_word_a_class(tiny_corpus: Path) -> None:
    task = make_task(recipe("v35"), Material(data=(tiny_corpus,)))
    assert task.labels == tuple(sorted((*TEN_WORDS, *OTHER_WORDS)))
    assert len(task.clips) == 120
    assert [task.labels[number] for number in task.classes] == [clip.word for clip in task.clips]
    assert [len(task.rows(side)) for side in ("train", "validation", "test")] == [72, 24, 24]
    assert task.silence == ()
    assert_no_speaker_on_two_sides(task)


def test_train_only_leaves_out_speakers_of_other_sides(tiny_corpus: Path, tmp_path: Path) -> None:
    names = ["yes/robot_nohash_0", "bed/robot_nohash_0", "yes/00000000_nohash_1", "yes/00000001_nohash_1"]
    assert [official_side(name) for name in ("00000000_nohash_1", "00000001_nohash_1")] == ["validation", "train"]
    extra = write_corpus(tmp_path, names)
    material = Material(data=(tiny_corpus,), train_only=(extra,))
    task = make_task(recipe("v12"), material)
    added = {
        clip.name: side for clip, side in zip(task.clips, task.sides, strict=True) if tmp_path in clip.path.parents
    }
    assert added == dict.fromkeys(("bed/robot_nohash_0", "yes/00000001_nohash_1", "yes/robot_nohash_0"), "train")
    without_unknown = make_task(recipe("v12", "unknown_share=0"), material)
    assert words_on(without_unknown, "train")["bed"] == 0
    assert without_unknown.labels == (*COMMANDS, SILENCE)


def test_train_only_leaves_out_speakers_whose_other_words_are_held_out(tiny_corpus: Path, tmp_path: Path) -> None:
    # A speaker of the validation side, of whom the corpus has only another word. v12 does not validate with that clip.
    data = Path(shutil.copytree(tiny_corpus, tmp_path / "data"))
    speakers = ("0000000f", "00000035")
    assert {official_side(speaker + "_nohash_0") for speaker in speakers} == {"validation"}
    write_corpus(data, [f"bed/{speaker}_nohash_0" for speaker in speakers])
    extra = write_corpus(tmp_path / "extra", [f"yes/{speaker}_nohash_1" for speaker in (*speakers, "00000001")])
    task = make_task(recipe("v12"), Material(data=(data,), train_only=(extra,)))
    assert not speakers_on(task, "train") & set(speakers)
    assert [clip.name for clip in task.clips if extra in clip.path.parents] == ["yes/00000001_nohash_1"]


def test_train_only_leaves_out_copies_of_held_out_clips(tmp_path: Path, noise: Path) -> None:
    names = [f"{word}/take{take}" for word in ("lamp", "door") for take in range(20)]
    data = write_corpus(tmp_path / "data", names)
    extra = tmp_path / "extra"
    for number, name in enumerate(names):
        (extra / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / f"{name}.wav", extra / name.partition("/")[0] / f"copy{number}.wav")
    new = tone(999, 0.05, RATE)
    soundfile.write(extra / "lamp" / "new.wav", new, RATE)
    task = make_task(recipe("own"), Material(data=(data,), noise=(noise,), train_only=(extra,)))
    held_out = {clip.path.read_bytes() for clip in clips_on(task, "validation")}
    assert len(held_out) == 6
    assert not held_out & {clip.path.read_bytes() for clip in clips_on(task, "train")}
    assert sum(extra in clip.path.parents for clip in clips_on(task, "train")) == 40 - 6 + 1


def test_v12_moves_no_clip_of_another_side_to_validation(tmp_path: Path, noise: Path) -> None:
    names = [f"{word}/{speaker}/take1" for word in ("yes", "bed", "cat") for speaker in PEOPLE * 5]
    data = write_corpus(tmp_path, {name.replace("/take", f"{n // 12}/take") for n, name in enumerate(names)})
    task = make_task(recipe("v12", "words=yes"), Material(data=(data,), noise=(noise,)))
    for clip, side in zip(task.clips, task.sides, strict=True):
        assert side == official_side(f"{clip.speaker}_nohash_1")
    counts = words_on(task, "validation")
    assert counts["bed"] + counts["cat"] == max(1, round(0.1 * counts["yes"]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["words=yes,bed"], "nothing to use for _unknown_: add clips of other words, or set unknown_share=0"),
        (["words=yes,zebra"], "contains no clips of zebra"),
        (["words=yes", "unknown_share=0"], "no noise to use for _silence_: add recordings with --noise DIR"),
    ],
)
def test_a_class_without_material_is_refused(tmp_path: Path, noise: Path, settings: list[str], message: str) -> None:
    names = [f"{word}/{speaker}_nohash_0" for word in ("yes", "bed") for speaker in ("00000000", "00000001")]
    data = write_corpus(tmp_path, names)
    given = () if "unknown_share=0" in settings else (noise,)
    with pytest.raises(HarkenError) as refused:
        make_task(recipe("v12", *settings), Material(data=(data,), noise=given))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_side_or_word_without_clips_is_only_accepted_for_evaluation(tmp_path: Path) -> None:
    data = write_corpus(tmp_path, ["yes/00000001_nohash_0", "no/00000000_nohash_0"])
    with pytest.raises(HarkenError, match=r"no clips of no in .* are on the train side"):
        make_task(recipe("v35"), Material(data=(data,)))
    task = make_task(recipe("v35"), Material(data=(data,)), evaluation_only=True)
    assert task.labels == ("no", "yes")
    (data / "no" / "00000000_nohash_0.wav").unlink()
    with pytest.raises(HarkenError, match="are on the validation side: add more clips or speakers"):
        make_task(recipe("v35"), Material(data=(data,)))


def test_unreadable_clips_are_on_no_side(tmp_path: Path) -> None:
    names = [f"yes/{speaker}_nohash_{take}" for speaker in ("00000000", "00000001") for take in (0, 1)]
    data = write_corpus(tmp_path, names)
    (data / "yes" / "00000001_nohash_1.wav").write_bytes(b"no sound")
    write_corpus(tmp_path, ["zoo/00000001_nohash_2"])
    task = make_task(recipe("v35"), Material(data=(data,)))
    assert task.sides.tolist() == ["validation", "validation", "train", "", "train"]
    card = Card(task.labels, RATE, recipe("v35").samples, {}, {"recipe": asdict(recipe("v35"))})
    (reason,) = gather_examples(card, [data], "train").unreadable
    assert "00000001_nohash_1.wav" in reason


@pytest.mark.parametrize(("name", "advice"), [("own", "add --other DIR"), ("v35", "use --recipe own with --other DIR")])
def test_one_word_and_nothing_to_tell_it_from_is_refused(tmp_path: Path, name: str, advice: str) -> None:
    speakers = ("00000000", "00000001", "00000003", "00000004")
    data = write_corpus(tmp_path / "mine", [f"lamp/{speaker}_nohash_{take}" for speaker in speakers for take in (0, 1)])
    with pytest.raises(
        HarkenError, match=f"contains only the word lamp: the model would take every other word.*{advice}"
    ):
        make_task(recipe(name), Material(data=(data,)))
    other = write_corpus(tmp_path / "other", [f"{word}/{word}" for word in ("sofa", "desk", "wall", "door", "rug")])
    assert make_task(recipe("own"), Material(data=(data,), other=(other,))).labels == ("lamp", UNKNOWN, SILENCE)


def test_notes_on_all_folders_are_kept(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path / "mine", own_names(["lamp", "noise"], ["anna", "ben", "carl"]))
    other = write_corpus(tmp_path / "other", own_names(["sofa", "desk"], ["dora", "emil", "finn"]))
    (other / "sofa" / "1.m4a").write_bytes(b"x")
    quiet = write_noise(tmp_path / "quiet", *(f"q{number}" for number in range(10)))
    (quiet / "1.wma").write_bytes(b"x")
    notes = make_task(recipe("own"), Material(data=(data,), other=(other,), noise=(noise, quiet))).notes
    assert [note.partition(":")[0].partition(" is used")[0] for note in notes] == [
        str(data / "noise"),
        str(other / "sofa"),
        str(quiet),
    ]


# own: any folder.


def test_own_splits_by_speaker_over_both_corpora(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path / "mine", own_names(["lamp", "door"], PEOPLE))
    other = write_corpus(tmp_path / "other", own_names(["cup", "lamp"], [*PEOPLE, "stranger0", "stranger1"]))
    task = make_task(recipe("own"), Material(data=(data,), other=(other,), noise=(noise,)))
    assert task.labels == ("door", "lamp", UNKNOWN, SILENCE)
    assert {clip.word for clip in clips_on(task, "train")} == {"door", "lamp", "cup"}
    assert not [clip for clip in task.clips if clip.word == "lamp" and "other" in clip.path.parts]
    assert_no_speaker_on_two_sides(task)
    assert len(clips_on(task, "validation")) / len(task.clips) == pytest.approx(0.15, abs=0.06)
    unknown = [clip.word for clip, number in zip(task.clips, task.classes, strict=True) if number == 2]
    assert set(unknown) == {"cup"}
    spoken = [row for row in task.rows("validation") if task.classes[row] < task.words]
    assert len(task.silence) == max(1, round(0.1 * len(spoken)))


def test_own_limits_other_words_in_validation(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path / "mine", own_names(["lamp", "door"], PEOPLE))
    other_speakers = [f"other{number}" for number in range(60)]
    other = write_corpus(tmp_path / "other", own_names(["cup", "spoon", "fork"], other_speakers))
    task = make_task(recipe("own"), Material(data=(data,), other=(other,), noise=(noise,)))
    counts = words_on(task, "validation")
    assert counts["cup"] + counts["spoon"] + counts["fork"] == counts["lamp"] + counts["door"] > 0
    assert words_on(task, "train")["cup"] > 90
    again = make_task(recipe("own"), Material(data=(data,), other=(other,), noise=(noise,)))
    assert (task.sides == again.sides).all()


def test_own_takes_unknown_from_its_folder_too(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path / "mine", own_names(["lamp", "door", UNKNOWN], PEOPLE))
    other = write_corpus(tmp_path / "other", own_names(["cup"], PEOPLE))
    (data / "splits.csv").write_text(f"path,split\n{UNKNOWN}/person3/take0.wav,test\n")
    for given in ((), (other,)):
        task = make_task(recipe("own"), Material(data=(data,), other=given, noise=(noise,)))
        assert task.labels == ("door", "lamp", UNKNOWN, SILENCE)
        unknown = {clip.word for clip, number in zip(task.clips, task.classes, strict=True) if number == 2}
        assert unknown == ({UNKNOWN, "cup"} if given else {UNKNOWN})
        assert words_on(task, "train")[UNKNOWN] > 10
        assert words_on(task, "validation")[UNKNOWN] > 0
        assert [clip.name for clip in clips_on(task, "test")] == [f"{UNKNOWN}/take0"]
    without = make_task(recipe("own", "unknown_share=0"), Material(data=(data,), noise=(noise,)))
    assert without.labels == ("door", "lamp", SILENCE)


def test_joined_words_without_other_words_are_refused(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path / "mine", own_names(["lamp", "door"], PEOPLE))
    speech = write_noise(tmp_path / "speech", "1001-1-1")
    material = Material(data=(data,), noise=(noise,), speech=(speech,))
    with pytest.raises(HarkenError, match=r"contains no clips of other words to join .* or set chained_share=0"):
        make_task(recipe("own", "chained_share=0.3"), material)
    other = write_corpus(tmp_path / "other", own_names(["cup"], PEOPLE))
    assert make_task(recipe("own", "chained_share=0.3"), replace(material, other=(other,))).speech is not None


def test_own_splits_clips_if_there_is_one_speaker(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path, own_names(["lamp", "door"], ["me"], takes=20))
    task = make_task(recipe("own"), Material(data=(data,), noise=(noise,)))
    assert task.labels == ("door", "lamp", SILENCE)
    assert words_on(task, "validation") == {"door": 3, "lamp": 3}
    assert words_on(task, "train") == {"door": 17, "lamp": 17}


def test_own_splits_the_other_words_of_one_speaker_too(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path / "mine", own_names(["lamp", "door"], ["me"], takes=20))
    other = write_corpus(tmp_path / "other", own_names(["cup"], ["me"], takes=40))
    for seed in range(4):
        task = make_task(recipe("own", f"seed={seed}"), Material(data=(data,), other=(other,), noise=(noise,)))
        assert words_on(task, "train")["cup"] > 20
        assert words_on(task, "validation")["cup"] >= 3


def test_own_finds_the_clips_of_a_list_in_any_unicode_form(tmp_path: Path, noise: Path) -> None:
    name = unicodedata.normalize("NFD", "jürgen")
    data = write_corpus(
        tmp_path / "mine", [f"{word}/{name}{n}_nohash_0" for word in ("lamp", "door") for n in range(9)]
    )
    listed = [
        f"{word}/{unicodedata.normalize('NFC', name)}{n}_nohash_0.wav\n" for word in ("lamp", "door") for n in (0, 1)
    ]
    (data / "testing_list.txt").write_text("".join(listed), encoding="utf-8")
    task = make_task(recipe("own"), Material(data=(data,), noise=(noise,)))
    assert len(clips_on(task, "test")) == 4


def test_own_can_take_unknown_only_from_running_speech(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path / "mine", own_names(["lamp"], PEOPLE))
    speech = write_noise(tmp_path / "speech", "1001-1-1", "2412-1-1", "3170-1-1")
    material = Material(data=(data,), noise=(noise,), speech=(speech,))
    task = make_task(recipe("own"), material)
    assert task.labels == ("lamp", UNKNOWN, SILENCE)
    assert task.speech is not None
    assert task.speech.names == ("1001-1-1",)  # the others are for thresholds and measuring
    with pytest.raises(HarkenError, match="contains only the word lamp"):
        make_task(recipe("own", "unknown_share=0"), replace(material, speech=()))


def test_each_folder_of_speech_is_a_group_of_its_own(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path / "mine", own_names(["lamp"], PEOPLE))
    folders = [
        write_noise(tmp_path / "read", "1001-1-1", "1002-1-1", "3170-1-1"),
        write_noise(tmp_path / "talk", "1003-1-1"),
    ]
    measuring = write_noise(tmp_path / "measured", "3576-1-1")
    task = make_task(recipe("own"), Material(data=(data,), noise=(noise,), speech=(*folders, measuring)))
    assert task.speech is not None
    assert (task.speech.names, task.speech.groups) == (("1001-1-1", "1002-1-1", "1003-1-1"), (2, 1))


def test_recordings_that_are_all_kept_apart_are_named_as_such(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path / "mine", own_names(["lamp"], PEOPLE))
    measuring = write_noise(tmp_path / "measured", "3576-1-1")
    material = Material(data=(data,), noise=(noise,), speech=(measuring,))
    with pytest.raises(HarkenError, match=r"measured: all recordings are by speakers who are kept for thresholds or"):
        make_task(recipe("own"), material)
    (tmp_path / "empty").mkdir()
    with pytest.raises(HarkenError, match="empty contains no recording: give a folder of WAV"):
        make_task(recipe("own"), replace(material, speech=(tmp_path / "empty",)))
    (held_out,) = (name for name in ("noise0", "noise3") if official_side(f"{name}_nohash_", 20, 0) == "validation")
    few = replace(material, noise=(write_noise(tmp_path / "few", held_out),), speech=())
    with pytest.raises(
        HarkenError, match="no noise is left for training: of recordings under 30 seconds, a fifth is held"
    ):
        make_task(recipe("own", "unknown_share=0"), few)


def test_own_uses_the_given_words(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path, own_names(["lamp", "door", "cup"], PEOPLE, takes=1))
    task = make_task(recipe("own", "words=lamp,cup"), Material(data=(data,), noise=(noise,)))
    assert task.labels == ("lamp", "cup", SILENCE)
    assert {clip.word for clip in task.clips} == {"lamp", "cup"}


def test_own_generates_noise_if_none_is_given(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path / "mine", own_names(["lamp", "door"], PEOPLE))
    task = make_task(recipe("own"), Material(data=(data,)))
    assert task.synthetic_noise
    assert task.labels == ("door", "lamp", SILENCE)
    assert task.noise is not None
    assert task.held_out_noise is not None
    assert len(task.noise) == len(task.held_out_noise) == 60
    assert not np.isin(task.noise.samples[:9], task.held_out_noise.samples[:9]).all()
    assert {window.recording for window in task.silence} <= set(task.held_out_noise.names)
    assert not make_task(recipe("own"), Material(data=(data,), noise=(noise,))).synthetic_noise


@pytest.mark.parametrize(
    ("name", "settings", "given", "message"),
    [
        ("v12", [], "other", "only the recipe own uses --other"),
        ("tutorial", [], "train_only", "the recipe tutorial does not use --train-only"),
        ("tutorial", [], "speech", "the recipe tutorial does not use --speech"),
        ("tutorial", [], "noise", "this recipe does not use noise"),
        ("own", ["silence_share=0", "noise_probability=0"], "noise", "this recipe does not use noise"),
        ("own", ["unknown_share=0"], "other", "this recipe has no _unknown_; omit --other"),
        ("v35", [], "speech", "this recipe has no _unknown_; omit --speech"),
    ],
)
def test_unused_folders_are_refused(
    name: str, settings: list[str], given: str, message: str, tiny_corpus: Path, noise: Path
) -> None:
    with pytest.raises(HarkenError, match=message):
        make_task(recipe(name, *settings), Material(data=(tiny_corpus,), **{given: (noise,)}))


# tutorial.


def test_tutorial_keeps_exact_clips_and_splits_like_scikit_learn(tmp_path: Path) -> None:
    words = ("up", "down", "go")
    names = [f"{word}/take{take:02}" for word in words for take in range(20)]
    data = write_corpus(tmp_path, names)
    write_corpus(tmp_path, ["up/short", "go/short"], seconds=0.04)
    write_corpus(tmp_path, ["down/long"], seconds=0.06)
    task = make_task(recipe("tutorial", f"words={','.join(words)}"), Material(data=(data,)))
    assert task.labels == words
    assert [
        clip.name for clip in task.clips if clip.path.stem not in ("short", "long")
    ] == names  # in the order of words
    assert {clip.path.stem for clip, side in zip(task.clips, task.sides, strict=True) if not side} == {"short", "long"}
    classes = [words.index(name.partition("/")[0]) for name in names]
    rest, test = train_test_split(names, test_size=0.2, random_state=7, stratify=classes)
    train, validation = train_test_split(rest, test_size=0.2, random_state=7)
    for side, members in (("train", train), ("validation", validation), ("test", test)):
        assert {clip.name for clip in clips_on(task, side)} == set(members)
    assert (task.noise, task.held_out_noise, task.speech, task.silence) == (None, None, None, ())


def test_tutorial_without_exact_length_keeps_all_readable_clips(tmp_path: Path) -> None:
    data = write_corpus(tmp_path, [f"{word}/take{take}" for word in ("up", "go") for take in range(10)], seconds=0.04)
    asked = ["words=up,go"]
    with pytest.raises(
        HarkenError, match=r"0 clips of exactly 0\.05 s, and 20 of other lengths: .* --set exact_length=false"
    ):
        make_task(recipe("tutorial", *asked), Material(data=(data,)))
    task = make_task(recipe("tutorial", *asked, "exact_length=false"), Material(data=(data,)))
    assert [len(task.rows(side)) for side in ("train", "validation", "test")] == [12, 4, 4]


def test_tutorial_can_use_noise(tmp_path: Path, noise: Path) -> None:
    data = write_corpus(tmp_path, [f"{word}/take{take}" for word in ("up", "go") for take in range(10)])
    asked = recipe("tutorial", "words=up,go", "noise_probability=0.5")
    task = make_task(asked, Material(data=(data,), noise=(noise,)))
    assert task.noise is not None
    assert task.labels == ("up", "go")


# Waveforms of a side.


def test_side_waveforms_are_the_clips_and_then_the_silence(v12: Task) -> None:
    waveforms, labels = side_waveforms(v12, recipe("v12"), "validation")
    rows = v12.rows("validation")
    assert waveforms.shape == (len(rows) + 2, 200)
    assert waveforms.dtype == np.float32
    np.testing.assert_array_equal(waveforms[: len(rows)] * 32768, v12.packed.shards[0][rows])
    np.testing.assert_array_equal(waveforms[len(rows) :], v12.silence_waveforms(200))
    assert labels.tolist() == [*v12.classes[rows], 11, 11]
    assert len(side_waveforms(v12, recipe("v12"), "test")[0]) == len(v12.rows("test"))


def test_some_clips_of_a_side_are_evenly_spaced(v12: Task) -> None:
    whole, labels = side_waveforms(v12, recipe("v12"), "train")
    some, of_some = side_waveforms(v12, recipe("v12"), "train", most=len(whole) // 3)
    np.testing.assert_array_equal(some, whole[::3])
    np.testing.assert_array_equal(of_some, labels[::3])


# The real corpora. Nothing is decoded, because names, speakers and lengths determine the sides.


def pack_without_decoding(
    clips: Sequence[Clip], *, sample_rate: int, samples: int, centered: bool, cache: Path | None
) -> PackedClips:
    nothing = np.zeros((len(clips), 0), np.int16)
    return PackedClips((nothing,), np.full(len(clips), samples, np.int32), sample_rate, ())


def recordings_without_decoding(paths: Sequence[Path], sample_rate: int) -> Recordings:
    lengths = np.array([round(soundfile.info(path).duration * sample_rate) for path in paths])
    nothing = np.zeros(lengths.sum(), np.int16)
    return Recordings(tuple(path.stem for path in paths), nothing, np.cumsum(lengths) - lengths, lengths, sample_rate)


def test_v12_on_the_real_corpora(
    speech_commands: Path, speech_commands_more: Path, background_noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "pack", pack_without_decoding)
    monkeypatch.setattr(protocol, "read_recordings", recordings_without_decoding)
    v12 = RECIPES["v12"]
    task = make_task(v12, Material(data=(speech_commands, speech_commands_more), noise=(background_noise,)))
    validation = words_on(task, "validation")
    assert sum(validation[word] for word in COMMANDS) == 1_900
    assert sum(validation.values()) == 1_900 + 210
    assert sum(validation[word] for word in v12.held_out_words) == 105
    assert len(task.silence) == 190
    assert sum(window.gain_db == 0 for window in task.silence) == 95

    trained = words_on(task, "train")
    assert sum(trained[word] for word in COMMANDS) == 14_284
    assert not set(trained) & set(v12.held_out_words)
    assert sum(trained[word] for word in trained if word not in COMMANDS) > 8_000
    assert not task.rows("test").size

    # No speaker is on two sides, except for those of the held-out words, all of whose clips are for validation.
    validation_speakers = {clip.speaker for clip in clips_on(task, "validation") if clip.word not in v12.held_out_words}
    assert not validation_speakers & speakers_on(task, "train")
    for clip, side in zip(task.clips, task.sides, strict=True):
        assert clip.word in v12.held_out_words or side == official_side(clip.path.stem)

    assert task.held_out_noise is not None
    lengths = dict(zip(task.held_out_noise.names, task.held_out_noise.lengths.tolist(), strict=True))
    assert all(window.start + v12.samples <= lengths[window.recording] for window in task.silence)
    assert task.noise is not None
    short = {name for name, size in lengths.items() if size < 6 * v12.sample_rate}  # these are held out as a whole
    assert short
    assert not short & set(task.noise.names)
