"""Plots of a corpus and of a clip, for notebooks and for the page of `harken corpus show`.

clips_per_word, speakers_per_word    bars, the most frequent word on top
durations, peak_levels               histograms of an inspected corpus
waveform                             amplitude over time
spectrogram                          level over time and frequency, on a linear or a logarithmic frequency axis
clip_views                           waveform and both spectrograms of a clip, one below the other

Each returns a matplotlib Figure with a transparent background. A notebook shows it after `%matplotlib inline`.
"""

from collections import Counter, defaultdict
from typing import Literal

import numpy as np
from matplotlib import colormaps, mlab
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from harken.corpus.problems import Inspection
from harken.corpus.table import Corpus
from harken.pages.drawing import FONT_PT, new_figure, style_axes
from harken.pages.html import COLORS

FrequencyAxis = Literal["linear", "log"]

MOST_WORDS = 60
"""Number of words in a bar plot, the most frequent ones. More would not be legible."""

LOWEST_HZ = 60.0
"""Start of the logarithmic frequency axis, below the human voice."""

RANGE_DB = 70.0
"""Range of a spectrogram below its loudest point, in dB."""

_WINDOW_S = 0.025
_HOP_S = 0.005
_ROWS = 160  # rows in the image of a spectrogram
_LOG_TICKS_HZ = (100, 300, 1_000, 3_000, 10_000, 30_000)
_COLUMNS = 400  # points of a waveform's envelope
_LOG_ABOVE = 30  # ratio of the highest to the median bar above which a logarithmic scale is used
_MOST_BINS = 60
_SHADES = colormaps["magma"].resampled(128)  # more shades look the same, and double the size of a page
_WIDTH = 400.0  # CSS pixels


def clips_per_word(corpus: Corpus) -> Figure:
    """Return a bar plot of the number of clips of each word."""
    return _bars(corpus, Counter(clip.word for clip in corpus.clips), "clips", "accent")


def speakers_per_word(corpus: Corpus) -> Figure:
    """Return a bar plot of the number of known speakers of each word, in the order of `clips_per_word`."""
    speakers: dict[str, set[str]] = defaultdict(set)
    for clip in corpus.clips:
        if clip.speaker:
            speakers[clip.word].add(clip.speaker)
    return _bars(corpus, {word: len(names) for word, names in speakers.items()}, "speakers", "second")


def words_by_size(corpus: Corpus) -> list[str]:
    """Return the words, the most frequent first, then in alphabetical order."""
    counts = Counter(clip.word for clip in corpus.clips)
    return sorted(counts, key=lambda word: (-counts[word], word))


def durations(inspection: Inspection) -> Figure:
    """Return a histogram of clip lengths in seconds."""
    return _histogram(inspection.durations_s, "length (s)", 0.05, centered=True)


def peak_levels(inspection: Inspection) -> Figure:
    """Return a histogram of the clips' highest samples, in dB relative to full scale."""
    return _histogram(inspection.peaks_db, "peak level (dB of full scale)", 2.0, centered=False)


def waveform(samples: NDArray[np.float32], sample_rate: int) -> Figure:
    """Return a plot of a clip's amplitude over time.

    Parameters
    ----------
    samples
        [samples], full scale 1.0.
    sample_rate
        In Hz.
    """
    figure = new_figure(_WIDTH, 140)
    axes = figure.add_subplot()
    _draw_waveform(axes, samples, sample_rate)
    axes.set_xlabel("time (s)")
    style_axes(axes)
    return figure


def spectrogram(samples: NDArray[np.float32], sample_rate: int, *, frequency_axis: FrequencyAxis = "linear") -> Figure:
    """Return a plot of a clip's level over time and frequency, with a color bar.

    It shows power spectra of 25 ms Hann windows every 5 ms, in dB below the loudest point.

    Parameters
    ----------
    samples
        [samples], full scale 1.0.
    sample_rate
        In Hz.
    frequency_axis
        `linear`, or `log` for an axis that starts at 60 Hz.
    """
    figure = new_figure(_WIDTH, 210)
    axes, bar = figure.subplots(1, 2, width_ratios=[1, 0.025])
    _draw_color_bar(bar, _draw_spectrogram(axes, samples, sample_rate, frequency_axis))
    axes.set_xlabel("time (s)")
    style_axes(axes)
    return figure


def clip_views(samples: NDArray[np.float32], sample_rate: int) -> Figure:
    """Return waveform, linear and logarithmic spectrogram of a clip with a common time axis, sized for a card on a page."""
    figure = new_figure(320, 384)
    # Positions are fixed, so that the panels of all cards on a page line up. Constrained layout also takes twice as long.
    figure.set_layout_engine("none")
    grid = figure.add_gridspec(
        3,
        2,
        height_ratios=[0.6, 1, 1],
        width_ratios=[1, 0.035],
        left=0.165,
        right=0.842,
        bottom=0.1,
        top=0.985,
        hspace=0.14,
        wspace=0.06,
    )
    top, middle, bottom = (figure.add_subplot(grid[row, 0]) for row in range(3))
    _draw_waveform(top, samples, sample_rate)
    _draw_spectrogram(middle, samples, sample_rate, "linear")
    image = _draw_spectrogram(bottom, samples, sample_rate, "log")
    _draw_color_bar(figure.add_subplot(grid[1:, 1]), image)
    for axes in (top, middle, bottom):
        style_axes(axes)
        axes.yaxis.set_label_coords(-0.2, 0.5)
    for axes in (top, middle):
        axes.tick_params(labelbottom=False)
    bottom.set_xlabel("time (s)")
    return figure


def _bars(corpus: Corpus, counts: dict[str, int], unit: str, color: str) -> Figure:
    words = words_by_size(corpus)
    shown = words[:MOST_WORDS]
    figure = new_figure(_WIDTH, 56 + 17 * len(shown))
    axes = figure.add_subplot()
    values = [counts.get(word, 0) for word in shown]
    bars = axes.barh(range(len(shown)), values, height=0.66, color=COLORS[color][0])
    axes.bar_label(bars, [f"{value:,}" for value in values], padding=4, fontsize=FONT_PT, color=COLORS["soft"][0])
    axes.set_yticks(range(len(shown)), shown, parse_math=False)  # A "$" in a word begins no formula.
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, max(1, *values) * 1.12)
    _count_ticks(axes.xaxis)
    axes.set_xlabel(
        unit if len(shown) == len(words) else f"{unit} (the {MOST_WORDS} most frequent of {len(words):,} words)"
    )
    style_axes(axes)
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _histogram(values: NDArray[np.float64], label: str, width: float, *, centered: bool) -> Figure:
    """Draw a histogram. Its bins are `width` or a multiple of it wide, and centered on multiples of their width or between."""
    figure = new_figure(_WIDTH, 195)
    axes = figure.add_subplot()
    read = values[np.isfinite(values)]
    span = np.ptp(read) if read.size else 0.0
    width *= max(1, round(span / width / _MOST_BINS))
    first = np.floor(read.min() / width) if read.size else 0
    last = np.ceil(read.max() / width) if read.size else 1
    edges = (np.arange(first, last + 1 + centered) - centered / 2) * width
    counts, _, _ = axes.hist(read, edges.tolist(), rwidth=0.86, color=COLORS["accent"][0])
    filled = np.asarray(counts)[np.asarray(counts) > 0]
    axes.set_xlabel(label)
    axes.set_ylabel("clips")
    if filled.size and filled.max() > _LOG_ABOVE * np.median(filled):
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)
        axes.set_ylabel("clips (logarithmic)")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        _count_ticks(axes.yaxis)
    style_axes(axes, grid=True)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _count_ticks(axis: Axis) -> None:
    axis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _draw_waveform(axes: Axes, samples: NDArray[np.float32], sample_rate: int) -> None:
    # The lowest and highest sample of each column look like a line through all samples.
    starts = np.linspace(0, samples.size, min(_COLUMNS, samples.size), endpoint=False).astype(int)
    low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    axes.fill_between(starts / sample_rate, low, high, color=COLORS["accent"][0], linewidth=0.5)
    most = max(float(np.abs(samples).max()), 1e-4)
    ten = 10 ** np.floor(np.log10(most))
    tick = float(max(step * ten for step in (1, 2, 5) if step * ten <= most))
    axes.set_yticks([-tick, 0, tick])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}")))
    axes.set_ylim(-1.1 * most, 1.1 * most)
    axes.set_xlim(0, samples.size / sample_rate)
    axes.set_ylabel("amplitude")


def _draw_spectrogram(
    axes: Axes, samples: NDArray[np.float32], sample_rate: int, frequency_axis: FrequencyAxis
) -> QuadMesh:
    level, hertz, seconds = _levels_db(samples, sample_rate)
    top = sample_rate / 2
    if frequency_axis == "log":
        rows = np.geomspace(LOWEST_HZ, top, _ROWS)
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(FixedLocator([hz for hz in _LOG_TICKS_HZ if LOWEST_HZ <= hz <= top]))
    else:
        rows = np.linspace(0, top, _ROWS)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    level = np.stack([np.interp(rows, hertz, frame) for frame in level.T], axis=1)
    image = axes.pcolormesh(
        seconds, rows, level, vmin=-RANGE_DB, vmax=0, cmap=_SHADES, shading="nearest", rasterized=True
    )
    axes.set_xlim(0, samples.size / sample_rate)
    axes.set_ylim(rows[0], top)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}"))
    axes.set_ylabel("log frequency (kHz)" if frequency_axis == "log" else "frequency (kHz)")
    return image


def _draw_color_bar(axes: Axes, image: QuadMesh) -> None:
    shades = np.linspace(-RANGE_DB, 0, 128)[:, None]
    axes.imshow(
        shades, aspect="auto", origin="lower", extent=(0, 1, -RANGE_DB, 0), cmap=image.cmap, vmin=-RANGE_DB, vmax=0
    )
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_yticks([0, -20, -40, -60])
    axes.set_xticks([])
    axes.set_ylabel("level (dB, loudest = 0)")
    style_axes(axes)
    axes.spines[:].set_visible(False)


def _levels_db(samples: NDArray[np.float32], sample_rate: int) -> tuple[NDArray[np.float64], ...]:
    """Return levels [bins, frames] in dB below the loudest, the bins' frequencies in Hz, the frames' times in s."""
    window = round(_WINDOW_S * sample_rate)
    hop = round(_HOP_S * sample_rate)
    # Silence on both sides centers the first frame at time zero, and gives even the shortest clip two frames.
    padded = np.pad(samples, (window // 2, window // 2 + hop))
    # Four times as many points as the window needs, so that low frequencies are smooth on the logarithmic axis.
    points = 1 << (4 * window - 1).bit_length()
    drawn = mlab.specgram(
        padded, NFFT=window, Fs=sample_rate, noverlap=window - hop, pad_to=points, window=np.hanning(window)
    )
    power, hertz = np.asarray(drawn[0], np.float64), np.asarray(drawn[1], np.float64)
    power = np.maximum(power, max(float(power.max()), 1e-20) * 10 ** (-RANGE_DB / 10))
    level = 10 * np.log10(power / max(float(power.max()), 1e-20))
    return level, hertz, np.arange(level.shape[1]) * hop / sample_rate
