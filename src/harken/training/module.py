"""The network, the loss and the optimizer as a LightningModule.

TrainingModule          one training step, one validation step, the optimizer
moving_average          the update of the averaged weights
learning_rate_factor    the learning rate schedule
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import RichProgressBar
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from harken.errors import HarkenError
from harken.models.embedding_head import EmbeddingHead
from harken.models.registry import find_network
from harken.models.spotter import Spotter
from harken.tasks.recipe import Recipe
from harken.training.augment import Filter, NoiseSuppression, SpecAugment
from harken.training.bank_windows import BankWindows
from harken.training.batches import SPEECH_ROW
from harken.training.cuda_graphs import CudaGraphRunner
from harken.training.teachers import Teacher
from harken.training.waveforms import WaveformLoader


class TrainingModule(lightning.LightningModule):
    """Train a Spotter with the values of a recipe.

    The attribute `average` is the moving average of the network. Where the recipe uses one, it is validated and saved
    instead of the network itself.

    Parameters
    ----------
    recipe
        Hyperparameters of the run.
    spotter
        The network to train, with its front-end.
    steps_per_epoch
        Training steps in an epoch. The learning rate schedule depends on it.
    teachers
        Models to distill from. Empty: the labels alone are used.

    Raises
    ------
    HarkenError
        If the recipe asks for left context but the network looks ahead.
    """

    def __init__(
        self, recipe: Recipe, spotter: Spotter, *, steps_per_epoch: int, teachers: Iterable[Teacher] = ()
    ) -> None:
        super().__init__()
        if recipe.left_context_probability and not find_network(recipe.network).causal:
            raise HarkenError(
                f"left_context_probability={recipe.left_context_probability} needs a network without look-ahead, and "
                f"{recipe.network} looks ahead: set it to 0, or choose a network whose name begins with harken_"
            )
        self.recipe = recipe
        self.spotter = spotter
        self.steps_per_epoch = steps_per_epoch
        self.waveforms: WaveformLoader | None = None  # set once the device is known
        self._replay = CudaGraphRunner()
        self.filter = Filter(recipe.max_filter_db, recipe.cut_probability)
        self.suppress = NoiseSuppression(recipe.suppression_probability)
        self.spec_augment = SpecAugment(
            band_masks=recipe.band_masks,
            max_bands=recipe.max_bands,
            frame_masks=recipe.frame_masks,
            max_frames=recipe.max_frames,
        )
        self.average: AveragedModel | None = None
        if recipe.average_decay > 0:
            average = moving_average(recipe.average_decay)
            self.average = AveragedModel(spotter.network, multi_avg_fn=average, use_buffers=True).requires_grad_(False)
        self._bank: BankWindows | None = None
        if recipe.bank_windows:
            assert isinstance(spotter.network, EmbeddingHead)  # the recipe has been checked
            self._bank = BankWindows(spotter.network.steps)
        # Sums over the epoch. Calling self.log at every step would take longer than some of the network's layers.
        self._sums = torch.zeros(2)  # the loss and the number of correct answers
        self._examples = 0
        self._teachers = list(teachers)  # not registered as modules, so that checkpoints do not contain them

    def final_spotter(self) -> Spotter:
        """Return the spotter with the weights that were validated, in evaluation mode."""
        if self.average is not None:
            self.spotter.network.load_state_dict(self.average.module.state_dict())
        return self.spotter.eval()

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        # The step's number seeds all of its random draws, so that a resumed run draws the same as an uninterrupted one.
        _seed((self.recipe.seed * 1_000_003 + self.global_step) * 64 + self.global_rank, self.device)
        assert self.waveforms is not None
        waveform, targets = self.waveforms.load_augmented(*batch)
        features = self.spotter.features(self.waveforms.left_context(waveform))
        if self.spotter.front_end.bands > 1:  # a raw waveform has no bands to mask
            features = self.spec_augment(self.suppress(self.filter(features)))
        logits = self._replay(self.spotter.network, features).float()
        losses = F.cross_entropy(logits, targets, label_smoothing=self.recipe.label_smoothing, reduction="none")
        if self._teachers:
            # A teacher that takes a window of a sentence for a keyword must not pass that on.
            taught = (batch[0] != SPEECH_ROW).nonzero().flatten().to(losses.device)
            if len(taught):
                losses = self._add_distillation(losses, logits, waveform, targets.argmax(1), taught)
        loss = losses.mean()
        if self._bank is not None and self.waveforms.unknown is not None:
            loss = loss + self._bank_loss(self._bank, self.waveforms.unknown) / len(losses)
        hits = (logits.argmax(1) == targets.argmax(1)).sum()
        self._sums += torch.stack([loss.detach() * len(targets), hits])
        self._examples += len(targets)
        return loss

    def _bank_loss(self, bank: BankWindows, unknown: int) -> Tensor:
        """Return the summed loss of windows of the speech bank. Their class is `unknown`."""
        assert isinstance(self.spotter.network, EmbeddingHead)
        windows = bank.draw(self.recipe.bank_windows).to(self.device)
        logits = self.spotter.network.classify_embeddings(windows).float()
        labels = torch.full((len(windows),), unknown, device=self.device)
        return F.cross_entropy(logits, labels, reduction="sum")

    def _add_distillation(
        self, losses: Tensor, logits: Tensor, waveform: Tensor, labels: Tensor, taught: Tensor
    ) -> Tensor:
        """Mix the divergence from the teachers' softened answers into the losses [N] of the rows in `taught`.

        Where the teachers take an example of `_unknown_` for a keyword, their answer is not used. The method is that of
        Hinton et al., 2015, arXiv:1503.02531.
        """
        assert self.waveforms is not None
        temperature = self.recipe.teacher_temperature
        answers = torch.stack([teacher.logits(waveform[taught]) for teacher in self._teachers]).mean(0)
        if self.waveforms.unknown is not None:
            right = (labels[taught] != self.waveforms.unknown) | (answers.argmax(1) >= self.waveforms.keywords)
            taught, answers = taught[right], answers[right]
        wanted = F.log_softmax(answers / temperature, dim=1)
        softened = F.log_softmax(logits[taught] / temperature, dim=1)
        divergence = F.kl_div(softened, wanted, reduction="none", log_target=True).sum(1) * temperature**2
        mixed = (1 - self.recipe.teacher_share) * losses[taught] + self.recipe.teacher_share * divergence
        return losses.index_copy(0, taught, mixed)

    def on_train_epoch_start(self) -> None:
        self._sums = torch.zeros(2, device=self.device)
        self._examples = 0
        assert self.waveforms is not None
        if self.waveforms.hard_negatives is not None:
            self.waveforms.hard_negatives.search(self._keyword_probability, self._shown)
        if self._bank is not None and self.current_epoch:  # before the first epoch, the network knows no keyword
            self._bank.search(self._keyword_probability_of_embeddings)

    def _shown(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the parts of a search, with a bar of its own below that of the epoch."""
        bar = self.trainer.progress_bar_callback
        display = bar.progress if isinstance(bar, RichProgressBar) else None
        if display is None:
            yield from parts
            return
        task = display.add_task("searching speech for hard negatives", total=len(parts))
        for part in parts:
            yield part
            display.advance(task)
            display.refresh()
        display.update(task, visible=False)  # removed, it would renumber the bars that Lightning counts

    def _keyword_probability(self, waveform: Tensor) -> Tensor:
        """Return the probability [N] of the most probable keyword, by the weights that are validated."""
        assert self.waveforms is not None
        network = self.spotter.network if self.average is None else self.average.module
        training = network.training
        network.eval()
        logits = network(self.spotter.features(waveform)).float()
        network.train(training)
        return torch.softmax(logits, dim=1)[:, : self.waveforms.keywords].amax(1)

    def _keyword_probability_of_embeddings(self, embeddings: Tensor) -> Tensor:
        """Return the probability [N] of the most probable keyword for windows of embeddings [N, 96, steps]."""
        assert self.waveforms is not None
        network = self.spotter.network if self.average is None else self.average.module
        assert isinstance(network, EmbeddingHead)
        training = network.training
        network.eval()
        logits = network.classify_embeddings(embeddings.to(self.device)).float()
        network.train(training)
        return torch.softmax(logits, dim=1)[:, : self.waveforms.keywords].amax(1).cpu()

    def on_train_batch_end(self, *_: Any) -> None:
        if self.average is not None:
            self.average.update_parameters(self.spotter.network)

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        rows, labels = batch
        assert self.waveforms is not None
        network = self.spotter.network if self.average is None else self.average.module
        logits = network(self.spotter.features(self.waveforms.load_plain(rows))).float()
        hits = (logits.argmax(1) == labels).float().mean()
        values = {"validation_loss": F.cross_entropy(logits, labels), "validation_accuracy": hits}
        self.log_dict(values, batch_size=len(labels), sync_dist=True, prog_bar=True)

    def on_validation_epoch_end(self) -> None:
        loss, accuracy = self._sums / self._examples
        self.log("train_loss", loss, sync_dist=True, prog_bar=True)
        self.log("train_accuracy", accuracy, sync_dist=True)

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        parameters = [weight for weight in self.spotter.network.parameters() if weight.requires_grad]
        if recipe.optimizer == "adam":
            optimizer: torch.optim.Optimizer = torch.optim.Adam(parameters, recipe.learning_rate, eps=1e-7, fused=True)
        else:
            groups = [
                {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
                {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
            ]
            optimizer = torch.optim.AdamW(groups, recipe.learning_rate, fused=True)
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(recipe, step / self.steps_per_epoch))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _seed(seed: int, device: torch.device) -> None:
    """Seed the random generator that a step on `device` uses."""
    if device.type == "cpu":
        # torch.manual_seed also formats the call stack as text, for each kind of device that might be used later. That
        # takes a quarter of a millisecond at every step.
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


_Tensors = tuple[Tensor, ...] | list[Tensor]


def moving_average(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """Return the in-place update of an exponential moving average.

    The decay is smaller in the first steps, so that the average soon forgets the initial weights.

    Parameters
    ----------
    decay
        Fraction of the average that a step keeps, from 0 to 1.

    Returns
    -------
    Callable
        A function of the averaged tensors, the current tensors and the number of steps so far, as torch's
        `AveragedModel` takes it.
    """

    @torch.no_grad()
    def update(averaged: _Tensors, current: _Tensors, steps: Tensor | int) -> None:
        kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
        if averaged[0].is_floating_point():  # in each call, all tensors have the same type
            torch._foreach_lerp_(averaged, current, 1 - kept)
        else:
            torch._foreach_copy_(averaged, current)

    return update


def learning_rate_factor(recipe: Recipe, epoch: float) -> float:
    """Return the learning rate at a fractional epoch, as a fraction of the recipe's highest learning rate.

    It rises linearly during the warm-up. Then it stays constant or falls to 0 along half a cosine, as the recipe says.
    """
    if epoch < recipe.warmup_epochs:
        return max(epoch / recipe.warmup_epochs, 1e-3)
    if recipe.schedule == "constant":
        return 1.0
    done = (epoch - recipe.warmup_epochs) / max(recipe.epochs - recipe.warmup_epochs, 1e-9)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
