"""Turn the rows of a batch into waveforms on the device, and augment them for training."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harken.corpus.recordings import Recordings
from harken.labels import UNKNOWN
from harken.tasks.protocol import Task
from harken.tasks.recipe import Recipe
from harken.training.augment import (
    ChainedWords,
    Gain,
    LeftContext,
    MixedBank,
    Mixup,
    Noise,
    Pitch,
    Room,
    Shift,
    Speed,
    SteadyNoise,
    WindowBank,
)
from harken.training.augment.random_draws import from_db, random_mask, uniform
from harken.training.augment.splice import splice
from harken.training.batches import NOISE_ROW, SPEECH_ROW, SPLICED_ROW, ClipStore
from harken.training.hard_negatives import HardNegatives

_MIN_SILENCE_DB = -60.0  # lowest level of a `_silence_` example, relative to the recording


class WaveformLoader:
    """Hold clips, noise and speech on the device, and return waveforms [N, samples] for rows.

    Parameters
    ----------
    task
        The clips, and the recordings of noise and speech.
    recipe
        The window's length and the augmentation.
    device
        Where the waveforms are made.
    """

    def __init__(self, task: Task, recipe: Recipe, device: torch.device) -> None:
        self.recipe = recipe
        self.classes = len(task.labels)
        self.keywords = task.words  # number of classes that are words; they come first
        self.unknown = task.labels.index(UNKNOWN) if UNKNOWN in task.labels else None
        self.clips = ClipStore(task.packed, device)
        self.silence = torch.from_numpy(task.silence_waveforms(recipe.samples)).to(device)
        self.noise = None if task.noise is None else self._noise_bank(task.noise).to(device)
        trained = task.rows("train")
        self.words = torch.from_numpy(trained[task.classes[trained] < task.words])
        self.hard_negatives: HardNegatives | None = None
        self.speech = None if task.speech is None else self._speech_bank(task.speech, task, trained)
        transforms: list[torch.nn.Module] = [
            Speed(1 - recipe.speed, 1 + recipe.speed),
            Pitch(recipe.pitch_semitones, probability=recipe.pitch_probability),
            Room(recipe.sample_rate, probability=recipe.room_probability, seed=recipe.seed),
            Shift(round(recipe.shift_ms * recipe.sample_rate / 1000)),
            Gain(-recipe.gain_db, recipe.gain_db),
        ]
        if self.noise is not None:
            transforms.append(
                Noise(
                    self.noise,
                    probability=recipe.noise_probability,
                    min_snr_db=recipe.min_snr_db,
                    max_snr_db=recipe.max_snr_db,
                )
            )
        if self.speech is not None:
            transforms.append(
                Noise(
                    self.speech,
                    probability=recipe.talk_probability,
                    min_snr_db=recipe.min_talk_snr_db,
                    max_snr_db=recipe.max_snr_db,
                )
            )
        self.transforms = torch.nn.Sequential(*transforms).to(device)
        self.mixup = Mixup(recipe.mixup)
        self.left_context = LeftContext(recipe.left_context_probability, speech=self.speech, noise=self.noise)

    def _noise_bank(self, recordings: Recordings) -> MixedBank:
        recipe = self.recipe
        recorded = WindowBank(recordings, recipe.samples)
        return MixedBank(recorded, SteadyNoise(recipe.samples, recipe.sample_rate), recipe.steady_noise_share)

    def _speech_bank(self, speech: Recordings, task: Task, trained: NDArray[np.int64]) -> WindowBank | MixedBank:
        recipe = self.recipe
        recorded = WindowBank(speech, recipe.samples).to(self.clips.device)
        if recipe.hard_share:
            self.hard_negatives = HardNegatives(recorded, recipe.sample_rate)
        if not recipe.chained_share:
            return recorded
        others = torch.from_numpy(trained[task.classes[trained] == task.labels.index(UNKNOWN)])
        chained = MixedBank(recorded, ChainedWords(self.clips, others, recipe.sample_rate), recipe.chained_share)
        return chained.to(self.clips.device)

    @torch.no_grad()
    def load_augmented(self, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the augmented waveforms of a training batch.

        Parameters
        ----------
        rows, labels
            [N] each, as `EpochSampler` draws them.

        Returns
        -------
        tuple of Tensor
            Waveforms [N, samples] and soft labels [N, classes].
        """
        device = self.clips.device
        waveform = self.clips.gather(rows.clamp(min=0))
        rows = rows.to(device)
        if self.speech is not None and (speech := (rows == SPEECH_ROW).nonzero().flatten()).numel():
            windows = self.speech.draw(len(speech))
            if self.hard_negatives is not None:
                windows = self.hard_negatives.replace_some(windows, self.recipe.hard_share)
            waveform[speech] = windows
        if self.speech is not None and (spliced := (rows == SPLICED_ROW).nonzero().flatten()).numel():
            words = self.clips.gather(self.words[torch.randint(len(self.words), (len(spliced),))])
            waveform[spliced] = splice(words, self.speech.draw(len(spliced)), self.recipe.sample_rate)
        waveform = self.transforms(waveform)
        if self.noise is not None and (silence := (rows == NOISE_ROW).nonzero().flatten()).numel():
            waveform[silence] = self._change_levels(self.noise.draw(len(silence)))
        targets = torch.nn.functional.one_hot(labels.to(device), self.classes).float()
        return self.mixup(waveform, targets)  # type: ignore[no-any-return]

    def load_plain(self, rows: Tensor) -> Tensor:
        """Return the waveforms [N, samples] of validation rows (clips and windows of silence) without augmentation."""
        waveform = self.clips.gather(rows.clamp(max=len(self.clips) - 1))
        rows = rows.to(waveform.device)
        silent = rows >= len(self.clips)
        waveform[silent] = self.silence[rows[silent] - len(self.clips)]
        return waveform

    def _change_levels(self, noise: Tensor) -> Tensor:
        """Return the noise of `_silence_` examples at random levels."""
        full = random_mask(len(noise), self.recipe.full_level_share, noise)
        return noise * torch.where(full, 1.0, from_db(uniform(len(noise), _MIN_SILENCE_DB, 0.0, noise)))
