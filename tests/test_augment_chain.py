"""Words chained to what stands for running speech."""

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
    """Keep clips of a second, each silent but for a tone of `length` ms from `start` ms on at a frequency of its own."""

    def keep(*frequencies: int, start: int = 300, length: int = 200) -> ClipStore:
        time = np.arange(RATE)
        inside = (time >= start) & (time < start + length)
        clips = [8_000 * np.sin(2 * np.pi * f * time / RATE) * inside for f in frequencies]
        np.save(tmp_path / "shard.npy", np.array(clips, np.int16))
        shard = np.load(tmp_path / "shard.npy", mmap_mode="r")
        lengths = np.full(len(clips), RATE, np.int32)
        return ClipStore(PackedClips((shard,), lengths, RATE, ()), torch.device("cpu"))

    return keep


def chained(clips: ClipStore, rows: list[int], count: int = 200) -> torch.Tensor:
    torch.manual_seed(3)
    return ChainedWords(clips, torch.tensor(rows), RATE).draw(count)


def test_a_window_holds_word_after_word(store: Words) -> None:
    windows = chained(store(100), [0])
    assert windows.shape == (200, RATE)
    sounding = torch.nn.functional.max_pool1d(windows.abs(), 15, 1, 7) > 0.1
    # Of four words of 200 ms with up to 160 ms between them, most of a second is sound; a clip alone has a fifth.
    assert sounding.float().mean() > 0.6
    beginnings = (sounding[:, 1:] & ~sounding[:, :-1]).sum(1)
    assert beginnings.min() >= 2
    assert sounding[:, 0].float().mean() > 0.7  # most windows begin within a word


def test_silence_is_cut_away_wherever_the_word_lies(store: Words) -> None:
    for start in (0, 300, 800):
        bank = ChainedWords(store(100, start=start), torch.tensor([0]), RATE)
        assert int(bank.starts[0]) == pytest.approx(max(0, start - 20), abs=6)
        assert int(bank.starts[0] + bank.lengths[0]) == pytest.approx(min(RATE, start + 220), abs=6)


def test_only_the_rows_named_are_heard_and_all_of_them(store: Words) -> None:
    windows = chained(store(50, 150, 300), [0, 2])
    power = torch.fft.rfft(windows).abs().square()
    near = {f: power[:, f - 20 : f + 21].sum() / power.sum() for f in (50, 150, 300)}
    assert near[50] > 0.3
    assert near[300] > 0.3
    assert near[150] < 0.05


def test_words_are_of_many_levels_and_fade_at_their_ends(store: Words) -> None:
    windows = chained(store(100), [0])
    assert windows.abs().max() <= 1
    levels = 20 * windows.unfold(1, 100, 100).abs().amax(2).flatten().log10()
    loud = levels[levels > -13]
    assert loud.max() > -1
    assert loud.min() < -11
    # A tone of 100 Hz moves by 0.59 a sample at full scale; a cut in its middle would be a step of up to 1.
    full_length = store(100, start=0, length=RATE)
    assert chained(full_length, [0]).diff(dim=1).abs().max() < 0.65


def test_a_clip_of_silence_makes_silence(store: Words) -> None:
    assert torch.equal(chained(store(100, length=0), [0]), torch.zeros(200, RATE))


def test_no_clip_to_chain_is_told(store: Words) -> None:
    with pytest.raises(HarkenError, match="no clip of another word to chain"):
        ChainedWords(store(100), torch.tensor([], dtype=torch.long), RATE)
