"""Words one after another, in many voices: what stands for running speech where few people were recorded speaking."""

import torch
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.training.augment.random_draws import from_db, uniform
from harken.training.batches import ClipStore

_PIECES = 4  # words joined: a second holds two or three
_OF_ENERGY = (0.01, 0.99)  # of a clip's, between which its word lies
_MARGIN_S = 0.02  # more than that on either side
_GAP_S = (0.0, 0.12)  # after a word
_PEAK_DB = (-12.0, 0.0)  # of a word, full scale
_FADE_S = 0.01
_AT_ONCE = 256  # clips whose words are found together
_QUIET = 1e-4  # three 16-bit steps: a clip whose peak is lower is not raised to that of a word


class ChainedWords(nn.Module):
    """Makes windows as long as a clip in which the words of clips follow each other; in the place of a WindowBank.

    The silence around each word is cut away, so that a window begins within a word, as one cut from speech does, and holds
    the ends and beginnings of others. Levels are drawn evenly in decibels.

    clips : all rows; rows [R] : those to draw from, each as likely. Raises HarkenError when there is none.
    """

    def __init__(self, clips: ClipStore, rows: Tensor, sample_rate: int) -> None:
        super().__init__()
        if not len(rows):
            raise HarkenError("there is no clip of another word to chain: give some, or set chained_share to 0")
        self.clips = clips
        self.rows = rows
        self.sample_rate = sample_rate
        self.margin = round(_MARGIN_S * sample_rate)
        bounds = [self._bounds(clips.gather(part)) for part in torch.split(rows, _AT_ONCE)]
        self.starts: Tensor
        self.lengths: Tensor
        self.register_buffer("starts", torch.cat([start for start, _ in bounds]), persistent=False)
        self.register_buffer("lengths", torch.cat([end - start for start, end in bounds]), persistent=False)

    def _bounds(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first sample of the word in each of [N, samples], and the one after its last."""
        energy = waveform.square().cumsum(dim=1)
        total = energy[:, -1:]
        first, last = ((energy <= share * total).sum(dim=1) for share in _OF_ENERGY)
        return (first - self.margin).clamp(min=0), (last + self.margin).clamp(max=waveform.shape[1])

    def draw(self, count: int) -> Tensor:
        """Return `count` windows, float [count, samples], full scale 1.0."""
        device = self.starts.device
        which = torch.randint(len(self.rows), (count * _PIECES,))
        waveform = self.clips.gather(self.rows[which])
        which = which.to(device)
        waveform = (
            waveform * from_db(uniform(len(which), *_PEAK_DB, waveform)) / waveform.abs().amax(1, True).clamp(_QUIET)
        )
        samples = waveform.shape[1]
        lengths = self.lengths[which].reshape(count, _PIECES)
        gaps = (uniform(count * _PIECES, *_GAP_S, waveform) * self.sample_rate).long().reshape(count, _PIECES)
        ends = (lengths + gaps).cumsum(dim=1)
        begins = ends - lengths - gaps
        offset = (torch.rand(count, 1, device=device) * lengths[:, :1]).long()
        place = offset + torch.arange(samples, device=device)  # [count, samples], in the chain
        piece = torch.searchsorted(ends, place, right=True).clamp(max=_PIECES - 1)
        within = place - begins.gather(1, piece)
        left = lengths.gather(1, piece) - within  # to the end of the word
        source = self.starts[which].reshape(count, _PIECES).gather(1, piece) + within
        found = waveform.reshape(count, -1).gather(1, piece * samples + source.clamp(max=samples - 1))
        fade = _FADE_S * self.sample_rate
        return found * (within / fade).clamp(max=1.0) * (left / fade).clamp(0.0, 1.0)
