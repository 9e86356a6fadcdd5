"""Plot an evaluation, for notebooks and for the report.

training_curves        loss and accuracy over epochs, with the best epoch marked
confusion_heat_map     spoken words against recognized words
word_scores            misses and wrong predictions of each word
reliability            predicted probability against accuracy
rejection_curve        words missed against other sounds accepted, as the threshold changes
accuracy_against_snr, accuracy_against_shift, accuracy_against_gain    accuracy with altered clips

Each returns a matplotlib Figure with a transparent background. A notebook shows it after `%matplotlib inline`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from harken.evaluation.clips.det import det_curve, score_at_thresholds
from harken.evaluation.clips.evaluate import ClipEvaluation
from harken.evaluation.clips.robustness import Point, Robustness
from harken.evaluation.metrics import wilson_interval
from harken.labels import SILENCE, UNKNOWN
from harken.pages.drawing import FONT_PT, blend, contrast, new_figure, style_axes
from harken.pages.html import COLORS

_WIDTH = 430.0  # CSS pixels, for a figure in half a page
_MATRIX_WIDTH = 480.0
_INK, _SOFT, _GROUND = (COLORS[name][0] for name in ("ink", "soft", "card"))
_LINE = (_SOFT, 0.35)  # transparent, to fit any background
_ACCENT, _SECOND = COLORS["accent"][0], COLORS["second"][0]
_MIN_CONTRAST = 4.5  # for small text (WCAG 2, level AA)
_BLACK = "#000000"  # Strong orange needs black text in both modes: neither ink nor card is readable on it in both.

MOST_WITH_PERCENTAGES = 16
"""Up to this number of classes, a cell of the heat map has room for count and percentage."""

_DET_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9)  # fractions


def training_curves(history: Sequence[dict[str, float]]) -> Figure:
    """Plot loss and accuracy over epochs. The epoch with the best validation accuracy is marked.

    Parameters
    ----------
    history
        The rows of `harken.tasks.history.read_history`.
    """
    epochs = np.array([row["epoch"] for row in history])
    best = int(np.argmax([row["validation_accuracy"] for row in history]))
    figure = new_figure(_WIDTH, 360)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, measure, scale in ((upper, "loss", 1), (lower, "accuracy", 100)):
        for side, color in (("train", _SECOND), ("validation", _ACCENT)):
            values = scale * np.array([row[f"{side}_{measure}"] for row in history])
            axes.plot(epochs, values, color=color, linewidth=1.6, marker="o" * (len(history) == 1), label=side)
            if side == "validation":
                axes.plot(epochs[best], values[best], "o", color=color, markersize=5)
        axes.axvline(epochs[best], color=_SOFT, linewidth=0.8, linestyle=(0, (3, 3)), zorder=0)
        axes.set_ylabel(measure + " (%)" * (scale == 100))
        axes.margins(x=0.02)
        style_axes(axes, grid=True)
    _legend(upper)
    lower.set_xlabel(f"epoch (best: {epochs[best]:.0f})")
    lower.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    figure.align_ylabels([upper, lower])
    return figure


def confusion_heat_map(evaluation: ClipEvaluation) -> Figure:
    """Plot the confusion matrix: a row for each spoken class, a column for each recognized class.

    A cell holds the count and its percentage of the row. With more than 16 classes there is no room for that: the
    percentage of right answers is then at the end of the row. Right answers are blue and wrong ones orange; the color is
    stronger the larger their share of the row.
    """
    labels, counts = evaluation.card.labels, evaluation.confusion
    size, roomy = len(labels), len(evaluation.card.labels) <= MOST_WITH_PERCENTAGES
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = new_figure(*((_MATRIX_WIDTH, _MATRIX_WIDTH) if roomy else (1040, 130 + 25 * size)))
    axes = figure.add_subplot()
    rows, columns = np.nonzero(counts)
    right = rows == columns
    # Squared for right answers and square-rooted for wrong ones, to show differences where the shares usually are.
    strength = np.where(right, shares[rows, columns] ** 2, np.minimum(1.3 * np.sqrt(shares[rows, columns]), 0.9))
    for color, chosen in ((_ACCENT, right), (_SECOND, ~right)):
        cells = [Rectangle((x - 0.5, y - 0.5), 1, 1) for x, y in zip(columns[chosen], rows[chosen], strict=True)]
        axes.add_collection(
            PatchCollection(cells, facecolors=[(color, float(alpha)) for alpha in strength[chosen]], edgecolors="none")
        )
    for row, column, alpha in zip(rows.tolist(), columns.tolist(), strength.tolist(), strict=True):
        color = text_color_on("accent" if row == column else "second", alpha)
        count = f"{counts[row, column]}"
        if roomy:
            axes.text(column, row - 0.16, count, ha="center", va="center", color=color, fontsize=FONT_PT)
            share = f"{_percent(shares[row, column])} %"
            axes.text(column, row + 0.24, share, ha="center", va="center", color=color, fontsize=FONT_PT - 2.5)
        else:
            axes.text(column, row, count, ha="center", va="center", color=color, fontsize=FONT_PT - 1)
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(size - 0.5, -0.5)
    axes.set_xticks(range(size), labels, rotation=90 if size > 6 else 0, parse_math=False)
    axes.set_yticks(range(size), labels, parse_math=False)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("recognized")
    axes.set_ylabel("spoken")
    style_axes(axes)
    axes.tick_params(length=0, labelcolor=_INK)
    axes.spines[:].set(visible=True, color=_LINE)
    for edge in np.arange(0.5, size - 1):
        axes.axhline(edge, color=(_SOFT, 0.2), linewidth=0.5, zorder=0)
        axes.axvline(edge, color=(_SOFT, 0.2), linewidth=0.5, zorder=0)
    if not roomy:
        for row in np.flatnonzero(counts.sum(axis=1)).tolist():
            share = f"{_percent(shares[row, row])} %"
            axes.text(size - 0.3, row, share, va="center", color=_SOFT, fontsize=FONT_PT - 1)
    return figure


def word_scores(evaluation: ClipEvaluation) -> Figure:
    """Plot how much each class lacks of full recall (missed) and of full precision (wrong predictions), worst first.

    The thin lines are 95 % Wilson intervals. With more than 16 classes the bars are vertical. Classes without clips are
    left out.
    """
    labels, hits = evaluation.card.labels, np.diag(evaluation.confusion)
    lacking = [np.nan_to_num([1 - score.recall, 1 - score.precision]).sum() for score in evaluation.words]
    order = [index for index in np.argsort(-np.array(lacking), kind="stable").tolist() if evaluation.words[index].clips]
    horizontal = len(labels) <= MOST_WITH_PERCENTAGES
    figure = new_figure(*((_WIDTH, 65 + 30 * len(order)) if horizontal else (1040, 320)))
    axes = figure.add_subplot()
    highest = 0.0
    for name, color, totals, offset in (
        ("missed (1 − recall)", _ACCENT, evaluation.confusion.sum(axis=1), -0.19),
        ("wrong predictions (1 − precision)", _SECOND, evaluation.confusion.sum(axis=0), 0.19),
    ):
        seen = [(place + offset, index) for place, index in enumerate(order) if totals[index]]
        places = [place for place, _ in seen]
        wrong = [(int(totals[index] - hits[index]), int(totals[index])) for _, index in seen]
        sizes = [100 * count / total for count, total in wrong]
        low, high = 100 * np.reshape([wilson_interval(*pair) for pair in wrong], (-1, 2)).T
        bars, lines = (axes.barh, axes.hlines) if horizontal else (axes.bar, axes.vlines)
        bars(places, sizes, 0.34, color=color, alpha=0.6, label=name)  # transparent, so that the lines stand out
        lines(places, low, high, color=_INK, linewidth=0.8)
        highest = max([highest, *high])
    end = min(100.0, max(2.0, 1.04 * highest))
    names = [labels[index] for index in order]
    style_axes(axes, grid=not horizontal)
    if horizontal:
        axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6), xlim=(0, end), xlabel="%")
        _lines_across_x(axes)
    else:
        axes.set(xlim=(-0.6, len(names) - 0.4), ylim=(0, end), ylabel="%")
        axes.set_xticks(range(len(names)), names, rotation=90, parse_math=False)
    axes.spines[["bottom", "left"]].set_visible(False)
    axes.tick_params(axis="y" if horizontal else "x", length=0, labelcolor=_INK)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=FONT_PT, labelcolor=_SOFT)
    return figure


def reliability(evaluation: ClipEvaluation) -> Figure:
    """Plot predicted probability against accuracy with 95 % Wilson intervals, above the number of clips in each bin."""
    bins = evaluation.calibration
    filled = np.flatnonzero(bins.counts)
    figure = new_figure(_WIDTH, 360)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 100], [0, 100], color=_SOFT, linewidth=0.8, linestyle=(0, (3, 3)))
    intervals = [wilson_interval(round(bins.accuracy[i] * bins.counts[i]), int(bins.counts[i])) for i in filled]
    predicted = 100 * bins.predicted[filled]
    low, high = 100 * np.reshape(intervals, (-1, 2)).T
    upper.vlines(predicted, low, high, color=_ACCENT, linewidth=1)
    upper.plot(predicted, 100 * bins.accuracy[filled], "o-", color=_ACCENT, markersize=4, linewidth=1.2)
    upper.set_ylabel("accuracy (%)")
    upper.set_ylim(-2, 102)
    lower.bar(
        100 * bins.edges[:-1],
        bins.counts,
        width=100 * np.diff(bins.edges) * 0.86,
        align="edge",
        color=_ACCENT,
        alpha=0.5,
    )
    lower.set_ylabel("clips")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    lower.set_xlabel("predicted probability (%)")
    lower.set_xlim(0, 101)
    for axes in (upper, lower):
        style_axes(axes, grid=True)
    figure.align_ylabels([upper, lower])
    return figure


def rejection_curve(evaluation: ClipEvaluation) -> Figure | None:
    """Plot the detection error trade-off of rejection: words missed against other sounds accepted as a word.

    Each line shows what one threshold for all words gives, for `_unknown_`, `_silence_`, and both together. Both axes have
    a normal deviate scale (Martin et al., 1997). The dot is the rule of `predict`: the most probable class, with each
    word's own threshold.

    Returns
    -------
    Figure
        None if there are no clips of words, or none of other sounds.
    """
    together = det_curve(evaluation)
    if together is None:
        return None
    figure = new_figure(_WIDTH, 360)
    axes = figure.add_subplot()
    scores = score_at_thresholds(evaluation)
    accepted = sum(score.accepted for score in scores) / together.others
    missed = sum(score.missed for score in scores) / together.words
    # A normal deviate scale has no zero: half a clip stands for it.
    lowest = (0.5 / together.others, max(0.5 / together.words, 0.7 * float(together.missed.min())))

    def draw(others: tuple[str, ...], name: str, color: str, width: float) -> None:
        curve = det_curve(evaluation, others)
        if curve is not None:
            x, y = (
                np.clip(rates, low, 1 - low) for rates, low in zip((curve.accepted, curve.missed), lowest, strict=True)
            )
            axes.plot(x, y, color=color, linewidth=width, label=f"{curve.others:,} clips {name}")

    kinds = [label for label in (UNKNOWN, SILENCE) if label in evaluation.card.labels]
    for label, color in zip(kinds, (_SECOND, _SOFT), strict=False):
        draw((label,), f"of {label}", color, 1.1)
    if len(kinds) > 1:
        draw((UNKNOWN, SILENCE), "together", _ACCENT, 1.8)
    axes.plot([max(accepted, lowest[0])], [max(missed, lowest[1])], "o", color=_ACCENT, markersize=6)
    for axis, scale, low, dot in (
        (axes.xaxis, axes.set_xscale, lowest[0], accepted),
        (axes.yaxis, axes.set_yscale, lowest[1], missed),
    ):
        scale("function", functions=(_deviate, _probability))
        axis.set_major_locator(FixedLocator([tick for tick in _DET_TICKS if tick > low]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
        # No useful thresholds are beyond this.
        (axes.set_xlim if axis is axes.xaxis else axes.set_ylim)(low, max(0.45, min(0.95, 1.5 * dot)))
    axes.set_xlabel("other sounds accepted as a word (%)")
    axes.set_ylabel("words missed (%)")
    style_axes(axes, grid=True)
    _lines_across_x(axes)
    _legend(axes)
    return figure


def accuracy_against_snr(robustness: Robustness) -> Figure:
    """Plot accuracy against the signal-to-noise ratio, clean first. The band is the 95 % Wilson interval."""
    figure, axes = _accuracy_axes(robustness)
    places = range(len(robustness.snr))
    _draw_points(axes, places, robustness.snr)
    axes.set_xticks(places, ["clean", *(f"{point.value:g}" for point in robustness.snr[1:])])
    axes.set_xlabel("signal-to-noise ratio (dB)")
    return figure


def accuracy_against_shift(robustness: Robustness) -> Figure:
    """Plot accuracy against a shift in time. The band is the 95 % Wilson interval."""
    figure, axes = _accuracy_axes(robustness)
    _draw_points(axes, [point.value for point in robustness.shift], robustness.shift)
    axes.set_xlabel("earlier \N{LEFTWARDS ARROW}  shift (ms)  \N{RIGHTWARDS ARROW} later")
    return figure


def accuracy_against_gain(robustness: Robustness) -> Figure:
    """Plot accuracy against a gain in level. The band is the 95 % Wilson interval."""
    figure, axes = _accuracy_axes(robustness)
    _draw_points(axes, [point.value for point in robustness.gain], robustness.gain)
    axes.set_xlabel("softer \N{LEFTWARDS ARROW}  gain (dB)  \N{RIGHTWARDS ARROW} louder")
    return figure


def _accuracy_axes(robustness: Robustness) -> tuple[Figure, Axes]:
    figure = new_figure(310, 230)
    axes = figure.add_subplot()
    axes.set_ylabel("accuracy (%)")
    # One scale for all three figures, so that they can be compared.
    lowest = min(point.accuracy_interval[0] for point in (*robustness.snr, *robustness.shift, *robustness.gain))
    axes.set_ylim(max(0, 10 * np.floor(10 * lowest)), 101)
    style_axes(axes, grid=True)
    return figure, axes


def _draw_points(axes: Axes, places: Sequence[float], points: Sequence[Point]) -> None:
    low, high = np.transpose([point.accuracy_interval for point in points])
    axes.fill_between(places, 100 * low, 100 * high, color=_ACCENT, alpha=0.18, linewidth=0)
    axes.plot(places, [100 * point.accuracy for point in points], "o-", color=_ACCENT, markersize=4, linewidth=1.6)


def text_color_on(color: str, alpha: float) -> str:
    """Return a text color that is readable on a transparent page color over a card, in both light and dark mode."""

    def lowest_contrast(text: tuple[str, str]) -> float:
        backgrounds = [blend(*sides, alpha) for sides in zip(COLORS[color], COLORS["card"], strict=True)]
        return min(map(contrast, text, backgrounds))

    choices = (COLORS["card"], COLORS["ink"], (_BLACK, _BLACK))
    return next(
        (text for text in choices if lowest_contrast(text) >= _MIN_CONTRAST), max(choices, key=lowest_contrast)
    )[0]


def _lines_across_x(axes: Axes) -> None:
    axes.grid(axis="x", color=_SOFT, alpha=0.22, linewidth=0.8)
    axes.set_axisbelow(True)


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=FONT_PT, labelcolor=_SOFT)


def _percent(share: float) -> str:
    return "<1" if 0 < share < 0.01 else f"{100 * share:.0f}"


_Scale = Callable[[ArrayLike], NDArray[np.float64]]
_deviate: _Scale = norm.ppf
_probability: _Scale = norm.cdf
