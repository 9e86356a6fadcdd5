"""Train harken's speech embedding, which reproduces Google's (needs torch and the extra `own`).

    python tools/train_embedding.py examples --speech SPEECH --words WORDS --noise NOISE... --out EXAMPLES [--pass N]
    python tools/train_embedding.py train --examples EXAMPLES --out CHECKPOINT [--start CHECKPOINT]
    python tools/train_embedding.py export CHECKPOINT

examples   distorts recordings, places them in rooms, and adds noise and softer speech by others. Writes the log-mel features of
           that, and Google's embeddings of the recordings without it: the network learns to ignore noise, rooms, and speech in
           the background. Each pass draws other distortions. Labels are not needed.
train      trains the network to reproduce the embeddings. Starts with the weights of --start, and continues from CHECKPOINT if
           it exists.
export     folds the batch normalization into the convolutions, and writes src/harken/weights/embedding.npz

    --speech  running speech: DIR/SET+SPEAKER-*.flac, for example dev1462-1462-170138-0000.flac. LibriSpeech's speakers
              from 3001 on are left out, since the benchmarks of enrollment use them.
    --words   Speech Commands: DIR/WORD/*.wav. Only the training side is used.
    --noise   DIR/**/*.ogg, *.wav or *.flac. Of ESC-10, give folds 1 and 2: benchmarks use fold 3.

Training takes about 80 minutes on one core: 7,000 steps of 82 seconds of audio.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path

import numpy as np
import onnxruntime
import soxr
import torch
import torch.nn.functional as F
from build_bank import on_training_side, rms
from numpy.typing import NDArray
from torch import Tensor, nn

from harken.audio.clip import load_clip
from harken.enrollment.bank import load_bank
from harken.files import replacing
from harken.models.encoders import load_embedding
from harken.models.harken_embedding import BLOCKS, CHANNELS, MEL_CENTER, MEL_SCALE, harken_embedding
from harken.models.onnx_bytes import Tensor as OnnxTensor
from harken.models.onnx_bytes import model
from harken.models.speech_embedding import DIMENSIONS, MEL_BANDS, SAMPLE_RATE, STEP, mel_nodes, samples_of
from harken.training.augment.room import Room

STEPS = 64  # embeddings in an example
LAST_SPEAKER = 3000
BATCH = 16  # examples
ROOM_SHARE = 0.2  # of the examples, which are placed in a simulated room
TALK_SHARE = 0.6  # of the examples, which have other people's speech behind them
TALK_MARGIN_DB = 3.0  # what is not this much louder than the speech behind it is drowned
LEARNING_RATE = 0.004
WARMUP = 200  # steps
LENGTH_WEIGHT = 0.3  # of the squared error, beside the cosine
OUT = Path("src/harken/weights/embedding.npz")

Samples = NDArray[np.float32]


class EmbeddingNetwork(nn.Module):
    """The network of `harken.models.harken_embedding` with batch normalization: mel [N, frames, 32] -> [N, steps, 96]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = _normalized(nn.Conv2d(1, CHANNELS[0], 3, stride=(1, 2), padding=(0, 1), bias=False))
        stages: list[nn.Module] = []
        for stage, (channels, blocks) in enumerate(zip(CHANNELS, BLOCKS, strict=True)):
            if stage:
                wider = _normalized(nn.Conv2d(CHANNELS[stage - 1], channels, 1, bias=False))
                stages.append(nn.Sequential(nn.MaxPool2d(2), wider, nn.ReLU()))
            stages += [_Block(channels) for _ in range(blocks)]
        self.stages = nn.Sequential(*stages)
        self.last = nn.Conv2d(CHANNELS[-1], DIMENSIONS, (1, 2))

    def forward(self, mel: Tensor) -> Tensor:
        x = F.relu(self.first(((mel - MEL_CENTER) * MEL_SCALE).unsqueeze(1)))
        embeddings: Tensor = self.last(self.stages(x)).squeeze(3).transpose(1, 2)
        return embeddings


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = _normalized(nn.Conv2d(channels, channels, 3, padding=(0, 1), groups=channels, bias=False))
        self.pointwise = _normalized(nn.Conv2d(channels, channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x[:, :, 1:-1] + self.pointwise(F.relu(self.depthwise(x))))


def _normalized(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels))


def main() -> None:
    """Run the part that is named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("examples")
    part.add_argument("--speech", type=Path, required=True)
    part.add_argument("--words", type=Path, required=True)
    part.add_argument("--noise", type=Path, nargs="+", required=True)
    part.add_argument("--out", type=Path, required=True)
    part.add_argument("--pass", type=int, default=0, dest="number")
    part = parts.add_parser("train")
    part.add_argument("--examples", type=Path, required=True)
    part.add_argument("--out", type=Path, required=True)
    part.add_argument("--steps", type=int, default=7000)
    part.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    part.add_argument("--start", type=Path)
    part.add_argument("--seed", type=int, default=0)
    part = parts.add_parser("export")
    part.add_argument("checkpoint", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.part == "examples":
        write_examples(arguments.speech, arguments.words, arguments.noise, arguments.out, arguments.number)
    elif arguments.part == "train":
        train(
            arguments.examples,
            arguments.out,
            arguments.steps,
            learning_rate=arguments.learning_rate,
            start=arguments.start,
            seed=arguments.seed,
        )
    else:
        export(arguments.checkpoint)


def write_examples(speech: Path, words: Path, noise: list[Path], out: Path, number: int) -> None:
    """Write the log-mel features [examples, frames, 32] and the embeddings [examples, steps, 96] of a pass."""
    rng = np.random.default_rng(100 + number)
    loud = load_noise(noise)
    torch.manual_seed(number)
    room = Room(SAMPLE_RATE, probability=ROOM_SHARE)
    teacher = _teacher()
    size = samples_of(STEPS)
    others = pieces(chain.from_iterable(speech_of(speech, rng) for _ in count()), size)
    mels, embeddings = [], []
    for recordings in (speech_of(speech, rng), words_of(words, rng)):
        for samples in pieces(recordings, size):
            talk = softer(next(others), samples, rng) if rng.random() < TALK_SHARE else None
            noisy, clean, gain = distorted(samples, talk, loud, room, rng)
            (mel,) = teacher.run(["mel"], {"waveform": noisy[None]})
            (embedded,) = teacher.run(["embeddings"], {"waveform": clean[None]})
            if talk is not None:
                # In a pause, the speech behind it is all that is heard.
                drowned = loudest(talk) * 10 ** (TALK_MARGIN_DB / 20) > loudest(samples)
                (both,) = teacher.run(["embeddings"], {"waveform": (clean + gain * talk)[None]})
                embedded[0, drowned] = both[0, drowned]
            mels.append(mel[0].astype(np.float16))
            embeddings.append(embedded[0].astype(np.float16))
    out.mkdir(parents=True, exist_ok=True)
    for name, values in (("mel", mels), ("embeddings", embeddings)):
        with replacing(out / f"{name}_{number}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, np.array(values))
    print(f"{len(mels)} examples, {len(mels) * STEPS * 0.08 / 3600:.1f} hours")


def load_noise(folders: list[Path]) -> list[Samples]:
    """Return the recordings of noise that are not silent."""
    paths = [path for folder in folders for path in sorted(folder.rglob("*"))]
    clips = [load_clip(path, SAMPLE_RATE) for path in paths if path.suffix in (".ogg", ".wav", ".flac")]
    return [clip for clip in clips if rms(clip) > 1e-4]


def _teacher() -> onnxruntime.InferenceSession:
    embedding = load_embedding("google")
    content = model(
        [*mel_nodes("waveform", "mel"), *embedding.nodes("mel", "embeddings")],
        embedding.constants,
        [OnnxTensor("waveform", ("clips", "samples"))],
        [OnnxTensor("embeddings", ("clips", "steps", DIMENSIONS)), OnnxTensor("mel", ("clips", "frames", MEL_BANDS))],
        {},
    )
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def speech_of(folder: Path, rng: np.random.Generator) -> Iterator[Samples]:
    """Yield running speech in random order: most of it faster or slower, a tenth backward."""
    paths = [path for path in sorted(folder.glob("*.flac")) if may_train(path)]
    for index in rng.permutation(len(paths)):
        yield varied(load_clip(paths[index], SAMPLE_RATE), rng)


def may_train(path: Path) -> bool:
    """Return whether a recording of running speech is by a speaker that benchmarks of enrollment do not use."""
    speaker = speaker_of(path)
    return speaker.startswith("ocean") or int(speaker) <= LAST_SPEAKER


def speaker_of(path: Path) -> str:
    """Return the speaker of SET+SPEAKER-*.flac: LibriSpeech's number, or the whole first part for speechocean762."""
    first, second = path.stem.split("-")[:2]
    return first if first.startswith("ocean") else second


def words_of(folder: Path, rng: np.random.Generator) -> Iterator[Samples]:
    """Yield clips of words in random order, at random levels, with a part of the pauses cut off."""
    paths = [path for path in sorted(folder.glob("[!_]*/*.wav")) if on_training_side(path)]
    for index in rng.permutation(len(paths)):
        clip = load_clip(paths[index], SAMPLE_RATE)
        clip = varied(clip / max(1e-3, float(np.abs(clip).max())) * np.float32(rng.uniform(0.3, 1)), rng)
        yield clip[rng.integers(2000) : clip.size - rng.integers(4000)]


def varied(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return a recording at another speed and pitch, or backward, or as it is."""
    if rng.random() < 0.7:
        speed = float(np.exp(rng.uniform(np.log(0.8), np.log(1.25))))
        samples = soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE).astype(np.float32)
    return samples[::-1] if rng.random() < 0.1 else samples


def pieces(recordings: Iterator[Samples], size: int) -> Iterator[Samples]:
    """Join recordings, and yield pieces of a size. Neighboring pieces overlap a little, so that no embedding is lost."""
    waiting: list[Samples] = []
    for recording in recordings:
        waiting.append(recording)
        if sum(part.size for part in waiting) >= size:
            joined = np.concatenate(waiting)
            yield joined[:size].copy()
            waiting = [joined[size - samples_of(0) :]]


def softer(talk: Samples, samples: Samples, rng: np.random.Generator) -> Samples:
    """Return other speech at a level below that of the speech that it is added to."""
    level = rms(samples) * 10 ** (-rng.uniform(3, 28) / 20)
    return talk * np.float32(level / max(rms(talk), 1e-6))


def loudest(samples: Samples) -> NDArray[np.float32]:
    """Return the level of the loudest 80 ms that each embedding covers, [steps]."""
    frames = samples[: samples.size // STEP * STEP].reshape(-1, STEP)
    levels = np.sqrt(np.square(frames).mean(axis=1))
    covered = samples_of(1) // STEP
    return np.lib.stride_tricks.sliding_window_view(levels, covered).max(axis=1)[:STEPS]


def distorted(
    samples: Samples, talk: Samples | None, noise: list[Samples], room: Room, rng: np.random.Generator
) -> tuple[Samples, Samples, np.float32]:
    """Return samples with another spectral tilt and level: distorted, and clean; and the factor of the level."""
    if rng.random() < 0.5:
        samples[1:] -= np.float32(rng.uniform(-0.5, 0.5)) * samples[:-1]
    noisy = room(torch.from_numpy(samples)[None])[0].numpy()
    if talk is not None:
        noisy = noisy + talk
    if rng.random() < 0.7:
        level = rms(samples) * 10 ** (-rng.uniform(0, 25) / 20)
        noisy = noisy + np.float32(level) * noise_of(samples.size, noise, rng)
    gain = np.float32(10 ** (-rng.uniform(0, 30) / 20) / np.abs(noisy).max())
    return gain * noisy, gain * samples, gain


def noise_of(size: int, noise: list[Samples], rng: np.random.Generator) -> Samples:
    """Return random noise of unit level: parts of up to 5 s of random recordings."""
    parts: list[Samples] = []
    while sum(part.size for part in parts) < size:
        clip = noise[int(rng.integers(len(noise)))]
        start = int(rng.integers(max(1, clip.size - 80_000)))
        part = clip[start : start + 80_000]
        parts.append(part / max(rms(part), 1e-6))
    return np.concatenate(parts)[:size]


class Examples:
    """The examples of all passes.

    Parameters
    ----------
    folder
        Folder that `write_examples` wrote.
    """

    def __init__(self, folder: Path) -> None:
        self._mels = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("mel_*.npy"))]
        self._targets = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("embeddings_*.npy"))]
        self._places = [(number, index) for number, part in enumerate(self._mels) for index in range(len(part))]
        self._waiting: list[tuple[int, int]] = []
        self._center = torch.from_numpy(load_bank("google").speech.mean)
        first = np.asarray(self._targets[0][::20], np.float32).reshape(-1, DIMENSIONS)
        self._variance = float(first.var(axis=0).sum())

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return log-mel features [count, frames, 32] and Google's embeddings [count, STEPS, 96].

        An example is drawn again only after nearly all of the others.
        """
        if len(self._waiting) < count:
            self._waiting = [self._places[index] for index in rng.permutation(len(self._places))]
        chosen = [self._waiting.pop() for _ in range(count)]
        mel, target = (
            torch.from_numpy(np.stack([parts[number][index] for number, index in chosen]).astype(np.float32))
            for parts in (self._mels, self._targets)
        )
        return mel, target

    def loss(self, embedded: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of reproducing the target [N, steps, 96], and the mean cosine, which is a part of it."""
        cosine = F.cosine_similarity(embedded - self._center, target - self._center, dim=-1).mean()
        squared_error = (embedded - target).square().sum(dim=-1).mean() / self._variance
        return LENGTH_WEIGHT * squared_error - cosine, cosine


def train(folder: Path, out: Path, steps: int, *, learning_rate: float, start: Path | None, seed: int) -> None:
    """Train the network on the examples of all passes."""
    examples = Examples(folder)
    network = EmbeddingNetwork()
    if start is not None:
        network.load_state_dict(torch.load(start)["network"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.99))
    first = 0
    if out.exists():
        state = torch.load(out)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    rng = np.random.default_rng((seed, first))
    cosines: list[float] = []
    started = time.monotonic()
    for step in range(first, steps):
        mel, target = examples.draw(BATCH, rng)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (min(1, step / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.002)
        loss, cosine = examples.loss(network(mel), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        cosines.append(float(cosine))
        if (step + 1) % 100 == 0 or step + 1 == steps:
            seconds = (time.monotonic() - started) / (step + 1 - first)
            print(f"step {step + 1}: cosine {np.mean(cosines[-100:]):.4f}, {seconds:.2f} s a step", file=sys.stderr)
            with replacing(out) as temporary:
                state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
                torch.save(state, temporary)


@torch.no_grad()
def export(checkpoint: Path) -> None:
    """Write the weights that harken ships, and check them."""
    network = EmbeddingNetwork()
    network.load_state_dict(torch.load(checkpoint)["network"])
    network.eval()
    weights: dict[str, NDArray[np.float32]] = {}
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for number, convolution in enumerate(convolutions):
        weight, bias = convolution.weight, convolution.bias
        if convolution is not network.last:
            norm = norms[number]
            assert norm.running_var is not None
            assert norm.running_mean is not None
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            weight, bias = weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
        assert bias is not None
        weights[f"weights_{number}"], weights[f"bias_{number}"] = weight.numpy(), bias.numpy()
    mel = np.random.default_rng(0).uniform(4, 14, (2, 200, MEL_BANDS)).astype(np.float32)
    embedding = harken_embedding(dict(weights))
    content = model(
        embedding.nodes("mel", "embeddings"),
        embedding.constants,
        [OnnxTensor("mel", ("clips", "frames", MEL_BANDS))],
        [OnnxTensor("embeddings", ("clips", "steps", DIMENSIONS))],
        {},
    )
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    difference = np.abs(session.run(None, {"mel": mel})[0] - network(torch.from_numpy(mel)).numpy()).max()
    if difference > 1e-3:
        raise SystemExit(f"the exported network differs from the trained one by {difference:.2g}: nothing was written")
    with replacing(OUT) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **weights)  # type: ignore[arg-type]
    count = sum(values.size for values in weights.values())
    print(f"{OUT}: {count:,} weights, largest difference from the trained network {difference:.2g}")


if __name__ == "__main__":
    main()
