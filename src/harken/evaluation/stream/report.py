"""A judged stream as one self-contained page: the trade-off, how soon it answers, what it missed, its false alarms to play."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from harken.evaluation.stream.evaluate import Share, StreamEvaluation, quietest_first
from harken.files import replacing
from harken.pages.drawing import figure_svg, new_figure, style_axes
from harken.pages.html import COLOURS, Html, Section, Sorted, card, document, grid, player, table

_ACCENT = COLOURS["accent"][0]
_MOST_PLAYED = 60
_WIDTH = 430.0  # CSS pixels, of a figure in half a page
_MANY = 300  # times the lowest rate: 1, 2 and 5 of each power of ten have no room beyond
_NONE_BELOW = 1.6  # ticks at less than this times the place of no false alarm would run into its name


def write_stream_report(evaluation: StreamEvaluation, path: str | Path, *, title: str, sample_rate: int) -> None:
    """Write the page of a judged stream. sample_rate : of the audio of its false alarms, in Hz.

    Raises HarkenError when `path` cannot be written, or a recording is gone.
    """
    with replacing(path) as temporary:
        listener_run, outcome = evaluation.listener_run, evaluation.outcome
        low, high = evaluation.false_alarms_per_hour_interval
        facts = [
            ("false alarms an hour", f"{evaluation.false_alarms_per_hour:.2f}"),
            ("95 % interval", f"{low:.2f}–{high:.2f}"),
            ("words missed", f"{100 * evaluation.miss_rate:.1f} %"),
            ("hours of background", f"{listener_run.hours:.2f}"),
        ]
        if evaluation.latencies_s.size:
            facts.append(("median latency", f"{np.median(evaluation.latencies_s):.2f} s"))
        facts.append(("real-time factor", f"{evaluation.real_time_factor:.4f}"))
        lead = (
            f"{len(listener_run.utterances):,} words placed in speech, noise and silence; {outcome.missed:,} missed, "
            f"{outcome.false_alarms:,} false alarms in background on its own."
        )
        parts = [_trade_off(evaluation), _missed(evaluation), _alarms(evaluation, sample_rate)]
        page = document(title, parts, kicker="harken stream report", lead=lead, facts=facts)
        temporary.write_text(page, encoding="utf-8")


def _trade_off(evaluation: StreamEvaluation) -> Section:
    cards = [
        card(
            "Words missed against false alarms",
            figure_svg(trade_off_curve(evaluation), label="words missed against false alarms an hour"),
            aside="as all thresholds move together; the dot is the model at its own; “none” is none "
            f"in these {evaluation.listener_run.hours:,.2f} hours",
        )
    ]
    latencies = evaluation.latencies_s
    if latencies.size:
        aside = (
            f"from the end of a word to its event: median {np.median(latencies):.2f} s, 95 % within "
            f"{np.percentile(latencies, 95):.2f} s; below zero, it was heard before it had ended"
        )
        picture = figure_svg(latency_histogram(evaluation), label="histogram of latencies")
        cards.append(card("How soon it answers", picture, aside=aside))
    note = "" if latencies.size else "No word was found."
    return Section("Trade-off and latency", [grid(cards, min_width_px=440)], note)


def trade_off_curve(evaluation: StreamEvaluation) -> Figure:
    """Return words missed (%) against false alarms per hour (logarithmic), with the working point marked.

    The left end of the scale stands for none at all.
    """
    curve = evaluation.trade_off
    least = 0.5 / evaluation.listener_run.hours  # half of what one false alarm in all of it would be
    figure = new_figure(_WIDTH, 300)
    axes = figure.add_subplot()
    rates = np.maximum(curve.false_alarms_per_hour, least)
    axes.step(rates, 100 * curve.missed, where="post", color=_ACCENT, linewidth=1.6)
    own = int(np.flatnonzero(curve.moves == 0)[0])
    axes.plot(rates[own], 100 * curve.missed[own], "o", color=_ACCENT, markersize=6)
    axes.set_xscale("log")
    ticks = _round_rates(_NONE_BELOW * least, max(float(rates.max()), 4 * least))
    axes.xaxis.set_major_locator(FixedLocator([least, *ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(left=0.85 * least)
    axes.set_xticklabels(["none", *(f"{tick:,g}" if tick < 1 else f"{tick:,.0f}" for tick in ticks)])
    axes.set_ylim(0, 100)
    axes.set_xlabel("false alarms an hour")
    axes.set_ylabel("words missed (%)")
    style_axes(axes, grid=True)
    return figure


def _round_rates(low: float, high: float) -> list[float]:
    """Return round numbers from low to high: 1, 2 and 5 times powers of ten, or the powers alone where they are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high < _MANY * low else (1,)
    return [rate for decade in decades for step in steps if low <= (rate := step * 10.0**decade) <= high]


def latency_histogram(evaluation: StreamEvaluation) -> Figure:
    """Return how many words were found how long after their end, in ms."""
    figure = new_figure(_WIDTH, 300)
    axes = figure.add_subplot()
    axes.hist(1000 * evaluation.latencies_s, bins=40, color=_ACCENT)
    axes.set_xlabel("latency (ms)")
    axes.set_ylabel("words")
    style_axes(axes, grid=True)
    return figure


def _missed(evaluation: StreamEvaluation) -> Section:
    snrs = sorted(evaluation.shares(lambda word: word.snr_db), key=quietest_first)
    words = sorted(evaluation.shares(lambda word: word.word), key=lambda share: -share.miss_rate)
    tables = [
        card("By word", _shares("Word", words), aside="the worst first"),
        card("By background", _shares("Background", evaluation.shares(lambda word: word.background))),
        card("By signal-to-noise ratio", _shares("SNR", snrs)),
    ]
    return Section("Missed words", [grid(tables, min_width_px=280)])


def _shares(name: str, shares: Sequence[Share]) -> Html:
    def called(value: object) -> str:
        return "in silence" if value is None else f"{value:g} dB" if isinstance(value, float) else str(value)

    rows = [
        (
            called(share.value),
            Sorted(f"{share.words:,}", share.words),
            Sorted(f"{100 * share.miss_rate:.1f} %", share.miss_rate),
        )
        for share in shares
    ]
    return table([name, "Placed", "Missed"], rows)


def _alarms(evaluation: StreamEvaluation, sample_rate: int) -> Section:
    alarms = evaluation.false_alarms
    if not alarms:
        return Section("False alarms", [], "There was none.")
    cards = [
        card(
            alarm.word,
            aside=f"{100 * alarm.confidence:.1f} % sure; {alarm.path.name} at {alarm.at_s:.1f} s",
            button=player(alarm.audio(sample_rate), sample_rate, label=f"false alarm: {alarm.word}"),
        )
        for alarm in alarms[:_MOST_PLAYED]
    ]
    of_them = f", the {_MOST_PLAYED} surest of {len(alarms):,}" if len(alarms) > _MOST_PLAYED else ""
    return Section("False alarms", [grid(cards, min_width_px=280)], f"What was taken for a word{of_them}.")
