"""The power spectrum as matrix products, for graphs that leave torch: STFT operators are poorly supported there."""

import math

import numpy as np
import torch
from torch import Tensor, nn


class FactoredDFT(nn.Module):
    """Power of a real DFT in two products with small matrices: frames [N, frames, size] -> [N, frames, rows * columns].

    A DFT of `size` = P x Q points is P-point DFTs of every Q-th sample, a turn of each result, and Q-point DFTs of those
    (Cooley and Tukey, Mathematics of Computation, 1965). At 480 = 20 x 24 points that takes a fifth of the multiplications
    of one product with the whole matrix, and a fiftieth of its constants.

    bins : [rows * columns] the frequency bin of each place of the result, in the order in which it comes out; places with a bin
    over size / 2 repeat others and are to be left out.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.rows = max(factor for factor in range(1, math.isqrt(size) + 1) if size % factor == 0)
        inner = size // self.rows
        self.columns = size // 2 // self.rows + 1
        rows, inners, columns = np.arange(self.rows), np.arange(inner), np.arange(self.columns)
        self.bins = (rows[:, None] + self.rows * columns).ravel()
        first = _turns(rows, rows, self.rows)
        turn = _turns(inners, rows, size)
        second = _turns(inners, columns, inner)
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


def _turns(rows: np.ndarray, columns: np.ndarray, size: int) -> np.ndarray:
    """Return exp(-2 pi i row column / size), complex [rows, columns]."""
    turns: np.ndarray = np.exp(-2j * np.pi * np.outer(rows, columns) / size)
    return turns
