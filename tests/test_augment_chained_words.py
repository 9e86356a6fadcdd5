"""Running speech generated from clips of words."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from harken.corpus.pack import PackedClips
from harken.errors import HarkenError
from harken.training.augment import ChainedWords
from harken.training.batches import ClipStore

RATE = 1_000
Words = Callable[..., ClipStore]


@pytest.fixture
def store(tmp_path: Path) -> Words:
    """Store clips of one second with a tone of `length` ms that starts at `start` ms, each at another frequency."""

    def store_clips(*frequencies: int, start: int = 300, length: int = 200) -> ClipStore:
        time = np.arange(RATE)
        inside = (time >= start) & (time < start + length)
        clips = [8_000 * np.sin(2 * np.pi * f * time / RATE) * inside for f in frequencies]
        np.save(tmp_path / "shard.npy", np.array(clips, np.int16))
        shard = np.load(tmp_path / "shard.npy", mmap_mode="r")
        lengths = np.full(len(clips), RATE, np.int32)
        return ClipStore(PackedClips((shard,), lengths, RATE, ()), torch.device("cpu"))

    return store_clips


def chained(clips: ClipStore, rows: list[int], count: int = 200) -> torch.Tensor:
    torch.manual_seed(3)
    return ChainedWords(clips, torch.tensor(rows), RATE).draw(count)


def test_a_window_contains_several_words(store: Words) -> None:
    windows = chained(store(100), [0])
    assert windows.shape == (200, RATE)
    sounding = torch.nn.functional.max_pool1d(windows.abs(), 15, 1, 7) > 0.1
    # Four words of 200 ms, with up to 160 ms between them, fill most of a second. A single clip would fill a fifth.
    assert sounding.float().mean() > 0.6
    beginnings = (sounding[:, 1:] & ~sounding[:, :-1]).sum(1)
    assert beginnings.min() >= 2
    assert sounding[:, 0].float().mean() > 0.7  # most windows begin inside a word


def test_silence_around_a_word_is_cut_away(store: Words) -> None:
    for start in (0, 300, 800):
        bank = ChainedWords(store(100, start=start), torch.tensor([0]), RATE)
        assert int(bank.starts[0]) == pytest.approx(max(0, start - 20), abs=6)
        assert int(bank.starts[0] + bank.lengths[0]) == pytest.approx(min(RATE, start + 220), abs=6)


def test_only_the_given_rows_are_used_and_all_of_them(store: Words) -> None:
    windows = chained(store(50, 150, 300), [0, 2])
    power = torch.fft.rfft(windows).abs().square()
    near = {f: power[:, f - 20 : f + 21].sum() / power.sum() for f in (50, 150, 300)}
    assert near[50] > 0.3
    assert near[300] > 0.3
    assert near[150] < 0.05


def test_words_have_different_levels_and_faded_ends(store: Words) -> None:
    windows = chained(store(100), [0])
    assert windows.abs().max() <= 1
    levels = 20 * windows.unfold(1, 100, 100).abs().amax(2).flatten().log10()
    loud = levels[levels > -13]
    assert loud.max() > -1
    assert loud.min() < -11
    # A tone of 100 Hz at full scale changes by up to 0.59 from sample to sample. A cut in it would be a step of up to 1.
    full_length = store(100, start=0, length=RATE)
    assert chained(full_length, [0]).diff(dim=1).abs().max() < 0.65


def test_a_silent_clip_gives_silence(store: Words) -> None:
    assert torch.equal(chained(store(100, length=0), [0]), torch.zeros(200, RATE))


def test_having_no_clips_is_refused(store: Words) -> None:
    with pytest.raises(HarkenError, match="no clips of other words to join"):
        ChainedWords(store(100), torch.tensor([], dtype=torch.long), RATE)
