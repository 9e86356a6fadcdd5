"""A run: from recipe and folders to a model file, in a folder that can be taken up again.

RUN/recipe.json     every hyperparameter            RUN/history.csv   a line an epoch
RUN/material.json   the folders, absolute           RUN/last.ckpt     where to resume
RUN/model.onnx      the result                      RUN/best.ckpt     the best epoch
"""

import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch.utils.data import DataLoader

from harken.errors import HarkenError
from harken.files import replacing
from harken.labels import SILENCE, UNKNOWN
from harken.models.spotter import Spotter
from harken.runtime.modelfile import ModelFile, bundled_models
from harken.tasks.protocol import Material, Task, make_task
from harken.tasks.recipe import Recipe
from harken.training.batches import BatchStream, Epochs, validation_rows
from harken.training.finish import finish
from harken.training.history import History
from harken.training.initial_weights import initialize_weights
from harken.training.memory import keep_freed_memory
from harken.training.module import TrainingModule
from harken.training.run_folder import load_checkpoint, load_spotter, read_run, write_run
from harken.training.trained_networks import find_teacher
from harken.training.waveforms import WaveformLoader

_VALIDATION_BATCH = 256


@dataclass(frozen=True)
class Trained:
    """What a run ended with.

    accuracy : of the shipped weights on the validation side, as a fraction. counts : clips on each side. repeats : clips
    that the folders hold twice, counted once. notes : what else its owner should know, a line each. first_process :
    whether this process speaks for all of the run.
    """

    model: Path
    accuracy: float
    epochs: int
    counts: dict[str, int]
    repeats: int
    notes: tuple[str, ...]
    first_process: bool


def train(recipe: Recipe, material: Material, out: Path, *, cache: Path | None = None, devices: int = 1) -> Trained:
    """Train a recipe from the start and write RUN/model.onnx.

    devices : how many GPUs (without one, processes on the CPU) share each batch; under torchrun, its numbers hold. All
    processes must see `out` on a disk that they share.
    Raises HarkenError when `out` holds a run already, or the folders do not suffice.
    """
    recipe = replace(recipe, teacher=tuple(map(_absolute, recipe.teacher)), start_from=_absolute(recipe.start_from))
    _refuse_used(out)
    return _fit(recipe, material, make_task(recipe, material, cache=cache), out, devices)


@rank_zero_only  # the other processes of a run would find what the first has written
def _refuse_used(out: Path) -> None:
    if str(out) in bundled_models():  # by that name the one in the box would be judged
        raise HarkenError(f"{out} is the name of a model in the box: name another folder")
    if (out / "recipe.json").exists():
        raise HarkenError(f"{out} holds a run already: go on with it by --resume {out}, or name another folder")
    if out.exists() and not out.is_dir():
        raise HarkenError(f"{out} is a file: name a folder for the run")


def resume(out: Path, *, cache: Path | None = None, devices: int = 1) -> Trained:
    """Take up a run where its last whole epoch ended; the weights end as those of an unbroken run.

    Raises HarkenError when `out` holds no run.
    """
    recipe, material = read_run(out)
    return _fit(recipe, material, make_task(recipe, material, cache=cache), out, devices)


class Batches(lightning.LightningDataModule):
    """The epochs' batches and the validation side, as Lightning asks for them."""

    def __init__(self, task: Task, recipe: Recipe) -> None:
        super().__init__()
        self.task = task
        self.recipe = recipe
        self.epochs = Epochs(task, recipe)
        self.steps_per_epoch = -(-len(self.epochs.draw(0)[0]) // recipe.batch_size)

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        rows, labels = self.epochs.draw(self.trainer.current_epoch)
        place = {"rank": self.trainer.global_rank, "world": self.trainer.world_size}
        return DataLoader(BatchStream(rows, labels, self.recipe.batch_size, **place), batch_size=None)

    def val_dataloader(self) -> DataLoader[Any]:
        # Whole on every process: the figures that choose the weights stand on the very same batches as with one.
        return DataLoader(BatchStream(*validation_rows(self.task), _VALIDATION_BATCH), batch_size=None)


class _AttachWaveforms(Callback):
    """Moves what training hears to the device, once Lightning has chosen it."""

    def __init__(self, task: Task, recipe: Recipe) -> None:
        self.task = task
        self.recipe = recipe

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        pl_module.waveforms = WaveformLoader(self.task, self.recipe, pl_module.device)


class _ResumableEarlyStopping(EarlyStopping):
    """Early stopping that a resumed run does not forget: one that had stopped trains no further epoch."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.should_stop = self.wait_count >= self.patience


class _AtomicCheckpoints(TorchCheckpointIO):
    """Writes checkpoints beside their place and renames them; Lightning's own way copies them from another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with replacing(path) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        return load_checkpoint(Path(path))


def _fit(recipe: Recipe, material: Material, task: Task, out: Path, devices: int) -> Trained:
    devices, hosts = _processes(devices)
    if recipe.batch_size % (devices * hosts):
        raise HarkenError(f"batch_size={recipe.batch_size} must be a multiple of the {devices * hosts} processes")
    keep_freed_memory()
    lightning.seed_everything(recipe.seed, verbose=False)
    batches = Batches(task, recipe)
    spotter = Spotter(recipe, len(task.labels))
    if recipe.channels_last:
        spotter.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    last = out / "last.ckpt"
    if recipe.start_from and not last.is_file():  # a run that is taken up has weights of its own
        initialize_weights(spotter, recipe.start_from, recipe, task)
    teachers = [find_teacher(teacher, recipe, task) for teacher in recipe.teacher]
    module = TrainingModule(recipe, spotter, steps_per_epoch=batches.steps_per_epoch, teachers=teachers)
    best = ModelCheckpoint(
        out, filename="best", monitor="validation_accuracy", mode="max", enable_version_counter=False
    )
    # Apart from the best: Lightning's save_last follows only when the best is saved.
    latest = ModelCheckpoint(out, filename="last", enable_version_counter=False)
    callbacks: list[Callback] = [_AttachWaveforms(task, recipe), History(out / "history.csv"), best, latest]
    if recipe.patience:
        callbacks.append(
            _ResumableEarlyStopping("validation_loss", patience=recipe.patience, min_delta=recipe.min_delta)
        )
    terminal = Console(stderr=True).is_terminal
    if terminal:
        callbacks.append(RichProgressBar(leave=False))
    with _quiet(), _raise_keyboard_interrupt(), _leave_process_group():
        trainer = lightning.Trainer(
            max_epochs=recipe.epochs,
            precision=training_precision(recipe),
            accelerator="auto",
            devices=devices,
            num_nodes=hosts,
            callbacks=callbacks,
            plugins=[_AtomicCheckpoints()],
            logger=False,
            enable_model_summary=False,
            enable_progress_bar=terminal,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            reload_dataloaders_every_n_epochs=1,
            default_root_dir=out,
        )
        if trainer.is_global_zero:  # not before all that a recipe can be refused for is behind it
            write_run(out, recipe, material)
        trainer.fit(module, datamodule=batches, ckpt_path=last if last.is_file() else None)
    model = out / "model.onnx"
    accuracy = 0.0 if best.best_model_score is None else float(best.best_model_score)
    if trainer.is_global_zero:
        accuracy = finish(load_spotter(out, len(task.labels)), recipe, material, task, model)
    counts = {side: len(task.rows(side)) for side in ("train", "validation", "test")}
    notes = _notes(task, material, model) if trainer.is_global_zero else ()
    return Trained(model, accuracy, trainer.current_epoch, counts, task.repeats, notes, trainer.is_global_zero)


def _notes(task: Task, material: Material, model: Path) -> tuple[str, ...]:
    notes = []
    if unreadable := task.packed.unreadable:
        some = "1 clip is" if len(unreadable) == 1 else f"{len(unreadable):,} clips are"
        notes.append(f"{some} left out, as damaged; the first: {unreadable[0][1]}")
    if task.made_noise:
        notes.append(
            f"{SILENCE} is noise that was made, since none was named: recordings of your rooms (--noise DIR) do better"
        )
    if material.speech and UNKNOWN in task.labels and not ModelFile(model).card.thresholds:
        notes.append(
            "the words have no thresholds: no speaker in --speech is on the side that sets them (docs/streaming.md)"
        )
    return tuple(notes)


@contextmanager
def _leave_process_group() -> Iterator[None]:
    """Takes leave of the other processes of a run; Lightning does so for NCCL alone.

    Gloo's threads, left to the interpreter's end, abort a process now and then ("terminate called without an active
    exception") whose partner ended a moment before.
    """
    before = torch.distributed.is_initialized()
    try:
        yield
    finally:
        if not before and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _processes(devices: int) -> tuple[int, int]:
    """Return how many processes train on each host, and on how many hosts; torchrun has started its own."""
    if not torch.distributed.is_torchelastic_launched():
        most = torch.cuda.device_count() if torch.cuda.is_available() else devices
        if not 1 <= devices <= most:
            raise HarkenError(f"devices={devices} must be from 1 to the {most} GPUs of this machine")
        return devices, 1
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return here, int(os.environ["WORLD_SIZE"]) // here


def _absolute(earlier: str) -> str:
    """Return a path as an absolute one; nothing, and the name of a model in the box (see find_model), as it is."""
    is_path = earlier not in ("", *bundled_models()) and Path(earlier).exists()
    return str(Path(earlier).absolute()) if is_path else earlier


def training_precision(recipe: Recipe) -> Any:
    """Return what Lightning's trainer takes as the precision of a recipe on this machine."""
    bfloat16 = _computes_bfloat16() if recipe.precision == "auto" else recipe.precision == "bfloat16"
    return "bf16-mixed" if bfloat16 else "32-true"


def _computes_bfloat16() -> bool:
    """Whether this machine computes in bfloat16 faster than in float32; without instructions for it, it would be slower."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # torch has no public name for it
    return native is not None and bool(native())


@contextmanager
def _raise_keyboard_interrupt() -> Iterator[None]:
    """Let Ctrl-C arrive as KeyboardInterrupt: Lightning ends the process, with SIGINT ignored from then on."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from stop


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advertisements, and advice that does not apply, off the terminal.

    Batches need no worker processes; and what replayed passes accumulate gradients on was recorded on another stream.
    """
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for advice in (
            *("does not have many workers", "Checkpoint directory", "isinstance.treespec", "has `__len__`"),
            "AccumulateGrad node's stream does not match",
        ):
            warnings.filterwarnings("ignore", message=f".*{advice}.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
