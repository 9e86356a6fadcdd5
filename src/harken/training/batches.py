"""Choose the examples of each epoch, and read their samples on the device.

EpochSampler       the rows and labels of an epoch
validation_rows    the rows and labels of the validation side
BatchStream        the batches of an epoch, for one of several processes
ClipStore          the samples of the clips

A batch is two small arrays, rows and labels. The device reads the samples of all its clips from the packed corpus at once.
A negative row is not a clip. It stands for a window that is cut or mixed when the batch is loaded:

- NOISE_ROW: noise
- SPEECH_ROW: running speech
- SPLICED_ROW: a word whose beginning or end is replaced by running speech

Rows after the last clip are the windows of silence of the validation side.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from harken.corpus.pack import PackedClips
from harken.labels import SILENCE, UNKNOWN
from harken.tasks.protocol import Task
from harken.tasks.recipe import Recipe

NOISE_ROW = -1
SPEECH_ROW = -2
SPLICED_ROW = -3


@dataclass(frozen=True)
class EpochSampler:
    """Choose the examples of each epoch. The same seed and epoch give the same examples on every machine.

    Attributes
    ----------
    task
        The clips, their classes and their sides.
    recipe
        The shares of the classes, and the seed.
    """

    task: Task
    recipe: Recipe

    def draw(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows and labels of an epoch, both [examples], in the order of training."""
        task, recipe = self.task, self.recipe
        rng = np.random.default_rng((recipe.seed, epoch))
        train = task.rows("train")
        if recipe.protocol == "tutorial":
            rows = rng.permutation(train)
            return rows, task.classes[rows]
        labels = {label: number for number, label in enumerate(task.labels)}
        words = [number for label, number in labels.items() if label not in (UNKNOWN, SILENCE)]
        rows_by_word = [train[task.classes[train] == word] for word in words]
        counts = np.array([len(rows) for rows in rows_by_word], dtype=float)
        wanted = counts ** (1 - recipe.balance)
        wanted *= max(counts.sum(), recipe.epoch_clips) / wanted.sum()
        parts = [_repeat(rng, rows, round(count)) for rows, count in zip(rows_by_word, wanted, strict=True)]
        commands = sum(len(part) for part in parts)
        if UNKNOWN in labels:
            unknown = train[task.classes[train] == labels[UNKNOWN]]
            count = round(commands * recipe.unknown_share)
            speech = round(count * recipe.speech_share) if task.speech is not None and len(unknown) else 0
            if not len(unknown):
                speech = count if task.speech is not None else 0
            spliced = round((count - speech) * recipe.spliced_share) if task.speech is not None else 0
            parts += [np.full(speech, SPEECH_ROW), np.full(spliced, SPLICED_ROW)]
            parts.append(_repeat(rng, unknown, count - speech - spliced))
        if SILENCE in labels:
            parts.append(np.full(round(commands * recipe.silence_share), NOISE_ROW))
        rows = np.concatenate(parts)
        classes = np.where(rows >= 0, task.classes[rows], 0)
        classes[rows == NOISE_ROW] = labels.get(SILENCE, 0)
        classes[(rows == SPEECH_ROW) | (rows == SPLICED_ROW)] = labels.get(UNKNOWN, 0)
        order = rng.permutation(len(rows))
        return rows[order], classes[order]


def _repeat(rng: np.random.Generator, rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return `count` of `rows`, each equally often. A random choice of them appears once more if `count` does not divide."""
    if not len(rows):
        return rows
    whole, rest = divmod(count, len(rows))
    return np.concatenate([np.tile(rows, whole), rng.permutation(rows)[:rest]])


def validation_rows(task: Task) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and labels of the validation side, both [examples]: its clips, then its windows of silence."""
    rows = task.rows("validation")
    if not task.silence:
        return rows, task.classes[rows]
    silence = np.full(len(task.silence), task.labels.index(SILENCE))
    windows = len(task.packed) + np.arange(len(task.silence))
    return np.concatenate([rows, windows]), np.concatenate([task.classes[rows], silence])


class BatchStream(IterableDataset[tuple[Tensor, Tensor]]):
    """Yield the batches (rows, labels) of an epoch for one of several processes.

    The processes share each global batch evenly. Up to `world - 1` examples at the end of the epoch are left out, so
    that all processes take the same number of equal steps.

    Parameters
    ----------
    rows, labels
        The examples of the epoch, [examples] each.
    batch_size
        Size of the global batch, a multiple of `world`.
    rank
        Number of this process, from 0.
    world
        Number of processes.
    """

    def __init__(
        self, rows: NDArray[np.int64], labels: NDArray[np.int64], batch_size: int, *, rank: int = 0, world: int = 1
    ) -> None:
        usable = len(rows) // world * world
        self.rows = torch.from_numpy(rows[:usable])
        self.labels = torch.from_numpy(labels[:usable])
        self.batch_size = batch_size
        self.rank = rank
        self.world = world

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.rows), self.batch_size):
            part = slice(start + self.rank, start + self.batch_size, self.world)
            yield self.rows[part], self.labels[part]


class ClipStore:
    """Read clips of the packed corpus on the device.

    The samples are kept in the memory of a GPU if they fit. Otherwise they stay in the memory-mapped files.
    """

    def __init__(self, packed: PackedClips, device: torch.device) -> None:
        shards = [_as_tensor(shard) for shard in packed.shards]
        if fits_in_memory(sum(shard.nbytes for shard in shards), device):
            shards = [shard.to(device) for shard in shards]
        self.shards = shards
        self.device = device
        self.first = torch.tensor(np.cumsum([0] + [len(shard) for shard in shards]))

    def __len__(self) -> int:
        return int(self.first[-1])

    def gather(self, rows: Tensor) -> Tensor:
        """Return the waveforms of packed rows [N], float [N, samples], full scale 1.0."""
        if len(self.shards) == 1:
            samples = self.shards[0][rows.to(self.shards[0].device)]
        else:
            samples = torch.empty((len(rows), self.shards[0].shape[1]), dtype=torch.int16, device=self.shards[0].device)
            rows = rows.cpu()
            which = torch.searchsorted(self.first, rows, right=True) - 1
            for number in range(len(self.shards)):
                here = (which == number).nonzero().flatten()
                found = self.shards[number][(rows[here] - self.first[number]).to(samples.device)]
                samples[here.to(samples.device)] = found
        return samples.to(self.device).float() / 32768.0


def fits_in_memory(size: int, device: torch.device) -> bool:
    """Return whether a GPU has room for `size` bytes and the same again for training. On other devices it is False."""
    return device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] // 2


def _as_tensor(shard: NDArray[np.int16]) -> Tensor:
    # torch warns of tensors on read-only memory, so the file is mapped copy-on-write. Nothing writes to these tensors.
    assert isinstance(shard, np.memmap)
    assert shard.filename is not None
    return torch.from_numpy(np.load(shard.filename, mmap_mode="c"))
