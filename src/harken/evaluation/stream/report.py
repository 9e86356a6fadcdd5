"""Write the report of an evaluation on continuous audio as one self-contained HTML page.

It shows the trade-off, the latency, the missed words, and the false alarms to play.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from harken.evaluation.metrics import poisson_interval
from harken.evaluation.stream.evaluate import GroupMisses, StreamEvaluation, order_of_snr
from harken.evaluation.stream.wake import WakeEvaluation
from harken.files import replacing
from harken.pages.drawing import figure_svg, new_figure, style_axes
from harken.pages.html import COLORS, Html, Section, Sorted, card, document, grid, player, table

_ACCENT = COLORS["accent"][0]
_MAX_PLAYED = 60  # false alarms
_WIDTH = 430.0  # CSS pixels, for a figure in half a page
_MAX_DENSE_RANGE = (
    300  # Up to this ratio of highest to lowest rate, there is room for ticks at 1, 2 and 5 times a power of ten.
)
_FIRST_TICK = 1.6  # A tick closer than this factor to that of "none" would overlap its label.


def write_stream_report(
    evaluation: StreamEvaluation,
    path: str | Path,
    *,
    title: str,
    sample_rate: int,
    wake: WakeEvaluation | None = None,
) -> None:
    """Write the report as one HTML page.

    Parameters
    ----------
    evaluation
        The evaluation.
    path
        The page to write.
    title
        Title of the page.
    sample_rate
        Sample rate for the audio of the false alarms, in Hz.
    wake
        The evaluation of the same commands after a wake phrase.

    Raises
    ------
    HarkenError
        `path` cannot be written, or a recording no longer exists.
    """
    with replacing(path) as temporary:
        listener_run, outcome = evaluation.listener_run, evaluation.outcome
        low, high = evaluation.false_alarms_per_hour_interval
        facts = [
            ("false alarms per hour", f"{evaluation.false_alarms_per_hour:.2f}"),
            ("95 % interval", f"{low:.2f}–{high:.2f}"),
            ("miss rate", f"{100 * evaluation.miss_rate:.1f} %"),
            ("hours of background", f"{listener_run.hours:.2f}"),
        ]
        if evaluation.latencies_s.size:
            facts.append(("median latency", f"{np.median(evaluation.latencies_s):.2f} s"))
        facts.append(("real-time factor", f"{evaluation.real_time_factor:.4f}"))
        lead = (
            f"{len(listener_run.utterances):,} words placed in speech, noise and silence: {outcome.missed:,} missed. "
            f"{outcome.false_alarms:,} false alarms in the background recordings without words."
        )
        parts = [_trade_off(evaluation), _missed_words(evaluation), _false_alarms(evaluation, sample_rate)]
        if wake is not None:
            parts.insert(0, _wake(wake))
        page = document(title, parts, kicker="harken stream report", lead=lead, facts=facts)
        temporary.write_text(page, encoding="utf-8")


def _wake(evaluation: WakeEvaluation) -> Section:
    commands, phrases = evaluation.commands.outcome, " or ".join(evaluation.wake.words)
    phrase_found, word_found = evaluation.phrase_found, evaluation.word_found
    counted = [
        ("commands alone", commands.false_alarms, commands.found >= 0),
        (f"{phrases} alone", len(evaluation.alarms_of_wake), phrase_found),
        (f"commands within {evaluation.command_s:g} s after it", evaluation.false_alarms, word_found),
    ]
    rows: list[list[str | Sorted]] = []
    for name, alarms, found in counted:
        low, high = poisson_interval(alarms, evaluation.hours)
        rate = alarms / evaluation.hours
        rows.append(
            [name, Sorted(f"{alarms:,}", alarms), Sorted(f"{rate:.2f}", rate), Sorted(f"{low:.2f}–{high:.2f}", low)]
        )
        if phrase_found.size:
            missed = 1 - float(found.mean())
            rows[-1].append(Sorted(f"{100 * missed:.1f} %", missed))
    columns = ["", "False alarms", "Per hour", "95 % interval", *(["Missed"] if phrase_found.size else [])]
    notes = [
        f"Commands counted during {100 * evaluation.share_of_background:.2f} % of the {evaluation.hours:,.2f} hours of "
        "background."
    ]
    if phrase_found.any():
        missed = 1 - float(word_found[phrase_found].mean())
        notes.append(f"Of the words after a detected phrase, {100 * missed:.1f} % were missed.")
    notes.append("The rest of this page is about the commands alone.")
    body = card("False alarms of the pair and of each model alone", table(columns, rows))
    return Section("With a wake phrase", [body], " ".join(notes))


def _trade_off(evaluation: StreamEvaluation) -> Section:
    cards = [
        card(
            "Words missed against false alarms",
            figure_svg(trade_off_curve(evaluation), label="words missed against false alarms per hour"),
            aside=f"{evaluation.trade_off_note}; “none” means no false alarm in these "
            f"{evaluation.listener_run.hours:,.2f} hours",
        )
    ]
    latencies = evaluation.latencies_s
    if latencies.size:
        aside = (
            f"from the end of a word to its detection: median {np.median(latencies):.2f} s, 95 % within "
            f"{np.percentile(latencies, 95):.2f} s; below zero, the word was detected before it ended"
        )
        picture = figure_svg(latency_histogram(evaluation), label="histogram of latencies")
        cards.append(card("Latency", picture, aside=aside))
    note = "" if latencies.size else "No word was detected."
    return Section("Trade-off and latency", [grid(cards, min_width_px=440)], note)


def trade_off_curve(evaluation: StreamEvaluation) -> Figure:
    """Plot words missed (%) against false alarms per hour (logarithmic), with the operating point marked.

    The left end of the scale stands for no false alarm.
    """
    curve = evaluation.trade_off
    none = 0.5 / evaluation.listener_run.hours  # half the rate of one false alarm in the whole stream
    figure = new_figure(_WIDTH, 300)
    axes = figure.add_subplot()
    rates = np.maximum(curve.false_alarms_per_hour, none)
    axes.step(rates, 100 * curve.missed, where="pre", color=_ACCENT, linewidth=1.6)
    operating_point = int(np.flatnonzero(curve.shifts == 0)[0])
    axes.plot(rates[operating_point], 100 * curve.missed[operating_point], "o", color=_ACCENT, markersize=6)
    axes.set_xscale("log")
    ticks = _round_rates(_FIRST_TICK * none, max(float(rates.max()), 4 * none))
    axes.xaxis.set_major_locator(FixedLocator([none, *ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(left=0.85 * none)
    axes.set_xticklabels(["none", *(f"{tick:,g}" if tick < 1 else f"{tick:,.0f}" for tick in ticks)])
    axes.set_ylim(0, 100)
    axes.set_xlabel("false alarms per hour")
    axes.set_ylabel("words missed (%)")
    style_axes(axes, grid=True)
    return figure


def _round_rates(low: float, high: float) -> list[float]:
    """Return round numbers from low to high: 1, 2 and 5 times powers of ten, or only the powers if there are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high < _MAX_DENSE_RANGE * low else (1,)
    return [rate for decade in decades for step in steps if low <= (rate := step * 10.0**decade) <= high]


def latency_histogram(evaluation: StreamEvaluation) -> Figure:
    """Plot a histogram of the latencies, in ms."""
    figure = new_figure(_WIDTH, 300)
    axes = figure.add_subplot()
    axes.hist(1000 * evaluation.latencies_s, bins=40, color=_ACCENT)
    axes.set_xlabel("latency (ms)")
    axes.set_ylabel("words")
    style_axes(axes, grid=True)
    return figure


def _missed_words(evaluation: StreamEvaluation) -> Section:
    snrs = sorted(evaluation.misses_by(lambda word: word.snr_db), key=order_of_snr)
    words = sorted(evaluation.misses_by(lambda word: word.word), key=lambda group: -group.miss_rate)
    tables = [
        card("By word", _miss_table("Word", words), aside="worst first"),
        card("By background", _miss_table("Background", evaluation.misses_by(lambda word: word.background))),
        card("By signal-to-noise ratio", _miss_table("SNR", snrs)),
    ]
    return Section("Missed words", [grid(tables, min_width_px=280)])


def _miss_table(name: str, groups: Sequence[GroupMisses]) -> Html:
    def label(value: object) -> str:
        return "in silence" if value is None else f"{value:g} dB" if isinstance(value, float) else str(value)

    rows = [
        (
            label(group.value),
            Sorted(f"{group.words:,}", group.words),
            Sorted(f"{100 * group.miss_rate:.1f} %", group.miss_rate),
        )
        for group in groups
    ]
    return table([name, "Placed", "Missed"], rows)


def _false_alarms(evaluation: StreamEvaluation, sample_rate: int) -> Section:
    alarms = evaluation.false_alarms
    if not alarms:
        return Section("False alarms", [], "There were no false alarms.")
    cards = [
        card(
            alarm.word,
            aside=f"confidence {100 * alarm.confidence:.1f} %; {alarm.path.name} at {alarm.at_s:.1f} s",
            button=player(alarm.audio(sample_rate), sample_rate, label=f"false alarm: {alarm.word}"),
        )
        for alarm in alarms[:_MAX_PLAYED]
    ]
    subset = f" The {_MAX_PLAYED} most confident of {len(alarms):,}." if len(alarms) > _MAX_PLAYED else ""
    return Section("False alarms", [grid(cards, min_width_px=280)], f"Audio that was mistaken for a word.{subset}")
