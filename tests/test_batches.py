from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harken.corpus.pack import PackedClips
from harken.corpus.recordings import Recordings
from harken.corpus.table import Clip
from harken.labels import SILENCE, UNKNOWN
from harken.tasks.protocol import Task
from harken.tasks.recipe import RECIPES, Recipe, with_settings
from harken.tasks.silence import SilenceWindow
from harken.training import batches
from harken.training import waveforms as waveforms_module
from harken.training.augment import ChainedWords, MixedBank, WindowBank
from harken.training.batches import (
    NOISE_ROW,
    SPEECH_ROW,
    SPLICED_ROW,
    BatchStream,
    ClipStore,
    EpochSampler,
    validation_rows,
)
from harken.training.waveforms import WaveformLoader

SAMPLES = 40
PLAIN = [
    *("sample_rate=1000", "window_s=0.04", "shift_ms=0", "gain_db=0", "speed=0"),
    *("noise_probability=0", "room_probability=0"),
]


def packed(folder: Path, sizes: tuple[int, ...]) -> PackedClips:
    """Write shards of these sizes. All samples of row r, counted over all shards, are r + 1."""
    shards, first = [], 1
    for number, size in enumerate(sizes):
        rows = np.arange(first, first + size, dtype=np.int16)
        np.save(folder / f"shard-{number}.npy", np.repeat(rows[:, None], SAMPLES, axis=1))
        shards.append(np.load(folder / f"shard-{number}.npy", mmap_mode="r"))
        first += size
    return PackedClips(tuple(shards), np.full(first - 1, SAMPLES, np.int32), 1000, ())


def recordings(value: int) -> Recordings:
    return Recordings(("long",), np.full(100, value, np.int16), np.array([0]), np.array([100]), 1000)


def make_task(folder: Path, **others: Any) -> Task:
    """Make a task of words a (20 clips), b (10), c (5) and 16 of `_unknown_`. The last clip of each class is for validation."""
    classes = np.repeat([0, 1, 2, 3], [20, 10, 5, 16])
    sides = np.full(51, "train", dtype="<U10")
    sides[[19, 29, 34, 50]] = "validation"
    clips = tuple(Clip(Path(f"{row}.wav"), str(label), "") for row, label in enumerate(classes))
    labels = ("a", "b", "c", UNKNOWN, SILENCE)
    given = {"noise": recordings(-300), "speech": recordings(-200), **others}
    return Task(labels, clips, packed(folder, (51,)), classes, sides, **given)


def recipe(*settings: str, name: str = "own") -> Recipe:
    return with_settings(RECIPES[name], ["words=a,b,c", "epoch_clips=0", *PLAIN, *settings])


def test_an_epoch_has_the_shares_of_the_recipe(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    wanted = recipe("balance=0", "unknown_share=0.5", "speech_share=0.25", "silence_share=0.25")
    rows, labels = EpochSampler(task, wanted).draw(0)
    # 32 clips of words, 16 of `_unknown_` (4 of them speech), 8 of silence.
    assert Counter(labels.tolist()) == {0: 19, 1: 9, 2: 4, 3: 16, 4: 8}
    assert Counter(rows[rows < 0].tolist()) == {NOISE_ROW: 8, SPEECH_ROW: 4}
    assert set(labels[rows == NOISE_ROW]) == {4}
    assert set(labels[rows == SPEECH_ROW]) == {3}
    clips = rows >= 0
    assert (task.classes[rows[clips]] == labels[clips]).all()
    assert set(rows[clips]) <= set(task.rows("train"))


def test_a_small_corpus_is_repeated(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    rows, labels = EpochSampler(
        task, recipe("balance=0", "epoch_clips=80", "unknown_share=0.5", "speech_share=0", "silence_share=0.125")
    ).draw(0)
    # 32 clips of words are repeated to 80, and the shares follow.
    assert Counter(labels.tolist()) == {0: 48, 1: 22, 2: 10, 3: 40, 4: 10}
    times = Counter(rows[labels < 3].tolist())
    assert set(times) == set(np.flatnonzero((task.sides == "train") & (task.classes < 3)))
    assert set(times.values()) == {2, 3}
    assert (
        len(EpochSampler(task, recipe("balance=0", "epoch_clips=20", "unknown_share=0", "silence_share=0")).draw(0)[0])
        == 32
    )


@pytest.mark.parametrize(("balance", "counts"), [(0.0, (19, 9, 4)), (1.0, (11, 11, 11)), (0.5, (15, 10, 7))])
def test_balance_ranges_from_corpus_counts_to_equal_counts(
    tmp_path: Path, balance: float, counts: tuple[int, int, int]
) -> None:
    _, labels = EpochSampler(make_task(tmp_path), recipe(f"balance={balance}")).draw(0)
    assert tuple(Counter(labels.tolist())[word] for word in range(3)) == counts


def test_clips_are_repeated_equally_often(tmp_path: Path) -> None:
    rows, labels = EpochSampler(make_task(tmp_path), recipe("balance=1")).draw(0)
    times = Counter(rows[labels == 2].tolist())  # four clips, eleven draws
    assert sorted(times.values()) == [2, 3, 3, 3]


def test_unknown_uses_only_clips_or_only_speech_if_the_other_is_missing(tmp_path: Path) -> None:
    rows, labels = EpochSampler(make_task(tmp_path, speech=None), recipe()).draw(0)
    assert SPEECH_ROW not in rows
    assert (labels == 3).sum() == 8
    task = make_task(tmp_path)
    task.sides[task.classes == 3] = ""
    rows, labels = EpochSampler(task, recipe()).draw(0)
    assert set(rows[labels == 3]) == {SPEECH_ROW}
    assert (labels == 3).sum() == 8


def test_the_tutorial_uses_each_clip_once(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    rows, labels = EpochSampler(task, recipe(name="tutorial")).draw(0)
    assert sorted(rows) == task.rows("train").tolist()
    assert (task.classes[rows] == labels).all()


@pytest.mark.parametrize("name", ["own", "tutorial"])
def test_seed_and_epoch_determine_the_examples(tmp_path: Path, name: str) -> None:
    task = make_task(tmp_path)
    rows, labels = EpochSampler(task, recipe(name=name)).draw(3)
    again = EpochSampler(task, recipe(name=name)).draw(3)
    assert rows.tolist() == again[0].tolist()
    assert labels.tolist() == again[1].tolist()
    assert rows.tolist() != EpochSampler(task, recipe(name=name)).draw(4)[0].tolist()
    assert rows.tolist() != EpochSampler(task, recipe("seed=8", name=name)).draw(3)[0].tolist()


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_share_each_global_batch(world: int) -> None:
    rows, labels = np.arange(100, 123), np.arange(23)
    streams = [list(BatchStream(rows, labels, 8, rank=rank, world=world)) for rank in range(world)]
    usable = 23 // world * world
    whole = list(BatchStream(rows[:usable], labels[:usable], 8))
    assert {len(stream) for stream in streams} == {len(whole)} == {3}
    for step, (wanted, wanted_labels) in enumerate(whole):
        parts = [stream[step] for stream in streams]
        assert (
            len({len(part) for part, _ in parts}) == 1
        )  # so that the mean of their gradients is the gradient of the batch
        assert sorted(torch.cat([part for part, _ in parts]).tolist()) == wanted.tolist()
        assert sorted(torch.cat([part for _, part in parts]).tolist()) == wanted_labels.tolist()


def test_length_of_a_stream_is_its_number_of_batches() -> None:
    for size in (1, 8, 16, 17):
        stream = BatchStream(np.arange(size), np.arange(size), 8)
        assert len(list(stream)) == len(stream) == -(-size // 8)


@pytest.mark.parametrize("sizes", [(10,), (4, 1, 5), (1, 9)])
def test_clip_store_gathers_over_shards(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    store = ClipStore(packed(tmp_path, sizes), torch.device("cpu"))
    rows = torch.tensor([9, 0, 3, 4, 4, 5, 0])
    waveforms = store.gather(rows)
    assert len(store) == 10
    assert waveforms.shape == (7, SAMPLES)
    assert waveforms.dtype == torch.float32
    assert torch.equal(waveforms, ((rows + 1.0) / 32768)[:, None].expand(-1, SAMPLES))


def test_clip_store_reads_the_memory_map_and_writes_nothing_to_it(tmp_path: Path) -> None:
    clips = packed(tmp_path, (3,))
    ClipStore(clips, torch.device("cpu")).gather(torch.tensor([0])).zero_()
    assert clips.shards[0][0, 0] == 1
    assert np.load(tmp_path / "shard-0.npy")[0, 0] == 1


@pytest.mark.parametrize("fits", [True, False])
def test_clip_store_on_another_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: bool) -> None:
    monkeypatch.setattr(batches, "fits_in_memory", lambda *_: fits)
    device = torch.device("meta")
    store = ClipStore(packed(tmp_path, (4, 6)), device)
    assert {shard.device.type for shard in store.shards} == {"meta" if fits else "cpu"}
    if not fits:  # gathered from the memory map, then moved; `meta` tensors contain no rows to look up
        assert store.gather(torch.tensor([9, 0])).device == device


def test_all_recordings_are_on_the_device(tmp_path: Path) -> None:
    settings = ("noise_probability=0.5", "room_probability=0.5", "speed=0.1", "pitch_semitones=1")
    held_out = {"held_out_noise": recordings(7), "silence": (SilenceWindow("long", 0, 0.0),)}
    loader = WaveformLoader(make_task(tmp_path, **held_out), recipe(*settings), torch.device("meta"))
    assert loader.noise is not None
    assert loader.speech is not None
    held = [*loader.transforms.buffers(), *loader.noise.buffers(), *loader.speech.buffers(), loader.silence]
    assert len(held) > 6
    assert {tensor.device.type for tensor in held} == {"meta"}


def test_hard_negatives_are_searched_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices: list[str] = []

    def search(bank: WindowBank, _: int) -> None:
        devices.append(bank.audio.device.type)

    monkeypatch.setattr(waveforms_module, "HardNegatives", search)
    WaveformLoader(make_task(tmp_path), recipe("hard_share=0.5"), torch.device("meta"))
    assert devices == ["meta"]


def test_a_step_stays_on_the_device(tmp_path: Path) -> None:
    settings = ("shift_ms=3", "gain_db=3", "speed=0.1", "mixup=0.2")
    loader = WaveformLoader(make_task(tmp_path, noise=None, speech=None), recipe(*settings), torch.device("meta"))
    waveforms, targets = loader.load_augmented(torch.tensor([3, 20]), torch.tensor([0, 1]))
    assert (waveforms.device.type, waveforms.shape) == ("meta", (2, SAMPLES))
    assert (targets.device.type, targets.shape) == ("meta", (2, 5))


def test_negative_rows_are_cut_from_noise_and_speech(tmp_path: Path) -> None:
    loader = WaveformLoader(make_task(tmp_path), recipe("full_level_share=1"), torch.device("cpu"))
    waveforms, targets = loader.load_augmented(torch.tensor([4, NOISE_ROW, SPEECH_ROW]), torch.tensor([0, 4, 3]))
    assert (waveforms * 32768).unique(dim=1).flatten().tolist() == [5, -300, -200]
    assert targets.tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]]


def test_spliced_words_are_unknown_and_contain_word_and_speech(tmp_path: Path) -> None:
    wanted = recipe("balance=0", "unknown_share=1", "speech_share=0.25", "spliced_share=0.5")
    rows, labels = EpochSampler(make_task(tmp_path), wanted).draw(0)
    counts = Counter(rows[labels == 3].clip(max=0).tolist())
    assert counts == {SPEECH_ROW: 8, SPLICED_ROW: 12, 0: 12}
    torch.manual_seed(0)
    loader = WaveformLoader(make_task(tmp_path), wanted, torch.device("cpu"))
    waveforms, targets = loader.load_augmented(torch.full((300,), SPLICED_ROW), torch.full((300,), 3))
    assert (targets.argmax(1) == 3).all()
    levels = waveforms * 32768
    # The samples of a word are its row's number plus 1, up to 34. The speech is as loud, and negative.
    assert ((levels.amax(1) > 0) & (levels.amax(1) <= 34)).all()
    assert (levels.amin(1) < 0).all()
    assert 100 < (levels[:, 0] > 0).sum() < 200  # the word comes first in half of them
    word_share = (levels > 0).float().mean(1)
    assert word_share.min() > 0.2
    assert word_share.max() < 0.55
    silent = make_task(tmp_path, speech=None)
    assert SPLICED_ROW not in EpochSampler(silent, wanted).draw(0)[0]


def test_a_share_of_running_speech_is_joined_from_other_training_words(tmp_path: Path) -> None:
    torch.manual_seed(0)
    loader = WaveformLoader(make_task(tmp_path), recipe("chained_share=0.4"), torch.device("cpu"))
    waveforms, targets = loader.load_augmented(torch.full((1000,), SPEECH_ROW), torch.full((1000,), 3))
    assert (targets.argmax(1) == 3).all()
    chained = (waveforms >= 0).all(1)  # recorded speech is negative
    assert float(chained.float().mean()) == pytest.approx(0.4, abs=0.05)
    assert isinstance(loader.speech, MixedBank)
    assert isinstance(loader.speech.made, ChainedWords)
    assert loader.speech.made.rows.tolist() == list(range(35, 50))  # those of `_unknown_`, without the validation clip


def test_background_speech_has_the_probability_and_level_of_the_recipe(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wanted = recipe("talk_probability=0.5", "min_talk_snr_db=20", "max_snr_db=20")
    loader = WaveformLoader(make_task(tmp_path), wanted, torch.device("cpu"))
    waveforms, _ = loader.load_augmented(torch.full((1000,), 49), torch.zeros(1000, dtype=torch.long))
    levels = waveforms[:, 0] * 32768  # the clip is at 50; the speech, at -200, is reduced to a tenth of that
    assert set((levels * 10).round().int().tolist()) == {450, 500}
    assert (levels < 47).float().mean() == pytest.approx(0.5, abs=0.06)
    alone = WaveformLoader(make_task(tmp_path, speech=None), wanted, torch.device("cpu"))
    assert (alone.load_augmented(torch.full((50,), 49), torch.zeros(50, dtype=torch.long))[0] * 32768 == 50).all()


def test_silence_is_noise_at_random_levels_and_a_share_at_full_level(tmp_path: Path) -> None:
    torch.manual_seed(0)
    loader = WaveformLoader(make_task(tmp_path), recipe("full_level_share=0.5"), torch.device("cpu"))
    waveforms, _ = loader.load_augmented(torch.full((2000,), NOISE_ROW), torch.full((2000,), 4))
    decibels = 20 * torch.log10(waveforms[:, 0] * 32768 / -300)
    full = decibels.abs() < 1e-4
    assert full.float().mean() == pytest.approx(0.5, abs=0.05)
    assert decibels.min() < -55
    assert decibels.min() >= -60.01
    assert decibels[~full].mean() == pytest.approx(-30, abs=2)


def test_validation_is_not_augmented(tmp_path: Path) -> None:
    silence = (SilenceWindow("long", 0, 0.0), SilenceWindow("long", 60, -20.0))
    task = make_task(tmp_path, held_out_noise=recordings(1000), silence=silence)
    rows, labels = validation_rows(task)
    assert rows.tolist() == [19, 29, 34, 50, 51, 52]
    assert labels.tolist() == [0, 1, 2, 3, 4, 4]
    loader = WaveformLoader(task, recipe("gain_db=10", "noise_probability=1"), torch.device("cpu"))
    waveforms = loader.load_plain(torch.from_numpy(rows)) * 32768
    torch.testing.assert_close(waveforms, torch.tensor([[20.0], [30], [35], [51], [1000], [100]]).expand(-1, SAMPLES))
    without = make_task(tmp_path)
    assert validation_rows(without)[0].tolist() == [19, 29, 34, 50]
    assert WaveformLoader(without, recipe(), torch.device("cpu")).load_plain(torch.tensor([50])).shape == (1, SAMPLES)
