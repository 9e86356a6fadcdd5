"""The power spectrum as matrix products, for exported graphs, in which STFT operators are poorly supported."""

import math

import numpy as np
import torch
from torch import Tensor, nn


class FactoredDFT(nn.Module):
    """Power of a real DFT by products with two small matrices: frames [N, frames, size] -> [N, frames, rows * columns].

    A DFT of `size` = P x Q points consists of P-point DFTs of every Q-th sample, a rotation of each result, and Q-point DFTs
    of those (Cooley and Tukey, Mathematics of Computation, 1965). For 480 = 20 x 24 points, that needs a fifth of the
    multiplications of a product with the whole matrix, and a fiftieth of its constants.

    The attribute `bins` [rows * columns] gives the frequency bin of each value of the result. Values with a bin above
    size / 2 repeat others and should be ignored.

    Parameters
    ----------
    size
        Number of samples in a frame.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.rows = max(factor for factor in range(1, math.isqrt(size) + 1) if size % factor == 0)
        inner = size // self.rows
        self.columns = size // 2 // self.rows + 1
        rows, inners, columns = np.arange(self.rows), np.arange(inner), np.arange(self.columns)
        self.bins = (rows[:, None] + self.rows * columns).ravel()
        first = _rotations(rows, rows, self.rows)
        turn = _rotations(inners, rows, size)
        second = _rotations(inners, columns, inner)
        self.first: Tensor
        self.turn: Tensor
        self.second: Tensor
        real_to_complex = np.concatenate([first.real, first.imag], axis=1)
        complex_to_complex = np.block([[second.real, second.imag], [-second.imag, second.real]])
        for name, matrix in (
            ("first", real_to_complex),
            ("turn", np.stack([turn.real, turn.imag])),
            ("second", complex_to_complex),
        ):
            self.register_buffer(name, torch.tensor(matrix, dtype=torch.float32), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        count = frames.shape[1]
        sliced = frames.reshape(-1, count, self.rows, frames.shape[2] // self.rows).transpose(2, 3)
        real, imaginary = (sliced @ self.first).chunk(2, dim=-1)
        cosine, sine = self.turn
        turned = torch.cat([real * cosine - imaginary * sine, real * sine + imaginary * cosine], dim=2)
        real, imaginary = (turned.transpose(2, 3) @ self.second).chunk(2, dim=-1)
        return (real * real + imaginary * imaginary).reshape(-1, count, self.rows * self.columns)


def _rotations(rows: np.ndarray, columns: np.ndarray, size: int) -> np.ndarray:
    """Return exp(-2 pi i row column / size), complex [rows, columns]."""
    rotations: np.ndarray = np.exp(-2j * np.pi * np.outer(rows, columns) / size)
    return rotations
