"""Train a recipe on folders of recordings, and write a model file. A run can be interrupted and resumed.

train                 start a run
resume                continue a run
require_new_folder    refuse a folder that cannot be that of a new run

The folder of a run contains:

RUN/recipe.json      every hyperparameter
RUN/material.json    the folders of recordings, as absolute paths
RUN/history.csv      one line for each epoch
RUN/last.ckpt        the last epoch, to resume from
RUN/best.ckpt        the best epoch
RUN/model.onnx       the result
"""

import io
import logging
import math
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
from harken.tasks.recipe import RECIPES, Recipe
from harken.training.batches import BatchStream, EpochSampler, validation_rows
from harken.training.clip_record import ClipRecord
from harken.training.finish import finish
from harken.training.history import History
from harken.training.initial_weights import initialize_weights, load_published_weights
from harken.training.memory import keep_freed_memory
from harken.training.module import TrainingModule
from harken.training.run_folder import load_checkpoint, load_spotter, load_weights, lock_run, read_run, write_run
from harken.training.stages_file import has_stages
from harken.training.trained_networks import find_teacher
from harken.training.waveforms import WaveformLoader

_VALIDATION_BATCH = 256


@dataclass(frozen=True)
class TrainingResult:
    """The result of a run.

    Attributes
    ----------
    model
        The model file.
    accuracy
        Accuracy of the saved weights on the validation side, as a fraction.
    epochs
        Number of epochs trained.
    counts
        Number of clips on each side.
    duplicates
        Number of duplicate clips in the folders. Each recording is used once.
    notes
        What else the user should know, one line each.
    first_process
        Whether this process is the one of the run that reports its result.
    """

    model: Path
    accuracy: float
    epochs: int
    counts: dict[str, int]
    duplicates: int
    notes: tuple[str, ...]
    first_process: bool


def train(
    recipe: Recipe, material: Material, out: Path, *, cache: Path | None = None, devices: int = 1
) -> TrainingResult:
    """Train a recipe from the start and write RUN/model.onnx.

    Parameters
    ----------
    recipe, material
        The hyperparameters, and the folders of recordings.
    out
        Folder for the run. If several processes train, all of them must have access to it.
    cache
        Folder for packed clips. Default: harken's cache folder.
    devices
        Number of GPUs that share each batch, or of processes on the CPU if there is no GPU. Under torchrun, the numbers
        that torchrun was given are used instead.

    Raises
    ------
    HarkenError
        If `out` already contains a run, if another process is training there, if the recordings are not sufficient, or if the
        loss becomes NaN or infinite.
    """
    recipe = replace(recipe, teacher=tuple(map(_absolute, recipe.teacher)), start_from=_absolute(recipe.start_from))
    require_new_folder(out)
    return _fit(recipe, material, make_task(recipe, material, cache=cache), out, devices)


@rank_zero_only  # the other processes could find what the first one has written already
def require_new_folder(out: Path) -> None:
    """Raise HarkenError if a folder cannot be that of a new run."""
    if str(out) in bundled_models():  # commands would use the bundled model of that name
        raise HarkenError(f"{out} is the name of a bundled model: choose another folder for the run")
    if (out / "recipe.json").exists() or has_stages(out):
        raise HarkenError(f"{out} already contains a run: continue it with --resume {out}, or choose another folder")
    if (out / "last.ckpt").exists():
        raise HarkenError(f"{out} contains the checkpoint of a run, last.ckpt: delete it, or choose another folder")
    if out.exists() and not out.is_dir():
        raise HarkenError(f"{out} is a file: choose a folder for the run")


def resume(out: Path, *, cache: Path | None = None, devices: int = 1) -> TrainingResult:
    """Continue a run after its last complete epoch. The final weights equal those of an uninterrupted run.

    Parameters
    ----------
    out
        Folder of the run.
    cache, devices
        See `train`.

    Raises
    ------
    HarkenError
        If `out` does not contain a run, its folders contain other clips than at its start, another process is training it, or
        the loss becomes NaN or infinite.
    """
    recipe, material = read_run(out)
    return _fit(recipe, material, make_task(recipe, material, cache=cache), out, devices, resumed=True)


class TrainingBatches(lightning.LightningDataModule):
    """Provide Lightning with the batches of each epoch and of the validation side."""

    def __init__(self, task: Task, recipe: Recipe) -> None:
        super().__init__()
        self.task = task
        self.recipe = recipe
        self.epochs = EpochSampler(task, recipe)
        self.steps_per_epoch = -(-len(self.epochs.draw(0)[0]) // recipe.batch_size)

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        rows, labels = self.epochs.draw(self.trainer.current_epoch)
        place = {"rank": self.trainer.global_rank, "world": self.trainer.world_size}
        return DataLoader(BatchStream(rows, labels, self.recipe.batch_size, **place), batch_size=None)

    def val_dataloader(self) -> DataLoader[Any]:
        # Every process validates on all batches, so that the best epoch is chosen on the same figures as with one process.
        return DataLoader(BatchStream(*validation_rows(self.task), _VALIDATION_BATCH), batch_size=None)


class _AttachWaveforms(Callback):
    """Move the recordings to the device, once Lightning has chosen it."""

    def __init__(self, task: Task, recipe: Recipe) -> None:
        self.task = task
        self.recipe = recipe

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        pl_module.waveforms = WaveformLoader(self.task, self.recipe, pl_module.device)


class _ResumableEarlyStopping(EarlyStopping):
    """Early stopping that also holds after a resume: a run that had stopped early trains no further epoch."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.should_stop = self.wait_count >= self.patience


class _StopAtDivergence(Callback):
    """Stop with an error after the first epoch whose loss is not finite, before a checkpoint of it is written."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        losses = {name: float(trainer.callback_metrics[name]) for name in ("train_loss", "validation_loss")}
        for name, loss in losses.items():
            if not math.isfinite(loss):
                rate = self.recipe.learning_rate
                raise HarkenError(
                    f"training diverged: the {name.replace('_', ' ')} is {loss} after epoch {trainer.current_epoch}; start "
                    f"again in another folder with a lower rate, for example --set learning_rate={rate / 10:.2g}"
                )


class _Checkpoints(TorchCheckpointIO):
    """Write each checkpoint atomically, and read it without running code that it may contain.

    A checkpoint is written to a temporary file in the same folder and renamed. Lightning copies it from another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        # torch's own writer reports a full disk as an error of its archive, without saying why.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with replacing(path) as temporary:
            temporary.write_bytes(content.getbuffer())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return _with_own_paths(load_checkpoint(Path(path)), Path(path).parent)


def _with_own_paths(checkpoint: dict[str, Any], out: Path) -> dict[str, Any]:
    """Replace the paths in a checkpoint by those of its folder, which may have been moved or come from somebody else.

    Lightning deletes the files that these paths name, and forgets the best epoch if the folder has another path.
    """
    folder = os.path.realpath(out)
    for state in checkpoint.get("callbacks", {}).values():
        if "best_model_path" in state:
            own = os.path.join(folder, "best.ckpt" if state["monitor"] else "last.ckpt")  # noqa: PTH118 - a text
            paths = dict.fromkeys(("best_model_path", "kth_best_model_path", "last_model_path"), own)
            scores = {own: score} if (score := next(iter(state["best_k_models"].values()), None)) is not None else {}
            state |= {"dirpath": folder, "best_k_models": scores} | {k: v for k, v in paths.items() if state[k]}
    return checkpoint


def _fit(
    recipe: Recipe, material: Material, task: Task, out: Path, devices: int, *, resumed: bool = False
) -> TrainingResult:
    devices, hosts = _process_counts(devices)
    if recipe.batch_size % (devices * hosts):
        raise HarkenError(
            f"batch_size={recipe.batch_size} must be a multiple of {devices * hosts}, the number of processes"
        )
    keep_freed_memory()
    lightning.seed_everything(recipe.seed, verbose=False)
    batches = TrainingBatches(task, recipe)
    spotter = Spotter(recipe, len(task.labels))
    if recipe.channels_last:
        spotter.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    last = out / "last.ckpt"
    record = ClipRecord(task)
    notes: list[str] = []
    if not last.is_file():  # a resumed run has its own weights
        load_published_weights(spotter)
    if recipe.start_from and not last.is_file():
        try:
            initialize_weights(spotter, recipe.start_from, recipe, task)
        except HarkenError as error:
            if recipe.start_from != getattr(RECIPES.get(recipe.name), "start_from", ""):
                raise
            # Nobody asked for these weights: the recipe has them for its own values, and another network has none.
            notes.append(f"training started with new weights, which need many more recordings: {error}")
            recipe = replace(recipe, start_from="")
    teachers = [find_teacher(teacher, recipe, task) for teacher in recipe.teacher]
    module = TrainingModule(recipe, spotter, steps_per_epoch=batches.steps_per_epoch, teachers=teachers)
    if last.is_file():
        record.check(load_checkpoint(last), out, material)
        # Lightning would load them too, but would end in a traceback if they do not fit.
        load_weights(module, last)
    best = ModelCheckpoint(
        out, filename="best", monitor="validation_accuracy", mode="max", enable_version_counter=False
    )
    # A checkpoint of its own, because Lightning's save_last writes one only when there is a new best epoch.
    latest = ModelCheckpoint(out, filename="last", enable_version_counter=False)
    callbacks: list[Callback] = [_AttachWaveforms(task, recipe), _StopAtDivergence(recipe), record]
    callbacks += [History(out / "history.csv"), best, latest]
    if recipe.patience:
        callbacks.append(
            _ResumableEarlyStopping("validation_loss", patience=recipe.patience, min_delta=recipe.min_delta)
        )
    terminal = Console(stderr=True).is_terminal
    if terminal:
        callbacks.append(RichProgressBar(leave=False))
    with ExitStack() as held:
        with _quiet(), _raise_keyboard_interrupt(), _leave_process_group():
            trainer = lightning.Trainer(
                max_epochs=recipe.epochs,
                precision=training_precision(recipe),
                accelerator="auto",
                devices=devices,
                num_nodes=hosts,
                callbacks=callbacks,
                plugins=[_Checkpoints()],
                logger=False,
                enable_model_summary=False,
                enable_progress_bar=terminal,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                reload_dataloaders_every_n_epochs=1,
                default_root_dir=out,
            )
            if trainer.is_global_zero:  # only now, when the recipe has passed all checks
                held.enter_context(lock_run(out))
                if not resumed:  # another training may have begun one there since the first check
                    require_new_folder(out)
                write_run(out, recipe, material)
            trainer.fit(module, datamodule=batches, ckpt_path=last if last.is_file() else None, weights_only=True)
        model = out / "model.onnx"
        accuracy = 0.0 if best.best_model_score is None else float(best.best_model_score)
        if trainer.is_global_zero:
            accuracy = finish(load_spotter(out, len(task.labels)), recipe, material, task, model)
            notes += _notes(recipe, task, material, model)
    counts = {side: len(task.rows(side)) for side in ("train", "validation", "test")}
    return TrainingResult(
        model, accuracy, trainer.current_epoch, counts, task.duplicates, tuple(notes), trainer.is_global_zero
    )


def _notes(recipe: Recipe, task: Task, material: Material, model: Path) -> list[str]:
    notes = list(task.notes)
    if unreadable := task.packed.unreadable:
        clips = "1 damaged clip" if len(unreadable) == 1 else f"{len(unreadable):,} damaged clips"
        notes.append(f"skipped {clips}; the first: {unreadable[0][1]}")
    evaluated = {task.labels[number] for number in task.classes[task.rows("validation")]}
    if missing := [word for word in task.labels[: task.words] if word not in evaluated]:
        notes.append(
            f"there are no validation clips of {', '.join(missing)}, so the validation accuracy does not include "
            f"{'it' if len(missing) == 1 else 'them'}: add clips by other speakers"
        )
    if UNKNOWN not in task.labels and recipe.protocol == "own":
        notes.append(
            f"the model knows no other words: it takes each of them for one of its {task.words} words, which the validation "
            "accuracy does not show. Add --other DIR or --speech DIR"
        )
    elif recipe.bank_windows and not (material.other or material.speech):
        notes.append(
            "the only other speech in training was harken's speech bank, which is not from your microphone: also give speech "
            "from the place of use with --speech DIR, or other words with --other DIR"
        )
    if task.synthetic_noise:
        notes.append(
            f"{SILENCE} was trained on generated noise. Recordings of your rooms give better results: --noise DIR"
        )
    if material.speech and UNKNOWN in task.labels and not _is_tuned_for_streams(model):
        notes.append(
            "the words have no thresholds for streams, because no speaker in --speech is on the side that sets them, or because "
            "the network takes too much speech for its words: add more speakers, or train longer"
        )
    return notes


def _is_tuned_for_streams(model: Path) -> bool:
    return "thresholds" in ModelFile(model).card.fields.get("listener", {})


@contextmanager
def _leave_process_group() -> Iterator[None]:
    """Leave the process group at the end of training. Lightning does that only for NCCL.

    If Gloo's threads run until the interpreter exits, they sometimes abort a process whose partner exited a moment
    earlier ("terminate called without an active exception").
    """
    before = torch.distributed.is_initialized()
    try:
        yield
    finally:
        if not before and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _process_counts(devices: int) -> tuple[int, int]:
    """Return the number of processes on each host and the number of hosts. torchrun sets both."""
    if not torch.distributed.is_torchelastic_launched():
        most = torch.cuda.device_count() if torch.cuda.is_available() else devices
        if not 1 <= devices <= most:
            raise HarkenError(f"devices={devices} must be from 1 to {most}, the number of GPUs of this machine")
        return devices, 1
    per_host = int(os.environ["LOCAL_WORLD_SIZE"])
    return per_host, int(os.environ["WORLD_SIZE"]) // per_host


def _absolute(source: str) -> str:
    """Return a path as an absolute path. Return an empty text or the name of a bundled model unchanged."""
    is_path = source not in ("", *bundled_models()) and Path(source).exists()
    return str(Path(source).absolute()) if is_path else source


def training_precision(recipe: Recipe) -> Any:
    """Return the precision for Lightning's trainer that a recipe means on this machine."""
    bfloat16 = _computes_bfloat16() if recipe.precision == "auto" else recipe.precision == "bfloat16"
    return "bf16-mixed" if bfloat16 else "32-true"


def _computes_bfloat16() -> bool:
    """Return whether this machine has instructions for bfloat16. Without them, it would be slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # torch has no public name for it
    return native is not None and bool(native())


@contextmanager
def _raise_keyboard_interrupt() -> Iterator[None]:
    """Turn Ctrl-C into a KeyboardInterrupt. Lightning would exit the process instead and ignore SIGINT from then on."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from stop


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide Lightning's advertisements, and its advice that does not apply.

    The batches need no worker processes. Replayed passes accumulate gradients on another stream, where they were recorded.
    The normalization of `embedding_head` stays in evaluation mode.
    """
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for advice in (
            *("does not have many workers", "Checkpoint directory", "isinstance.treespec", "has `__len__`"),
            "AccumulateGrad node's stream does not match",
            "in eval mode at the start of training",
        ):
            warnings.filterwarnings("ignore", message=f".*{advice}.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
