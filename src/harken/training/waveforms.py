"""What the network hears: rows become waveforms, and in training waveforms are augmented, on the device."""

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
from harken.training.augment.random_draws import chosen, from_db, uniform
from harken.training.augment.splice import splice
from harken.training.batches import NOISE_ROW, SPEECH_ROW, SPLICED_ROW, ClipStore

_QUIETEST_DB = -60.0


class WaveformLoader:
    """Holds clips, noise and speech on the device, and turns rows of them into waveforms [N, samples]."""

    def __init__(self, task: Task, recipe: Recipe, device: torch.device) -> None:
        self.recipe = recipe
        self.classes = len(task.labels)
        self.clips = ClipStore(task.packed, device)
        self.silence = torch.from_numpy(task.silence_waveforms(recipe.samples)).to(device)
        self.noise = None if task.noise is None else self._noise(task.noise).to(device)
        trained = task.rows("train")
        self.words = torch.from_numpy(trained[task.classes[trained] < task.words])
        self.speech = None if task.speech is None else self._speech(task.speech, task, trained).to(device)
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

    def _noise(self, recordings: Recordings) -> MixedBank:
        recipe = self.recipe
        recorded = WindowBank(recordings, recipe.samples)
        return MixedBank(recorded, SteadyNoise(recipe.samples, recipe.sample_rate), recipe.steady_noise_share)

    def _speech(self, speech: Recordings, task: Task, trained: NDArray[np.int64]) -> WindowBank | MixedBank:
        recipe = self.recipe
        recorded = WindowBank(speech, recipe.samples)
        if not recipe.chained_share:
            return recorded
        others = torch.from_numpy(trained[task.classes[trained] == task.labels.index(UNKNOWN)])
        return MixedBank(recorded, ChainedWords(self.clips, others, recipe.sample_rate), recipe.chained_share)

    @torch.no_grad()
    def load_augmented(self, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return augmented waveforms and soft labels [N, classes] of one training batch."""
        device = self.clips.device
        waveform = self.clips.gather(rows.clamp(min=0))
        rows = rows.to(device)
        if self.speech is not None and (speech := (rows == SPEECH_ROW).nonzero().flatten()).numel():
            waveform[speech] = self.speech.draw(len(speech))
        if self.speech is not None and (spliced := (rows == SPLICED_ROW).nonzero().flatten()).numel():
            words = self.clips.gather(self.words[torch.randint(len(self.words), (len(spliced),))])
            waveform[spliced] = splice(words, self.speech.draw(len(spliced)), self.recipe.sample_rate)
        waveform = self.transforms(waveform)
        if self.noise is not None and (silence := (rows == NOISE_ROW).nonzero().flatten()).numel():
            waveform[silence] = self._silence(self.noise.draw(len(silence)))
        targets = torch.nn.functional.one_hot(labels.to(device), self.classes).float()
        return self.mixup(waveform, targets)  # type: ignore[no-any-return]

    def load_plain(self, rows: Tensor) -> Tensor:
        """Return the waveforms of validation rows, clips and windows of silence, as they are."""
        waveform = self.clips.gather(rows.clamp(max=len(self.clips) - 1))
        rows = rows.to(waveform.device)
        silent = rows >= len(self.clips)
        waveform[silent] = self.silence[rows[silent] - len(self.clips)]
        return waveform

    def _silence(self, noise: Tensor) -> Tensor:
        full = chosen(len(noise), self.recipe.full_level_share, noise)
        return noise * torch.where(full, 1.0, from_db(uniform(len(noise), _QUIETEST_DB, 0.0, noise)))
