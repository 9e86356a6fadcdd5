"""The front-end of Google's speech embedding as a torch module: waveforms [N, samples] -> features [N, 32, frames]."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harken.errors import HarkenError
from harken.models.speech_embedding import FFT, FULL_SCALE, HOP, MEL_BANDS, MEL_FLOOR, SAMPLE_RATE, mel_matrices


class SpeechMel(nn.Module):
    """Log-mel energies as the speech embedding was trained on: [N, samples] -> [N, 32, frames].

    It computes frames of 512 samples every 160, a periodic Hann window of 400 samples in their middle, the power spectrum,
    and 32 triangular mel filters from 60 to 3,800 Hz on Slaney's scale with area normalization. These are the constants of
    the published model, which `harken.models.speech_embedding` reads from a package. Here they are calculated.

    The result is the natural logarithm of energies at full scale 1.0, as that of `LogMel`. The network converts it. In
    training, an FFT computes the spectrum. In a graph captured by torch, as for every export, a convolution computes it.

    Parameters
    ----------
    sample_rate
        In Hz. It must be 16,000.

    Raises
    ------
    HarkenError
        If the sample rate is another one.
    """

    bands = MEL_BANDS

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        if sample_rate != SAMPLE_RATE:
            raise HarkenError(f"the speech embedding needs sample_rate={SAMPLE_RATE}, not {sample_rate}")
        self.sample_rate = sample_rate
        self.window = FFT
        self.hop = HOP
        self.bins, hann, transform, filters = mel_matrices()
        self.hann: Tensor
        self.transform: Tensor
        self.filters: Tensor
        for name, values in (("hann", hann), ("transform", transform[:, None]), ("filters", filters)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)

    def frames(self, samples: int) -> int:
        """Return the number of frames for a waveform of `samples`."""
        return max(0, 1 + (samples - self.window) // self.hop)

    def forward(self, waveform: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            spectrum = F.conv1d(waveform.unsqueeze(1), self.transform, stride=self.hop).transpose(1, 2)
            real, imaginary = spectrum.chunk(2, dim=-1)
        else:
            frames = waveform.unfold(-1, self.window, self.hop) * self.hann
            spectrum = torch.view_as_real(torch.fft.rfft(frames)[..., self.bins])
            real, imaginary = spectrum.unbind(-1)
        mel = (real.square() + imaginary.square()) @ self.filters
        return mel.clamp(min=MEL_FLOOR / FULL_SCALE**2).log().transpose(1, 2)
