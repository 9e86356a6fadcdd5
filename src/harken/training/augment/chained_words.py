"""Generate running speech by joining clips of single words.

It stands for real running speech where only few speakers were recorded.
"""

import torch
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.training.augment.random_draws import from_db, uniform
from harken.training.batches import ClipStore

_WORDS_PER_WINDOW = 4  # number of words joined; two or three of them fill a second
_ENERGY_SHARES = (0.01, 0.99)  # a word extends from the first to the second share of its clip's energy
_MARGIN_S = 0.02  # added before and after each word
_GAP_S = (0.0, 0.12)  # range of the gap after a word
_PEAK_DB = (-12.0, 0.0)  # range of a word's peak level, relative to full scale
_FADE_S = 0.01
_CLIPS_PER_BATCH = 256  # number of clips in which words are located at once
_MIN_PEAK = 1e-4  # three 16-bit steps; quieter clips are not amplified any further


class ChainedWords(nn.Module):
    """Generate windows, as long as a clip, in which words follow each other. Can be used in place of a WindowBank.

    The silence around each word is cut away. A window begins inside a word, as a window of real speech often does, and
    contains the beginnings and ends of further words. Levels are drawn uniformly in decibels.

    Parameters
    ----------
    clips
        All clips.
    rows
        Rows of the clips to use, [R], each equally likely.
    sample_rate
        In Hz.

    Raises
    ------
    HarkenError
        If there are no rows.
    """

    def __init__(self, clips: ClipStore, rows: Tensor, sample_rate: int) -> None:
        super().__init__()
        if not len(rows):
            raise HarkenError("no clips of other words to join into running speech: add some, or set chained_share=0")
        self.clips = clips
        self.rows = rows
        self.sample_rate = sample_rate
        self.margin = round(_MARGIN_S * sample_rate)
        bounds = [self._word_bounds(clips.gather(part)) for part in torch.split(rows, _CLIPS_PER_BATCH)]
        self.starts: Tensor
        self.lengths: Tensor
        self.register_buffer("starts", torch.cat([start for start, _ in bounds]), persistent=False)
        self.register_buffer("lengths", torch.cat([end - start for start, end in bounds]), persistent=False)

    def _word_bounds(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first sample of the word in each waveform [N, samples], and the sample after its last."""
        energy = waveform.square().cumsum(dim=1)
        total = energy[:, -1:]
        first, last = ((energy <= share * total).sum(dim=1) for share in _ENERGY_SHARES)
        return (first - self.margin).clamp(min=0), (last + self.margin).clamp(max=waveform.shape[1])

    def draw(self, count: int) -> Tensor:
        """Return `count` windows, float [count, samples], full scale 1.0."""
        device = self.starts.device
        which = torch.randint(len(self.rows), (count * _WORDS_PER_WINDOW,))
        waveform = self.clips.gather(self.rows[which])
        which = which.to(device)
        waveform = (
            waveform * from_db(uniform(len(which), *_PEAK_DB, waveform)) / waveform.abs().amax(1, True).clamp(_MIN_PEAK)
        )
        samples = waveform.shape[1]
        lengths = self.lengths[which].reshape(count, _WORDS_PER_WINDOW)
        gaps = (
            (uniform(count * _WORDS_PER_WINDOW, *_GAP_S, waveform) * self.sample_rate)
            .long()
            .reshape(count, _WORDS_PER_WINDOW)
        )
        ends = (lengths + gaps).cumsum(dim=1)
        begins = ends - lengths - gaps
        offset = (torch.rand(count, 1, device=device) * lengths[:, :1]).long()
        place = offset + torch.arange(samples, device=device)  # [count, samples], position in the joined words
        piece = torch.searchsorted(ends, place, right=True).clamp(max=_WORDS_PER_WINDOW - 1)
        within = place - begins.gather(1, piece)
        left = lengths.gather(1, piece) - within  # samples up to the end of the word
        source = self.starts[which].reshape(count, _WORDS_PER_WINDOW).gather(1, piece) + within
        found = waveform.reshape(count, -1).gather(1, piece * samples + source.clamp(max=samples - 1))
        fade = _FADE_S * self.sample_rate
        return found * (within / fade).clamp(max=1.0) * (left / fade).clamp(0.0, 1.0)
