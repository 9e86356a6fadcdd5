"""Several models evaluated on the same clips: one picture with a confusion matrix for each, and the page that shows it.

Contender             a model's evaluation, its name, and what it cost
side_by_side_figure   the confusion matrices in a row, each under its accuracy, size and time
write_side_by_side    the picture as PNG, and the page

Only the words count that all models know. An answer that is none of them (`_unknown_`, `_silence_`, another word) is
wrong and stands in a column of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.evaluation.clips.evaluate import ClipEvaluation
from harken.evaluation.clips.figures import text_color_on
from harken.evaluation.clips.sections import size
from harken.evaluation.metrics import wilson_interval
from harken.files import replacing_all
from harken.pages.drawing import FONT_PT, figure_svg
from harken.pages.html import COLORS, Html, Section, Sorted, card, document, escape, table

_PANEL_PX = 264.0  # three panels stay readable at the width of a README
_LEFT_PX, _RIGHT_PX, _GAP_PX = 56.0, 16.0, 26.0
_HEAD_PX, _TICKS_PX, _FOOT_PX = 116.0, 46.0, 42.0
_NUMBER_PX = 116.0
_PNG_DPI = 192
_INK, _SOFT, _PAPER = (COLORS[name][0] for name in ("ink", "soft", "paper"))
_SHOWN = 0.005  # shares of a row below this stay blank, so that the eye finds the errors that matter
_NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One model of the comparison.

    training_s : seconds that its training took; None for a model that was trained before. latency_ms : time for one
    clip on one thread. note : what it is, in a few words. report : its own report, relative to the page.
    """

    name: str
    note: str
    evaluation: ClipEvaluation
    parameters: int | None
    latency_ms: float
    training_s: float | None = None
    report: str = ""

    @property
    def file_bytes(self) -> int:
        """Size of the model file."""
        return self.evaluation.model.path.stat().st_size

    def counts(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Return counts [words, words + 1], true word by answer; the last column holds the answers that are no word."""
        labels = self.evaluation.card.labels
        column = np.array([words.index(label) if label in words else len(words) for label in labels])
        truth, answers = column[self.evaluation.examples.truth], column[self.evaluation.answers]
        counts = np.zeros((len(words) + 1, len(words) + 1), np.int64)
        np.add.at(counts, (truth, answers), 1)
        return counts[:-1]

    def accuracy(self, words: Sequence[str]) -> tuple[int, int]:
        """Return how many clips of the words are recognized, and how many there are."""
        counts = self.counts(words)
        return int(np.trace(counts)), int(counts.sum())


def side_by_side_figure(contenders: Sequence[Contender], words: Sequence[str]) -> Figure:
    """Return the confusion matrices in a row: a row for each word that was spoken, a column for each answer.

    A cell holds its percentage of the row. Correct answers are blue, wrong ones orange, the stronger the larger their
    share. Raises HarkenError when the models were not evaluated on the same clips.
    """
    _require_same_clips(contenders, words)
    width = _LEFT_PX + len(contenders) * _PANEL_PX + (len(contenders) - 1) * _GAP_PX + _RIGHT_PX
    matrix = _PANEL_PX * len(words) / (len(words) + 1)  # square cells, one column more than rows
    height = _HEAD_PX + _TICKS_PX + matrix + _FOOT_PX
    figure = Figure((width / 96, height / 96), dpi=96, facecolor="none")
    for place, contender in enumerate(contenders):
        left = _LEFT_PX + place * (_PANEL_PX + _GAP_PX)
        axes = figure.add_axes((left / width, _FOOT_PX / height, _PANEL_PX / width, matrix / height))
        _draw_matrix(axes, contender.counts(words), words, names_rows=place == 0)
        _draw_head(figure, contender, words, x=left / width, px=1 / height)
    clips = contenders[0].accuracy(words)[1]
    figure.text(
        _LEFT_PX / width,
        14 / height,
        f"Rows: the word that was spoken. Columns: the answer. Percent of the row, {clips:,} clips by unseen speakers; "
        "errors are drawn stronger.",
        color=_SOFT,
        fontsize=FONT_PT,
    )
    return figure


def write_side_by_side(
    contenders: Sequence[Contender],
    words: Sequence[str],
    *,
    page: Path,
    picture: Path,
    title: str,
    lead: str,
    sections: Sequence[Section] = (),
) -> None:
    """Write the picture as PNG and the page with the picture, the figures as a table, and further `sections`."""
    figure = side_by_side_figure(contenders, words)
    with replacing_all(page, picture) as (new_page, new_picture):
        figure.savefig(new_picture, dpi=_PNG_DPI, facecolor=_PAPER, format="png")
        drawing = figure_svg(figure, label="Confusion matrices of the models, side by side")
        scroll = Html(f'<div class="scroll"><div style="min-width:900px">{drawing}</div></div>')
        aside = "blue is correct, orange is wrong; the last column holds answers that are none of the words"
        parts = [
            card("What was spoken, and what each model answered", scroll, aside=aside),
            _figures(contenders, words),
        ]
        text = document(
            title,
            [
                Section("Comparison", parts),
                Section("Words", [_words(contenders, words)], "Percent recognized."),
                *sections,
            ],
            kicker="harken demo",
            lead=lead,
            facts=[(c.name, _percent(c, words)) for c in contenders],
        )
        new_page.write_text(text, encoding="utf-8")


def summary(contender: Contender, words: Sequence[str]) -> str:
    """Return accuracy, size and time in a line of text."""
    right, clips = contender.accuracy(words)
    low, high = wilson_interval(right, clips)
    return f"{100 * right / clips:.1f} % ({100 * low:.1f} to {100 * high:.1f}); {'; '.join(_costs(contender))}"


def _require_same_clips(contenders: Sequence[Contender], words: Sequence[str]) -> None:
    first = contenders[0]
    rows = first.counts(words).sum(axis=1)
    for other in contenders:
        if other.evaluation.examples.names != first.evaluation.examples.names:
            raise HarkenError(f"{other.name} and {first.name} were evaluated on different clips: use the same folders")
        if not np.array_equal(other.counts(words).sum(axis=1), rows) or not rows.all():
            raise HarkenError(f"{other.name} was not evaluated on every one of {', '.join(words)}: add clips")


def _draw_head(figure: Figure, contender: Contender, words: Sequence[str], *, x: float, px: float) -> None:
    right, clips = contender.accuracy(words)
    low, high = wilson_interval(right, clips)
    trained, *costs = _costs(contender)
    lines = f"correct (95 %: {100 * low:.0f} to {100 * high:.0f})\n{trained}\n{', '.join(costs)}"
    beside = x + _NUMBER_PX / (figure.get_figwidth() * 96)
    figure.text(
        x, 1 - 14 * px, contender.name, va="top", color=_INK, parse_math=False, fontsize=FONT_PT + 3, fontweight="bold"
    )
    figure.text(x, 1 - 38 * px, contender.note, va="top", color=_SOFT, parse_math=False, fontsize=FONT_PT)
    number = f"{100 * right / clips:.1f} %"
    figure.text(x, 1 - 97 * px, number, va="baseline", color=_INK, fontsize=20, fontweight="bold")
    figure.text(beside, 1 - 109 * px, lines, va="bottom", color=_SOFT, fontsize=FONT_PT, linespacing=1.45)


def _draw_matrix(axes: Axes, counts: NDArray[np.int64], words: Sequence[str], *, names_rows: bool) -> None:
    count = len(words)
    shares = counts / counts.sum(axis=1, keepdims=True)
    for row in range(count):
        for column in range(count + 1):
            share = float(shares[row, column])
            hue = "accent" if row == column else "second"
            # Squared for correct answers and rooted for wrong ones: both show differences where shares usually lie.
            alpha = share**2 if row == column else min(1.3 * share**0.5, 0.95)
            if share < _SHOWN:
                continue
            corner = (column - 0.47, row - 0.47)
            axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=(COLORS[hue][0], alpha), edgecolor="none"))
            ink = text_color_on(hue, alpha)
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=ink, fontsize=FONT_PT)
    axes.set(xlim=(-0.5, count + 0.5), ylim=(count - 0.5, -0.5))
    axes.set_xticks(range(count + 1), [*words, _NONE], rotation=45, ha="left", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(count), words if names_rows else [], parse_math=False)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, pad=4, labelsize=FONT_PT + 0.5, labelcolor=_INK)
    axes.get_xticklabels()[-1].set_color(_SOFT)
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    for edge in range(count + 1):
        axes.axhline(edge - 0.5, color=(_SOFT, 0.22), linewidth=0.6, zorder=0)
    for edge in range(count + 2):
        axes.axvline(edge - 0.5, color=(_SOFT, 0.22), linewidth=0.6, zorder=0)
    axes.axvline(count - 0.5, color=(_SOFT, 0.6), linewidth=0.8, zorder=0)


def _costs(contender: Contender) -> list[str]:
    trained = "already trained" if contender.training_s is None else f"trained in {_minutes(contender.training_s)}"
    return [trained, size(contender.file_bytes), f"{contender.latency_ms:.1f} ms a clip"]


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _percent(contender: Contender, words: Sequence[str]) -> str:
    right, clips = contender.accuracy(words)
    return f"{100 * right / clips:.1f} %"


def _figures(contenders: Sequence[Contender], words: Sequence[str]) -> Html:
    rows = []
    for contender in contenders:
        right, clips = contender.accuracy(words)
        low, high = wilson_interval(right, clips)
        link = Html(f'<a href="{escape(contender.report)}">{escape(contender.name)}</a>')
        rows.append(
            (
                link if contender.report else contender.name,
                contender.note,
                Sorted(f"{100 * right / clips:.1f} % ({100 * low:.1f}–{100 * high:.1f})", right / clips),
                Sorted(f"{contender.parameters:,}" if contender.parameters else "–", contender.parameters or 0),
                Sorted(size(contender.file_bytes), contender.file_bytes),
                Sorted(f"{contender.latency_ms:.2f} ms", contender.latency_ms),
                Sorted(
                    "–" if contender.training_s is None else _minutes(contender.training_s), contender.training_s or 0
                ),
            )
        )
    columns = ["Model", "What it is", "Correct (95 % interval)", "Parameters", "File", "One clip", "Training"]
    return card("In figures", table(columns, rows), aside="a model's name leads to its own report")


def _words(contenders: Sequence[Contender], words: Sequence[str]) -> Html:
    counts = [contender.counts(words) for contender in contenders]
    rows: list[tuple[str | Sorted, ...]] = []
    for row, word in enumerate(words):
        clips = int(counts[0][row].sum())
        shares = [Sorted(f"{100 * each[row, row] / clips:.0f}", each[row, row] / clips) for each in counts]
        rows.append((word, Sorted(f"{clips:,}", clips), *shares))
    return table(["Word", "Clips", *(contender.name for contender in contenders)], rows)
