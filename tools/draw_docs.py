"""Draw the pictures of docs/explanation: signals and listeners as the library computes them, and three diagrams.

    python tools/draw_docs.py            # all of them, into docs/assets
    python tools/draw_docs.py lstm       # one

It needs `pip install 'harken[train,synth]'`: a synthetic voice speaks. Each picture is an SVG that follows the page's light
or dark mode, as `color-scheme` tells it.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from numpy.typing import NDArray
from scipy.stats import chi2

from harken.audio.clip import load_clip
from harken.models.frontend import LogMel
from harken.pages.drawing import FONT_PT, figure_svg, new_figure, style_axes
from harken.pages.html import COLORS
from harken.runtime.listener import Event, Listener
from harken.runtime.recognizer import Recognizer
from harken.runtime.two_stage import TwoStage
from harken.synth.voices import find_voice

FOLDER = Path(__file__).parents[1] / "docs" / "assets"
VOICE = "hibari-heart"
RATE = 16_000
WIDTH = 760.0  # CSS pixels
INK, SOFT, LINE, ACCENT, SECOND, PAPER = (
    COLORS[name][0] for name in ("ink", "soft", "line", "accent", "second", "paper")
)
_FONT = 'system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Liberation Sans",Arial,sans-serif'


def main() -> None:
    """Draw all pictures, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *PICTURES], help="of pictures; default: all")
    for name in parser.parse_args().names or PICTURES:
        draw, label = PICTURES[name]
        print(save(draw(), name, label))


def save(figure: Figure, name: str, label: str) -> Path:
    """Write a figure as docs/assets/NAME.svg. label : what a screen reader says of it."""
    drawing = str(figure_svg(figure, label=label))
    modes = [";".join(f"--{color}:{pair[mode]}" for color, pair in COLORS.items()) for mode in (0, 1)]
    style = (
        f"<style>svg{{{modes[0]};color-scheme:light dark}}@media(prefers-color-scheme:dark){{svg{{{modes[1]}}}}}"
        f"text{{font-family:{_FONT}}}</style>"
    )
    opening, body = drawing.split(">", 1)
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    path = FOLDER / f"{name}.svg"
    text = f'{opening.replace("<svg", f"<svg {names}", 1)} width="{width}" height="{height}">{style}{body}'
    path.write_text(re.sub(r"(\d\.\d{2})\d+", r"\1", text) + "\n", encoding="utf-8")
    return path


def spoken(text: str, peak: float = 0.7) -> NDArray[np.float32]:
    """Return a text in the synthetic voice, at 16 kHz."""
    waveform, rate = find_voice(VOICE).speak(text)
    sound = load_clip(waveform, RATE, source_rate=rate)
    return (peak * sound / np.abs(sound).max()).astype(np.float32)


def sound() -> Figure:
    """A word as a wave, closer up, and as a spectrogram."""
    word = spoken("yes")
    loudest = int(np.convolve(word**2, np.ones(800), "same").argmax())
    start, count = loudest - 240, 320  # 20 ms
    figure = new_figure(WIDTH, 400)
    grid = figure.add_gridspec(2, 2, height_ratios=(1, 1.4))
    whole, near, levels = (figure.add_subplot(grid[place]) for place in ((0, 0), (0, 1), (1, slice(None))))
    _wave(whole, word, ACCENT)
    whole.axvspan(start / RATE, (start + count) / RATE, color=SECOND, alpha=0.4, linewidth=0)
    _titled(whole, "“yes”: the pressure of the air", "time (s)")
    time = np.arange(count) * 1000 / RATE
    near.plot(time, word[start : start + count], color=SOFT, linewidth=0.8)
    near.plot(time, word[start : start + count], "o", color=SECOND, markersize=1.6)
    _titled(near, "20 ms of it, with the samples", "time (ms)")
    for axes in (whole, near):
        style_axes(axes)
        axes.set_ylim(-1, 1)
        axes.set_yticks([-1, 0, 1])
    levels.specgram(
        word,
        NFFT=400,
        Fs=RATE,
        noverlap=320,
        cmap=colormaps["magma"].resampled(48),
        vmin=-125,
        vmax=-45,
        interpolation="none",
    )
    levels.axhline(4_000, color="#ffffff", linewidth=0.8, linestyle="--")
    levels.text(0.012, 4_150, "8 kHz keeps what is below this line", color="#ffffff", fontsize=FONT_PT, va="bottom")
    levels.set_yticks([0, 2_000, 4_000, 6_000, 8_000], ["0", "2", "4", "6", "8"])
    levels.set_ylabel("frequency (kHz)")
    style_axes(levels)
    _titled(levels, "How strong each frequency is, over time", "time (s)")
    return figure


def convolution() -> Figure:
    """A kernel of the first layer's size over a waveform, and what comes out."""
    word = load_clip(spoken("yes"), 8_000, source_rate=RATE)
    middle = int(np.convolve(word**2, np.ones(400), "same").argmax())
    piece = word[middle - 60 : middle + 60]
    taps = np.arange(13)
    kernel = np.sin(2 * np.pi * taps / 6) * np.hanning(15)[1:-1]
    response = np.convolve(piece, kernel[::-1], "valid")
    figure = new_figure(WIDTH, 320)
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot(piece, color=SOFT, linewidth=1)
    at = int(response.argmax())
    upper.axvspan(at, at + 12, color=SECOND, alpha=0.16, linewidth=0)
    upper.plot(at + taps, 0.45 * kernel, color=SECOND, linewidth=1.6, marker="o", markersize=2.5)
    upper.text(at + 13.5, 0.55, "a kernel of 13 weights", color=SECOND, fontsize=FONT_PT, va="center")
    _titled(upper, "The waveform, 120 samples at 8 kHz", "")
    lower.plot(6 + np.arange(response.size), response, color=LINE, linewidth=1)
    lower.fill_between(6 + np.arange(response.size), np.maximum(response, 0), color=ACCENT, alpha=0.25, linewidth=0)
    lower.plot(6 + np.arange(response.size), np.maximum(response, 0), color=ACCENT, linewidth=1.4)
    lower.plot(at + 6, response[at], "o", color=ACCENT, markersize=5)
    _titled(lower, "One number for each place of the kernel; ReLU keeps the positive ones", "sample")
    for axes in (upper, lower):
        style_axes(axes)
        axes.set_yticks([0])
    return figure


def recurrence() -> Figure:
    """One cell, applied to frame after frame, its state handed on."""
    figure, axes = _canvas(WIDTH, 190)
    features = _log_mel(spoken("yes"))[:, 8:48]
    for number in range(5):
        left = 0.9 + 1.42 * number
        _box(axes, left, 0.9, 0.92, 0.42, "the cell", color=ACCENT)
        _arrow(axes, (left + 0.46, 0.56), (left + 0.46, 0.89))
        _arrow(axes, (left + 0.93, 1.11), (left + 1.41, 1.11), color=SECOND)
        frame = features[:, 2 + 8 * number : 5 + 8 * number]
        picture = axes.inset_axes((left + 0.34, 0.08, 0.24, 0.46), transform=axes.transData)
        picture.imshow(frame, aspect="auto", origin="lower", cmap="magma", vmin=features.min(), vmax=features.max())
        picture.set_axis_off()
        axes.text(left + 0.66, 0.3, f"frame {8 * number + 1}", fontsize=FONT_PT, color=SOFT, va="center")
    axes.text(0.06, 1.11, "empty state", fontsize=FONT_PT, color=SECOND, va="center")
    axes.text(3.05, 1.5, "the state: what is kept of all frames so far", fontsize=FONT_PT, color=SECOND)
    axes.text(7.92, 1.11, "…", fontsize=12, color=SECOND, va="center", ha="right")
    return figure


def lstm() -> Figure:
    """One LSTM cell with hand-set weights: its gates as it stores a burst, keeps it, and drops it."""
    steps = np.arange(60)
    wanted, reset = np.zeros(60), np.zeros(60)
    wanted[12:16] = 1
    wanted[24:26] = 0.35
    reset[44:46] = 1
    gates = {name: np.zeros(60) for name in ("input gate", "forget gate", "output gate")}
    state, output, cell = np.zeros(60), np.zeros(60), 0.0
    for step in steps:
        opened = _sigmoid(14 * wanted[step] - 8)
        kept = _sigmoid(5 - 14 * reset[step])
        shown = _sigmoid(8 * output[step - 1] - 1.5)  # at step 0, the last value, which is 0
        cell = kept * cell + opened * np.tanh(0.42 * wanted[step])
        gates["input gate"][step], gates["forget gate"][step], gates["output gate"][step] = opened, kept, shown
        state[step], output[step] = cell, shown * np.tanh(cell)
    figure = new_figure(WIDTH, 420)
    top, *middle, bottom = figure.subplots(5, 1, sharex=True, height_ratios=(1, 0.8, 0.8, 0.8, 1.3))
    top.step(steps, wanted, color=ACCENT, where="mid", linewidth=1.4)
    top.step(steps, reset, color=SECOND, where="mid", linewidth=1.4)
    top.text(12, 1.12, "the sound it looks for", color=ACCENT, fontsize=FONT_PT)
    top.text(24, 0.5, "too faint", color=ACCENT, fontsize=FONT_PT)
    top.text(44, 1.12, "the sound that ends it", color=SECOND, fontsize=FONT_PT)
    top.set_ylim(-0.1, 1.6)
    for axes, values in zip(middle, gates.values(), strict=True):
        axes.fill_between(steps, values, color=SOFT, alpha=0.25, step="mid", linewidth=0)
        axes.step(steps, values, color=SOFT, where="mid", linewidth=1.2)
        axes.set_ylim(0, 1.15)
    for axes, name in zip((top, *middle), ("inputs", *gates), strict=True):
        _beside(axes, name)
        style_axes(axes)
        axes.set_yticks([0, 1])
    bottom.step(steps, state, color=INK, where="mid", linewidth=1.8, label="cell state")
    bottom.step(steps, output, color=ACCENT, where="mid", linewidth=1.4, label="output")
    bottom.legend(frameon=False, fontsize=FONT_PT, labelcolor=INK, loc="upper left")
    _beside(bottom, "memory")
    bottom.set_xlabel("frame")
    style_axes(bottom)
    return figure


def front_end() -> Figure:
    """A waveform, its frames, and the log-mel energies that the graph of a model file computes."""
    word = spoken("yes")[:RATE]
    word = np.pad(word, (0, RATE - word.size))
    figure = new_figure(WIDTH, 330)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.4))
    _wave(upper, word, ACCENT)
    for number in range(4):
        start = 0.03 + 0.01 * number
        upper.plot(
            [start, start + 0.03], [0.78 - 0.13 * number] * 2, color=SECOND, linewidth=2.4, solid_capstyle="butt"
        )
    upper.text(0.105, 0.6, "frames of 30 ms,\none every 10 ms", color=SECOND, fontsize=FONT_PT, va="center")
    upper.set_ylim(-1, 1)
    upper.set_yticks([0])
    _titled(upper, "One second: 16,000 samples", "")
    features = _log_mel(word)
    lower.imshow(features, aspect="auto", origin="lower", cmap="magma", extent=(0.015, 0.985, 0, 40))
    lower.set_yticks([0, 20, 40])
    lower.set_ylabel("mel band")
    _titled(lower, "What the network looks at: 40 mel bands x 98 frames", "time (s)")
    for axes in (upper, lower):
        style_axes(axes)
    return figure


def pipeline() -> Figure:
    """From the microphone to an event, and what of it is inside the model file."""
    figure, axes = _canvas(WIDTH, 250)
    axes.add_patch(
        FancyBboxPatch(
            (2.62, 1.1),
            2.66,
            1.24,
            boxstyle="round,pad=0.02,rounding_size=0.1",
            facecolor=ACCENT,
            alpha=0.08,
            linewidth=0,
        )
    )
    axes.text(2.72, 2.16, "the model file", fontsize=FONT_PT, color=ACCENT, fontweight="bold")
    top = (
        (0.06, "microphone,\nfile or pipe", SOFT), (1.36, "resampler", SOFT), (2.74, "front-end:\nlog-mel", ACCENT),
        (4.06, "network", ACCENT), (5.6, "listener", SECOND), (6.82, "event", SECOND),
    )  # fmt: skip
    for left, text, color in top:
        _box(axes, left, 1.3, 1.06, 0.62, text, color=color)
    for left, text in ((1.13, ""), (2.43, "window"), (3.81, ""), (5.13, "probabilities"), (6.67, "")):
        _arrow(axes, (left, 1.61), (left + (0.46 if text == "probabilities" else 0.3 if text else 0.22), 1.61))
    axes.text(2.94, 1.02, "the last second,\nevery 100 ms", fontsize=FONT_PT, color=SOFT, ha="center", va="top")
    axes.text(5.36, 1.02, "one probability\nper class", fontsize=FONT_PT, color=SOFT, ha="center", va="top")
    axes.text(1.88, 1.02, "the model's rate,\nmono", fontsize=FONT_PT, color=SOFT, ha="center", va="top")
    steps = (
        "silent? then skip",
        "average 500 ms",
        "does it stand alone?",
        "over its threshold?",
        "1 s since the last?",
    )
    for number, text in enumerate(steps):
        left = 0.06 + 1.58 * number
        _box(axes, left, 0.12, 1.36, 0.42, text, color=SECOND)
        if number:
            _arrow(axes, (left - 0.21, 0.33), (left - 0.01, 0.33), color=SECOND)
    axes.plot([6.13, 6.13], [1.28, 0.78], color=SECOND, linewidth=0.8, linestyle=":")
    axes.plot([0.06, 7.74], [0.72, 0.72], color=SECOND, linewidth=0.8, linestyle=":")
    axes.text(7.74, 0.77, "inside the listener", fontsize=FONT_PT, color=SECOND, ha="right")
    return figure


def model_file() -> Figure:
    """What is inside a model file, and what goes in and out."""
    figure, axes = _canvas(WIDTH, 300)
    _frame(axes, 1.72, 0.1, 4.5, 2.9, "model.onnx")
    _box(axes, 1.9, 1.72, 1.9, 0.78, "front-end\nframes, DFT, mel, log", color=ACCENT)
    _box(axes, 4.12, 1.72, 1.9, 0.78, "network\nweights, softmax", color=ACCENT)
    _arrow(axes, (3.81, 2.11), (4.1, 2.11))
    _arrow(axes, (1.02, 2.11), (1.88, 2.11))
    _arrow(axes, (6.03, 2.11), (6.86, 2.11))
    axes.text(0.05, 2.11, "waveform\n[N, samples]", fontsize=FONT_PT, color=INK, va="center")
    axes.text(6.92, 2.11, "probabilities\n[N, classes]", fontsize=FONT_PT, color=INK, va="center")
    axes.text(1.9, 1.4, "metadata, as JSON", fontsize=FONT_PT, color=SECOND, fontweight="bold")
    columns = (
        ("labels", "sample_rate", "window", "thresholds"), ("listener", "temperature", "recipe", "corpus, clips"),
        ("validation_accuracy", "parameters", "license", "attribution"),
    )  # fmt: skip
    for column, keys in enumerate(columns):
        for row, key in enumerate(keys):
            axes.text(1.9 + 1.42 * column, 1.14 - 0.24 * row, key, fontsize=FONT_PT, color=INK)
    return figure


def listener() -> Figure:
    """Two words through a listener: each look of the network, the average, the threshold, the refractory time."""
    recognizer = Recognizer()
    pause = np.zeros(round(1.6 * RATE), np.float32)
    stream = np.concatenate([pause, spoken("yes"), pause[: round(1.1 * RATE)], spoken("go"), pause])
    stream += 0.0005 * np.random.default_rng(0).standard_normal(stream.size).astype(np.float32)
    heard = Listener(recognizer, source_rate=RATE, gate_db=-np.inf)
    padded = np.concatenate([np.zeros(RATE, np.float32), stream])
    times, raw, smooth, events = [], [], [], list[Event]()
    words = [heard.labels.index(word) for word in ("yes", "go")]
    for end in range(heard.hop, stream.size + 1, heard.hop):
        events += heard.push(stream[end - heard.hop : end])
        times.append(end / RATE)
        raw.append(recognizer.model.probabilities(padded[None, end : end + RATE])[0, words])
        smooth.append(heard.posteriors[words])
    figure, lower = _below_wave(stream, "“yes” … “go”", height_px=340, ratio=2)
    for number, (name, color) in enumerate((("yes", ACCENT), ("go", SECOND))):
        lower.plot(times, np.array(raw)[:, number], "o", color=color, markersize=2.6, alpha=0.7)
        lower.plot(times, np.array(smooth)[:, number], color=color, linewidth=1.6)
        limit = heard.settings.thresholds[name]
        near = next(event for event in events if event.word == name)
        lower.plot([near.end_s - 0.7, near.end_s + 0.7], [limit, limit], color=color, linewidth=0.8, linestyle="--")
        lower.axvspan(
            near.end_s, near.end_s + heard.settings.refractory_ms / 1000, color=color, alpha=0.12, linewidth=0
        )
        lower.axvline(near.end_s, color=color, linewidth=0.8)
        lower.text(near.end_s + 0.04, 1.06, f"event: {name}", fontsize=FONT_PT, color=INK)
        lower.text(near.end_s + 0.06, 0.05, "refractory time", fontsize=FONT_PT, color=SOFT)
    lower.set_ylim(0, 1.2)
    lower.set_yticks([0, 0.5, 1])
    lower.set_ylabel("probability")
    _titled(
        lower,
        "Dots: each look of the network. Line: the average of the last 500 ms. Dashes: the threshold.",
        "time (s)",
    )
    return figure


def isolation() -> Figure:
    """A sentence and a command through two listeners: one with isolation, one without."""
    sentence, command, threshold = "No, there was no answer.", "no", 0.6
    stream = _then(sentence, command)
    figure, lower = _below_wave(stream, f"“{sentence}” … “{command}”", height_px=320)
    lower.axhline(threshold, color=SECOND, linewidth=0.8, linestyle="--")
    lower.text(0, threshold + 0.03, "threshold", color=SECOND, fontsize=FONT_PT, va="bottom")
    recognizer = Recognizer()
    thresholds = dict.fromkeys(recognizer.card.words, threshold)
    for settings, color, width, name in (
        ({"isolation": 0.0}, SOFT, 1.2, "without isolation"),
        ({}, ACCENT, 1.8, "with isolation"),
    ):
        heard = Listener(recognizer, source_rate=RATE, thresholds=thresholds, **settings)
        times, scores, events = [], [], list[Event]()
        for end in range(heard.hop, stream.size + 1, heard.hop):
            events += heard.push(stream[end - heard.hop : end])
            times.append(heard.seconds)
            is_word = heard.labels[int(heard.posteriors.argmax())] in thresholds
            scores.append(heard.confidence if is_word else 0.0)
        lower.plot(times, scores, color=color, linewidth=width, label=name)
        for event in events:
            lower.plot(event.end_s, event.confidence, "o", color=color, markersize=5)
            if settings:  # without isolation there are all events; those with it have the same words
                lower.text(
                    event.end_s - 0.1, event.confidence + 0.06, event.word, fontsize=FONT_PT, color=INK, ha="right"
                )
    lower.set_ylim(0, 1.25)
    lower.set_yticks([0, 0.5, 1])
    lower.set_ylabel("confidence")
    lower.set_xlabel("time (s)")
    lower.legend(frameon=False, fontsize=FONT_PT, labelcolor=INK, loc="center left", bbox_to_anchor=(0, 0.25))
    return figure


def _then(sentence: str, command: str) -> NDArray[np.float32]:
    """Return a sentence and, after a pause, a command."""
    before, between, after = (np.zeros(round(seconds * RATE), np.float32) for seconds in (1.0, 1.8, 1.2))
    stream = np.concatenate([before, spoken(sentence), between, spoken(command), after])
    return stream + 0.001 * np.random.default_rng(0).standard_normal(stream.size).astype(np.float32)


def _below_wave(
    stream: NDArray[np.float32], title: str, *, height_px: float, ratio: float = 1.6
) -> tuple[Figure, Axes]:
    """Return a figure with a wave, and the axes below it, which have the same times. ratio : of their heights."""
    figure = new_figure(WIDTH, height_px)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, ratio))
    _wave(upper, stream, SOFT)
    upper.set_ylim(-1, 1)
    upper.set_yticks([])
    _titled(upper, title, "")
    for axes in (upper, lower):
        style_axes(axes)
    upper.spines[:].set_visible(False)
    upper.tick_params(bottom=False)
    return figure, lower


def two_stages() -> Figure:
    """A sentence and a command through two models: where the first one finds something like a word, the second one runs."""
    sentence, command = "No one was at home, so we left.", "stop"
    stream = _then(sentence, command)
    models = TwoStage("base.stream", "large")
    heard, first = Listener(models, source_rate=RATE), Listener(models.first, source_rate=RATE, smoothing_ms=100)
    words = [first.labels.index(word) for word in models.card.words]
    events, times, sums = list[Event](), [], []
    for end in range(heard.hop, stream.size + 1, heard.hop):
        first.push(stream[end - heard.hop : end])
        events += heard.push(stream[end - heard.hop : end])
        times.append(heard.seconds)
        sums.append(float(first.posteriors[words].sum()))
    figure, lower = _below_wave(stream, f"“{sentence}” … “{command}”", height_px=300)
    lower.plot(times, np.maximum(sums, 1e-4), color=SOFT, linewidth=1.4)
    lower.axhline(models.wake_at, color=SECOND, linewidth=0.8, linestyle="--")
    lower.text(0, models.wake_at * 1.3, f"{models.wake_at:g}", color=SECOND, fontsize=FONT_PT, va="bottom")
    asked = np.array(sums) >= models.wake_at
    step = heard.hop / RATE
    for axes in figure.axes:
        for time in np.array(times)[asked]:
            axes.axvspan(time - step, time, color=ACCENT, alpha=0.2, linewidth=0)
    for event in events:
        lower.axvline(event.end_s, color=ACCENT, linewidth=1.2)
        lower.text(event.end_s + 0.05, 1.6, f"event: {event.word}", fontsize=FONT_PT, color=INK)
    lower.set_yscale("log")
    lower.set_ylim(8e-5, 4)
    _titled(
        lower,
        "Line: the sum of the words' probabilities by base.stream. "
        f"Shaded: large classifies, {100 * asked.mean():.0f} % of the time.",
        "time (s)",
    )
    return figure


def false_alarms() -> Figure:
    """How uncertain a rate is, by how many false alarms were counted."""
    figure = new_figure(WIDTH, 250)
    axes = figure.add_subplot()
    hours = np.array([1, 3, 10, 24, 100])
    for place, (length, rate) in enumerate((length, 1.0) for length in hours):
        count = round(rate * length)
        low = chi2.ppf(0.025, 2 * count) / 2 / length if count else 0.0
        high = chi2.ppf(0.975, 2 * count + 2) / 2 / length
        axes.plot([low, high], [place, place], color=ACCENT, linewidth=5, alpha=0.35, solid_capstyle="butt")
        axes.plot(count / length, place, "o", color=ACCENT, markersize=6)
        axes.text(high + 0.12, place, f"{low:.1f} to {high:.1f}", fontsize=FONT_PT, color=INK, va="center")
    names = [f"{round(length)} in {length:g} h" for length in hours]
    axes.set_yticks(range(len(hours)), names)
    axes.set_xlim(0, 8.6)
    axes.set_ylim(len(hours) - 0.4, -0.6)
    axes.set_xlabel("false alarms per hour, with the 95 % interval")
    style_axes(axes)
    axes.grid(axis="x", color=SOFT, alpha=0.22, linewidth=0.8)
    return figure


def _wave(axes: Axes, samples: NDArray[np.float32], color: str) -> None:
    """Draw a waveform as what lies between its highest and its lowest values, in 500 columns."""
    columns = np.array_split(samples, 500)
    times = np.linspace(0, samples.size / RATE, len(columns))
    low, high = ([edge(column) for column in columns] for edge in (np.min, np.max))
    axes.fill_between(times, low, high, color=color, linewidth=0.4)


def _log_mel(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    features: NDArray[np.float32] = LogMel(RATE)(torch.from_numpy(waveform)[None])[0].numpy()
    return features


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def _titled(axes: Axes, title: str, below: str) -> None:
    axes.set_title(title, fontsize=FONT_PT, color=INK, loc="left")
    if below:
        axes.set_xlabel(below)


def _beside(axes: Axes, name: str) -> None:
    axes.set_ylabel(name, rotation=0, ha="right", va="center")


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Return empty axes in units of 96 pixels, the origin at the lower left."""
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width / 96)
    axes.set_ylim(0, height / 96)
    axes.set_axis_off()
    return figure, axes


def _box(axes: Axes, left: float, bottom: float, width: float, height: float, text: str, *, color: str) -> None:
    shape = "round,pad=0,rounding_size=0.07"
    axes.add_patch(
        FancyBboxPatch((left, bottom), width, height, boxstyle=shape, facecolor="none", edgecolor=color, linewidth=1.1)
    )
    axes.text(left + width / 2, bottom + height / 2, text, fontsize=FONT_PT, color=INK, ha="center", va="center")


def _frame(axes: Axes, left: float, bottom: float, width: float, height: float, title: str) -> None:
    shape = "round,pad=0,rounding_size=0.1"
    axes.add_patch(
        FancyBboxPatch((left, bottom), width, height, boxstyle=shape, facecolor="none", edgecolor=SOFT, linewidth=1.4)
    )
    axes.text(left + 0.18, bottom + height - 0.28, title, fontsize=FONT_PT + 1, color=SOFT, fontweight="bold")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], *, color: str = SOFT) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=8, color=color, linewidth=1.1, shrinkA=0, shrinkB=0
        )
    )


PICTURES: dict[str, tuple[Callable[[], Figure], str]] = {
    "sound": (sound, "The word yes as a waveform, 20 milliseconds of it with its samples, and its spectrogram"),
    "convolution": (convolution, "A kernel of 13 weights over a waveform, and its response after ReLU"),
    "recurrence": (recurrence, "A recurrent cell applied to one frame after another, handing on its state"),
    "lstm": (
        lstm,
        "Inputs, gates, cell state and output of an LSTM cell that stores a sound until another one ends it",
    ),
    "front-end": (front_end, "One second of sound, its frames, and its log-mel energies"),
    "pipeline": (pipeline, "From microphone through resampler, front-end and network to the listener and an event"),
    "model-file": (
        model_file,
        "A model file: front-end and network, waveform in, probabilities out, metadata beside them",
    ),
    "listener": (listener, "Two spoken words, the network's probabilities, their average, thresholds and two events"),
    "isolation": (
        isolation,
        "A sentence and, after a pause, a command; the confidence of a listener with isolation and of one without it",
    ),
    "two-stages": (
        two_stages,
        "A sentence and a command; the probability of a word by base.stream, and where it is high enough for large to check",
    ),
    "false-alarms": (false_alarms, "One false alarm per hour, measured over 1 hour to 100 hours, with intervals"),
}


if __name__ == "__main__":
    main()
