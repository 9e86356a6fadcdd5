"""Refine harken's speech embedding with pairs of recordings of the same phrase (needs torch).

    python tools/refine_embedding.py train --start CHECKPOINT --examples EXAMPLES --speech SPEECH --aligned WORDS.tsv
        --words WORDS --noise NOISE... --out REFINED
    python tools/refine_embedding.py mix CHECKPOINT REFINED --share 0.5 --out CHECKPOINT

train   a phrase has to score higher against another recording of it than against other speech. The scores are those of
        enrolled phrases: the best alignment with a template (harken.enrollment.templates). The loss is InfoNCE (A. van den Oord
        et al., 2018, arXiv:1807.03748). Half of each batch are examples of tools/train_embedding.py, so that the network
        still reproduces Google's embedding. Continues from REFINED if it exists.
mix     the average of the weights before and after is better than both on phrases that were not learned (M. Wortsman et al.,
        2022, arXiv:2109.01903).

SPEECH, WORDS, NOISE and EXAMPLES are as in tools/train_embedding.py. tools/align_words.py writes WORDS.tsv.
"""

import argparse
import copy
import math
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from phrase_pairs import PhrasePairs
from torch import Tensor, nn
from train_embedding import EmbeddingNetwork, Examples, load_noise

from harken.enrollment.bank import load_bank
from harken.enrollment.takes import FIRST_S, LAST_S
from harken.files import replacing
from harken.models.onnx_bytes import Tensor as OnnxTensor
from harken.models.onnx_bytes import model
from harken.models.speech_embedding import (
    DIMENSIONS,
    FRAMES,
    MEL_BANDS,
    SAMPLE_RATE,
    STEP,
    STRIDE,
    mel_constants,
    mel_nodes,
    samples_of,
)
from harken.training.augment.room import Room

PAIRS = 10  # in a batch
WINDOW = 28  # embeddings of a window
EXAMPLES = 8  # in a batch, each cut into two windows
LONGEST_TEMPLATE = 20  # embeddings
LEARNING_RATE = 0.001
WARMUP = 200  # steps
PAIR_WEIGHT = 0.15  # of the loss of the pairs
TEMPERATURE = 0.04
REMEMBERED = 40  # batches whose windows are compared with the phrases, too
HARDEST = 12  # of the remembered windows, for each phrase
TYPICAL = 1024  # remembered embeddings that stand for speech in general
SPEECH_WEIGHT = 0.5  # of the similarity to typical speech, as in the bank
AVERAGED = 0.998  # the weights that are written are a moving average
NEVER = -9.0  # a score below any other


def main() -> None:
    """Run the part that is named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("train")
    for name in ("start", "examples", "speech", "aligned", "words", "out"):
        part.add_argument(f"--{name}", type=Path, required=True)
    part.add_argument("--noise", type=Path, nargs="+", required=True)
    part.add_argument("--steps", type=int, default=2000)
    part = parts.add_parser("mix")
    part.add_argument("before", type=Path)
    part.add_argument("refined", type=Path)
    part.add_argument("--share", type=float, required=True)
    part.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.part == "mix":
        mix(arguments.before, arguments.refined, arguments.share, arguments.out)
        return
    torch.set_num_threads(1)
    torch.manual_seed(0)
    noise = load_noise(arguments.noise)
    pairs = PhrasePairs(arguments.speech, arguments.aligned, arguments.words, noise, np.random.default_rng(1))
    print(pairs.summary(), file=sys.stderr)
    Refinement(pairs, Examples(arguments.examples), arguments.start).train(arguments.out, arguments.steps)


class Refinement:
    """The training.

    Parameters
    ----------
    pairs
        Pairs of phrases.
    examples
        Examples of tools/train_embedding.py.
    start
        Checkpoint of tools/train_embedding.py.
    """

    def __init__(self, pairs: PhrasePairs, examples: Examples, start: Path) -> None:
        self.pairs = pairs
        self.examples = examples
        self.network = EmbeddingNetwork()
        self.network.load_state_dict(torch.load(start)["network"])
        self.averaged = copy.deepcopy(self.network)
        self.room = Room(SAMPLE_RATE, probability=0.2)
        self.mean = torch.from_numpy(load_bank("harken").speech.mean)
        self.memory: list[tuple[Tensor, list[frozenset[str]]]] = []
        content = model(
            mel_nodes("waveform", "mel"),
            mel_constants(),
            [OnnxTensor("waveform", ("clips", "samples"))],
            [OnnxTensor("mel", ("clips", "frames", MEL_BANDS))],
            {},
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.mel = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def train(self, out: Path, steps: int) -> None:
        """Train, and write checkpoints."""
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.99))
        first = 0
        if out.exists():
            state = torch.load(out)
            self.network.load_state_dict(state["trained"])
            self.averaged.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            first = state["step"]
        rng = np.random.default_rng(1000 + first)
        figures: list[tuple[float, float]] = []
        started = time.monotonic()
        for step in range(first, steps):
            for group in optimizer.param_groups:
                decay = 0.5 * (1 + math.cos(math.pi * step / steps))
                group["lr"] = LEARNING_RATE * (min(1, step / WARMUP) * decay + 0.01)
            example, target = halves(*self.examples.draw(EXAMPLES, rng))
            mel, places, words, heard = self.windows(rng)
            embedded = self.network(torch.cat([example, mel]))
            difference, cosine = self.examples.loss(embedded[: len(example)], target)
            normalized = F.normalize(embedded[len(example) :] - self.mean, dim=-1)
            loss = self.pair_loss(normalized, places, words, heard)
            optimizer.zero_grad()
            (difference + PAIR_WEIGHT * loss).backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            optimizer.step()
            self.average(min(AVERAGED, (step + 1) / (step + 51)))
            self.memory = [*self.memory, (normalized.detach(), heard)][-REMEMBERED:]
            figures.append((cosine.item(), loss.item()))
            if (step + 1) % 100 == 0 or step + 1 == steps:
                seconds = (time.monotonic() - started) / (step + 1 - first)
                mean_cosine, mean_loss = np.mean(figures[-100:], axis=0)
                line = f"step {step + 1}: cosine {mean_cosine:.4f}, pairs {mean_loss:.3f}, {seconds:.2f} s a step"
                print(line, file=sys.stderr)
                with replacing(out) as temporary:
                    state = {"network": self.averaged.state_dict(), "trained": self.network.state_dict()}
                    torch.save({**state, "optimizer": optimizer.state_dict(), "step": step + 1}, temporary)

    def windows(
        self, rng: np.random.Generator
    ) -> tuple[Tensor, list[tuple[int, int]], list[frozenset[str]], list[frozenset[str]]]:
        """Return windows with phrases: one phrase in each two neighboring windows.

        Returns
        -------
        tuple
            Log-mel features [N, frames, 32]; the first step of each phrase and the one after its last; the words of each
            phrase; and the words that may be heard in each window.
        """
        size, first = samples_of(WINDOW), samples_of(1)
        phrases = [phrase for _ in range(PAIRS) for phrase in self.pairs.draw(rng)]
        views = [self.pairs.view(phrase, size, rng) for phrase in phrases]
        speech = self.room(torch.from_numpy(np.stack([view[0] for view in views]))).numpy()
        noisy = speech + np.stack([view[1] for view in views])
        peak = np.abs(noisy).max(axis=1, keepdims=True) + np.float32(1e-6)
        loud = noisy / peak * 10 ** (-rng.uniform(0, 30, (len(views), 1)) / 20).astype(np.float32)
        places = []
        for _, _, start, end in views:
            begin = max(0, round((start + FIRST_S * SAMPLE_RATE - first) / STEP))
            stop = max(begin + 2, round((end + LAST_S * SAMPLE_RATE - first) / STEP)) + 1
            places.append((begin, min(stop, begin + LONGEST_TEMPLATE, WINDOW)))
        (mel,) = self.mel.run(["mel"], {"waveform": loud})
        heard = [self.pairs.words[phrase.recording] for phrase in phrases]
        return torch.from_numpy(mel), places, [phrase.words for phrase in phrases], heard

    def pair_loss(
        self,
        normalized: Tensor,
        places: list[tuple[int, int]],
        words: list[frozenset[str]],
        heard: list[frozenset[str]],
    ) -> Tensor:
        """Return the loss of telling each phrase's other recording from other windows, those of this batch and earlier ones.

        A window in which a word of the phrase may be heard does not count as another one.
        """
        if len(self.memory) < 4:
            return torch.zeros(())
        count, longest = len(places), max(stop - begin for begin, stop in places)
        templates = torch.stack(
            [
                F.pad(normalized[row, begin:stop], (0, 0, longest - (stop - begin), 0))
                for row, (begin, stop) in enumerate(places)
            ]
        )
        lengths = torch.tensor([float(stop - begin) for begin, stop in places])
        remembered = torch.cat([embedded for embedded, _ in self.memory])
        flat = remembered.reshape(-1, DIMENSIONS)
        typical = flat[torch.randint(len(flat), (TYPICAL,))]
        shared = excluded(words, heard) | torch.eye(count, dtype=torch.bool)
        scores = alignment(templates, normalized[None], speech_cost(normalized[None], typical), lengths)
        other_recording = torch.arange(count) ^ 1
        right = scores[torch.arange(count), other_recording]
        with torch.no_grad():
            known = excluded(words, [window for _, windows in self.memory for window in windows])
            cost = speech_cost(remembered[None], typical)
            all_scores = torch.cat(
                [
                    alignment(templates[row : row + 1], remembered[None], cost, lengths[row : row + 1])
                    for row in range(count)
                ]
            )
            hardest = all_scores.masked_fill(known, NEVER).topk(HARDEST, dim=1).indices
        hard_scores = alignment(templates, remembered[hardest], cost[0, hardest], lengths)
        hard_scores = hard_scores.masked_fill(known.gather(1, hardest), NEVER)
        wrong = torch.cat([scores.masked_fill(shared, NEVER), hard_scores], dim=1)
        logits = torch.cat([right[:, None], wrong], dim=1) / TEMPERATURE
        return (torch.logsumexp(logits, dim=1) - logits[:, 0]).mean()

    @torch.no_grad()
    def average(self, kept: float) -> None:
        """Move the averaged weights toward the trained ones."""
        trained = self.network.state_dict()
        for name, values in self.averaged.state_dict().items():
            if values.is_floating_point():
                values.lerp_(trained[name], 1 - kept)
            else:
                values.copy_(trained[name])


def halves(mel: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Cut two windows out of each example: its first WINDOW embeddings, and its last."""
    frames = FRAMES + STRIDE * (WINDOW - 1)
    return torch.cat([mel[:, :frames], mel[:, -frames:]]), torch.cat([target[:, :WINDOW], target[:, -WINDOW:]])


def excluded(words: list[frozenset[str]], heard: list[frozenset[str]]) -> Tensor:
    """Return whether a word of each phrase may be heard in each window, [phrases, windows]."""
    return torch.tensor([[not spoken.isdisjoint(window) for window in heard] for spoken in words])


@torch.no_grad()
def speech_cost(windows: Tensor, typical: Tensor) -> Tensor:
    """Return what each moment of windows [..., steps, 96] loses for its similarity to typical speech, [..., steps]."""
    return SPEECH_WEIGHT * (windows @ typical.T).amax(dim=-1)


def alignment(templates: Tensor, windows: Tensor, cost: Tensor, lengths: Tensor) -> Tensor:
    """Return the score [A, N] of each template in each of its windows, as `harken.enrollment.templates` computes it.

    Parameters
    ----------
    templates
        Normalized embeddings [A, longest, 96], padded with zeros at their start.
    windows
        Normalized embeddings [A, N, steps, 96], or [1, N, steps, 96] for the same windows for all templates.
    cost
        Their `speech_cost`.
    lengths
        Number of steps of each template [A].
    """
    longest = templates.shape[1]
    exists = torch.arange(longest) >= longest - lengths[:, None]
    similarities = torch.einsum("alc,ansc->alns", templates, windows.expand(len(templates), -1, -1, -1)) - cost[:, None]
    similarities = similarities * exists[:, :, None, None]
    best = similarities[:, 0]
    for step in range(1, longest):
        earlier = F.pad(best, (2, 0), value=NEVER)
        reached = torch.maximum(best, torch.maximum(earlier[..., 1:-1], earlier[..., :-2]))
        best = reached + similarities[:, step]
    return best.amax(dim=-1) / lengths[:, None]


def mix(before: Path, refined: Path, share: float, out: Path) -> None:
    """Write the weighted mean of two checkpoints. `share` is that of the refined one."""
    first, second = (torch.load(path)["network"] for path in (before, refined))
    mixed = {
        name: torch.lerp(values, second[name], share) if values.is_floating_point() else values
        for name, values in first.items()
    }
    with replacing(out) as temporary:
        torch.save({"network": mixed}, temporary)


if __name__ == "__main__":
    main()
