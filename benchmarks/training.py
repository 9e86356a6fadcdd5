"""Compare the training speed of harken, which augments in batches, with a plain PyTorch loop that augments clip by clip.

python benchmarks/training.py --data DIR [--data DIR] [--noise DIR] [--network bc_resnet_1] [--rounds 3]

Both train the same network on the same packed clips with the same kinds of augmentation (speed, room, shift, gain, noise,
masks) and the same optimizer. The plain loop is that of a PyTorch tutorial: a Dataset whose __getitem__ augments one clip with
torch operations, and a DataLoader with the number of worker processes that is fastest on this machine (0, 1 or 2). The two
take turns, and their ratio is printed for each round.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harken.models.spotter import Spotter
from harken.tasks.protocol import Material, Task, make_task
from harken.tasks.recipe import Recipe, find_recipe, with_settings
from harken.training.augment import SpecAugment
from harken.training.batches import NOISE_ROW, EpochSampler
from harken.training.module import TrainingModule
from harken.training.run import training_precision
from harken.training.waveforms import WaveformLoader

_STEPS = 12
_WARM_UP = 3


class ClipByClip(Dataset[tuple[Tensor, int]]):
    """A data set of single augmented clips, by the same transforms that harken applies to batches."""

    def __init__(self, loader: WaveformLoader, rows: Tensor, labels: Tensor) -> None:
        self.loader, self.rows, self.labels = loader, rows, labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        waveform, _ = self.loader.load_augmented(self.rows[index : index + 1], self.labels[index : index + 1])
        return waveform[0], int(self.labels[index])


def plain_rate(task: Task, recipe: Recipe, rows: Tensor, labels: Tensor, workers: int) -> float:
    """Return the examples per second of the plain loop."""
    spotter = Spotter(recipe, len(task.labels)).train()
    masks = SpecAugment(
        band_masks=recipe.band_masks,
        max_bands=recipe.max_bands,
        frame_masks=recipe.frame_masks,
        max_frames=recipe.max_frames,
    )
    optimizer = torch.optim.AdamW(spotter.parameters(), recipe.learning_rate)
    dataset = ClipByClip(WaveformLoader(task, recipe, torch.device("cpu")), rows, labels)
    loader = DataLoader(dataset, recipe.batch_size, num_workers=workers)
    started = 0.0
    for step, (waveform, label) in enumerate(loader):
        if step == _WARM_UP:
            started = time.perf_counter()
        loss = F.cross_entropy(spotter.network(masks(spotter.front_end(waveform))), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return recipe.batch_size * (len(loader) - _WARM_UP) / (time.perf_counter() - started)


def harken_rate(task: Task, recipe: Recipe, rows: Tensor, labels: Tensor) -> float:
    """Return the examples per second of the training steps of `harken train`."""
    import lightning
    from lightning.pytorch.callbacks import Callback

    class Clock(Callback):
        started = stopped = 0.0

        def on_train_batch_start(self, *details: object) -> None:
            if details[-1] == _WARM_UP:
                self.started = time.perf_counter()

        def on_train_end(self, *_: object) -> None:
            self.stopped = time.perf_counter()

    module = TrainingModule(recipe, Spotter(recipe, len(task.labels)), steps_per_epoch=_STEPS)
    module.waveforms = WaveformLoader(task, recipe, torch.device("cpu"))
    clock = Clock()
    batches = list(zip(rows.split(recipe.batch_size), labels.split(recipe.batch_size), strict=True))
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", precision=training_precision(recipe), callbacks=[clock], **quiet
    )
    trainer.fit(module, DataLoader(batches, batch_size=None))
    return recipe.batch_size * (len(batches) - _WARM_UP) / (clock.stopped - clock.started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True, help="corpus; repeatable")
    parser.add_argument("--noise", type=Path, action="append", default=[], help="folder of noise; repeatable")
    parser.add_argument("--network", default="bc_resnet_1", help="network to train")
    parser.add_argument("--set", action="append", default=[], help="recipe value, as name=value")
    parser.add_argument("--rounds", type=int, default=3, help="times to measure both")
    options = parser.parse_args()
    recipe = with_settings(find_recipe("v12"), [f"network={options.network}", *options.set])
    task = make_task(recipe, Material(data=tuple(options.data), noise=tuple(options.noise)))
    drawn, classes = EpochSampler(task, recipe).draw(0)
    rows, labels = torch.from_numpy(drawn), torch.from_numpy(classes)
    clips = (rows != NOISE_ROW).nonzero().flatten()[: recipe.batch_size * _STEPS]
    rows, labels = rows[clips], labels[clips]
    rates = {workers: plain_rate(task, recipe, rows, labels, workers) for workers in (0, 1, 2)}
    workers = max(rates, key=lambda count: rates[count])
    print(
        "plain loop, examples/s by number of worker processes: "
        + ", ".join(f"{count}: {rate:.0f}" for count, rate in rates.items())
    )
    ratios = []
    for number in range(options.rounds):
        plain = plain_rate(task, recipe, rows, labels, workers)
        fast = harken_rate(task, recipe, rows, labels)
        ratios.append(fast / plain)
        print(f"round {number + 1}: plain {plain:.0f}, harken {fast:.0f} examples/s, ratio {fast / plain:.2f}")
    print(f"{options.network}: ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
