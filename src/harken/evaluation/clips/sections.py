"""The parts of the report's page, a function for each; one whose subject was not measured has no parts.

confusions, words, mistakes, confidence, robustness, model, left_out
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from harken.corpus.made_noise import KINDS
from harken.evaluation.clips import figures
from harken.evaluation.clips.cost import Cost
from harken.evaluation.clips.det import at_thresholds
from harken.evaluation.clips.evaluate import ClipEvaluation
from harken.evaluation.clips.rejection import Rejection
from harken.evaluation.clips.robustness import Robustness
from harken.evaluation.clips.steady_noise import SteadyAnswers
from harken.evaluation.metrics import poisson_interval, wilson_interval
from harken.pages.drawing import figure_svg
from harken.pages.html import Html, Section, Sorted, card, details, escape, grid, listing, pairs, player, stack, table

_MISTAKES = 12  # to play
_WORST = 3  # confusions named of each word
_MOST_LISTED = 200  # unreadable clips
# Fields of a card that stand first, in this order: a licence may speak of the attribution below it.
_FIRST = ("name", "parameters", "multiply_adds", "validation_accuracy", "corpus", "clips", "licence", "attribution")


def confusions(evaluation: ClipEvaluation) -> Section:
    """What was said against what was heard, and which words err most."""
    roomy = len(evaluation.card.labels) <= figures.MOST_WITH_PERCENTAGES
    heat_map = _figure(figures.confusion_heat_map(evaluation), "Confusion matrix", least_px=440 if roomy else 900)
    bars = _figure(
        figures.word_scores(evaluation), "Misses and false answers of each word", least_px=0 if roomy else 900
    )
    shares = (
        "count and percentage of the row" if roomy else "counts; at the end of each row, the percentage heard right"
    )
    cards = [
        card("What was said, and what was heard", heat_map, aside=f"{shares}; blue is right, orange is wrong"),
        card("Where it errs", bars, aside="the thin lines are 95 % intervals"),
    ]
    return Section("Confusions", [grid(cards, min_width_px=440) if roomy else stack(cards)])


def words(evaluation: ClipEvaluation) -> Section:
    """A table of the classes, each with its scores and worst confusions."""
    rows = []
    for index, score in enumerate(evaluation.words):
        missed = score.clips - int(evaluation.confusion[index, index])
        low, high = wilson_interval(missed, score.clips)
        interval = f"{100 * missed / score.clips:.1f} ({100 * low:.1f}–{100 * high:.1f})" if score.clips else "–"
        # Where no clip was judged, every answer is wrong: 0 % would say nothing of the model.
        known = 1.0 if score.clips else math.nan
        rows.append(
            (
                _unbroken(score.label),
                Sorted(f"{score.clips:,}", score.clips),
                _share(known * score.precision),
                _share(known * score.recall),
                _share(known * score.f1),
                Sorted(interval, missed / score.clips if score.clips else -1),
                _unbroken(_worst_confusions(evaluation, index)),
            )
        )
    columns = ["Word", "Clips", "Precision", "Recall", "F1", "Missed (95 % interval)", "Heard as instead"]
    return Section("Words", [table(columns, rows)], "In percent. Click a column's head to sort.")


def _worst_confusions(evaluation: ClipEvaluation, index: int) -> str:
    row = evaluation.confusion[index].copy()
    row[index] = 0
    worst = [other for other in np.argsort(-row, kind="stable")[:_WORST] if row[other]]
    return ", ".join(f"{evaluation.card.labels[other]} {row[other]:,}" for other in worst)


def mistakes(evaluation: ClipEvaluation) -> Section:
    """The wrong answers given with most confidence, to listen to."""
    rows = evaluation.worst(_MISTAKES)
    labels, rate = evaluation.card.labels, evaluation.card.sample_rate
    cards = []
    for row in rows:
        said, heard = labels[evaluation.examples.truth[row]], labels[evaluation.answers[row]]
        stated = evaluation.probabilities[row]
        own = stated[evaluation.examples.truth[row]]
        name = evaluation.examples.names[row]
        button = player(evaluation.examples.waveforms[row], rate, label=f"{name}: said {said}, heard {heard}")
        heading = Html(f'{escape(said)} <span class="aside" style="font-weight:400">heard as</span> {escape(heard)}')
        sure = f"{_percent(float(stated.max()))} sure, {_percent(float(own))} for {said}"
        cards.append(card(heading, aside=Html(f"{escape(sure)}<br>{escape(name)}"), button=button))
    if not cards:
        return Section("Mistakes", [], "Every clip was recognised.")
    text = "The wrong answers given with most confidence: listen whether the clip or the model is to blame."
    return Section("Mistakes", [grid(cards, min_width_px=300)], text)


def confidence(evaluation: ClipEvaluation, rejection: Rejection | None) -> Section:
    """What the probabilities are worth: calibration, and rejection by thresholds."""
    found = evaluation.calibration
    seen = found.counts > 0
    stated = float(np.average(found.stated[seen], weights=found.counts[seen]))
    text = (
        f"On average the model states {_percent(stated)} and is right in {_percent(evaluation.accuracy)}; the "
        f"expected calibration error over {len(found.counts)} bins is {_percent(found.error)}."
    )
    picture = _figure(figures.reliability(evaluation), "Reliability: stated probability against found accuracy")
    cards = [card("Calibration", picture, aside="on the dashed line, stated probability and accuracy agree")]
    curve = figures.rejection_curve(evaluation)
    if curve is not None:
        dot = "with the stored thresholds" if evaluation.card.thresholds else "which has no thresholds here"
        aside = f"along the lines one threshold for all words moves; the dot is predict, {dot}"
        cards.append(card("Rejection", _figure(curve, "Detection error trade-off of rejection"), aside=aside))
    parts = [grid(cards, min_width_px=440)]
    if rejection is not None:
        low, high = poisson_interval(rejection.alarms, rejection.minutes)
        text += (
            f" In {rejection.minutes:,.0f} minutes of speech without commands it fired {rejection.alarms:,} times at its "
            f"thresholds: {rejection.alarms_per_minute:.2f} a minute (95 % interval {low:.2f} to {high:.2f})."
        )
    if curve is not None:
        parts.append(_threshold_table(evaluation))
    return Section("Confidence", parts, text)


def _threshold_table(evaluation: ClipEvaluation) -> Html:
    rows = [
        (
            score.label,
            Sorted(f"{score.threshold:.3f}" if score.threshold else "none", score.threshold),
            Sorted(f"{score.clips:,}", score.clips),
            _share(score.missed / score.clips if score.clips else math.nan),
            Sorted(f"{score.accepted:,}", score.accepted),
        )
        for score in at_thresholds(evaluation)
    ]
    return table(["Word", "Threshold", "Clips", "Missed at it, %", "Other sounds answered with it"], rows)


def robustness(robustness: Robustness | None, steady: Sequence[SteadyAnswers] = ()) -> Section:
    """Accuracy against noise, shift and gain; and whether steady noise is heard as silence."""
    heard = [_steady_noise(steady)] if steady else []
    if robustness is None:
        return Section("Robustness", heard)
    pictures = [
        (
            "Noise",
            figures.accuracy_against_snr(robustness),
            f"{robustness.recordings:,} recordings that training did not hear",
        ),
        ("Place in the window", figures.accuracy_against_shift(robustness), "moved, the rest filled with zeros"),
        ("Level", figures.accuracy_against_gain(robustness), "clipped at full scale, rounded to 16 bits"),
    ]
    cards = [card(name, _figure(figure, f"Accuracy: {name}"), aside=aside) for name, figure, aside in pictures]
    text = f"Accuracy on the same {robustness.clips:,} clips of speech, altered. Bands are 95 % intervals."
    points = (("SNR, dB", robustness.snr), ("Shift, ms", robustness.shift), ("Gain, dB", robustness.gain))
    rows = [
        (
            kind,
            Sorted("clean" if math.isinf(point.value) else _signed(point.value), point.value),
            Sorted(f"{100 * point.accuracy:.1f}", point.accuracy),
            Sorted(" to ".join(f"{100 * end:.1f}" for end in point.accuracy_interval), point.accuracy),
        )
        for kind, points_of in points
        for point in points_of
    ]
    listed = details("The figures", table(["Altered", "By", "Accuracy, %", "95 % interval"], rows))
    return Section("Robustness", [grid(cards, min_width_px=300), listed, *heard], text)


def _steady_noise(steady: Sequence[SteadyAnswers]) -> Html:
    rows = [
        (answers.kind, KINDS[answers.kind], Sorted(f"{100 * answers.share:.0f}", answers.share), answers.confused_with)
        for answers in steady
    ]
    return card(
        "Steady noise",
        table(["Noise", "What it is", "Heard as silence, %", "Else mostly as"], rows),
        aside=f"made, {steady[0].windows} windows of each kind, their peaks 0 to 40 dB below full scale",
    )


def model(evaluation: ClipEvaluation, history: Path, cost: Cost | None) -> Section:
    """The card of the model file, what it costs, and the run's training curves where `history` exists."""
    about = evaluation.card
    recipe = about.fields.get("recipe", {})
    fields = sorted(
        about.fields.items(), key=lambda field: _FIRST.index(field[0]) if field[0] in _FIRST else len(_FIRST)
    )
    long = [(name, value) for name, value in fields if _is_table(name, value) or _is_listing(value)]
    rows = [
        ("Words", ", ".join(about.words)),
        ("Other classes", ", ".join(label for label in about.labels if label not in about.words)),
        ("Hears", f"{about.window / about.sample_rate:g} s at {about.sample_rate:,} Hz"),
        ("Network", str(recipe.get("network", ""))),
        ("Recipe", str(recipe.get("name", ""))),
        *((_spoken(name), _field(name, value)) for name, value in fields if (name, value) not in long),
    ]
    cards = [card("What the file says of itself", pairs(row for row in rows if row[1]))]
    if cost is not None:
        cards.append(_cost(cost))
    training = _training(history)
    parts = [grid([training, stack(cards)] if training else cards, min_width_px=440)]
    parts += [
        details(
            _spoken(name),
            listing(value) if _is_listing(value) else pairs((key, _plain(entry)) for key, entry in value.items()),
        )
        for name, value in long
    ]
    return Section("Model", parts)


def _training(history: Path) -> Html | None:
    if not history.is_file():
        return None
    from harken.tasks.history import read_history  # it imports the trainer

    epochs = read_history(history)
    if not epochs:
        return None
    picture = _figure(figures.training_curves(epochs), "Loss and accuracy over epochs")
    seconds = sum(row["seconds"] for row in epochs)
    time = f"{seconds / 60:,.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
    return card("Training", picture, aside=f"{len(epochs)} epoch{'s' * (len(epochs) > 1)}, {time}")


def _cost(cost: Cost) -> Html:
    rows = [("Model file", size(cost.file_bytes))]
    if cost.parameters is not None:
        rows.append(("Parameters", f"{cost.parameters:,}"))
    if cost.multiply_adds is not None:
        rows.append(("Multiply-adds of the network", _millions(cost.multiply_adds)))
    if cost.front_end_multiply_adds:
        rows.append(("of the front-end", _millions(cost.front_end_multiply_adds)))
    rows.append(("Time, median", f"{cost.latency_ms_median:.2f} ms"))
    rows.append(("99th percentile", f"{cost.latency_ms_p99:.2f} ms"))
    if cost.resident_bytes is not None and cost.base_bytes is not None:
        rows.append(("Memory of the process", size(cost.resident_bytes)))
        rows.append(("without the model", size(cost.base_bytes)))
    aside = f"one clip on one thread of {cost.processor}, {cost.runs:,} times in a fresh process"
    return card("What it costs", pairs(rows), aside=aside)


def left_out(evaluation: ClipEvaluation) -> Section:
    """The clips that were not judged, and why."""
    parts = []
    if evaluation.examples.left_out:
        rows = [(word, Sorted(f"{count:,}", count)) for word, count in sorted(evaluation.examples.left_out.items())]
        total = sum(evaluation.examples.left_out.values())
        text = f"Clips of words that the model has no class for: {total:,}"
        parts.append(details(text, table(["Word", "Clips"], rows)))
    unreadable = evaluation.examples.unreadable
    if unreadable:
        listed = table(["Why"], [(reason,) for reason in unreadable[:_MOST_LISTED]])
        more = f", of which the first {_MOST_LISTED}" if len(unreadable) > _MOST_LISTED else ""
        parts.append(details(f"Clips that could not be read: {len(unreadable):,}{more}", listed))
    return Section("Not judged", parts)


def _figure(figure: Figure, label: str, *, least_px: int = 0) -> Html:
    """Return a figure that shrinks with the page down to `least_px`, and is scrolled sideways below that."""
    drawing = figure_svg(figure, label=label)
    return (
        Html(f'<div class="scroll"><div style="min-width:{least_px}px">{drawing}</div></div>') if least_px else drawing
    )


def _is_table(name: str, value: object) -> bool:
    return name == "recipe" or (isinstance(value, dict) and not all(isinstance(entry, int) for entry in value.values()))


def _is_listing(value: object) -> bool:
    return isinstance(value, str) and "\n" in value


def _field(name: str, value: object) -> str:
    if name.endswith("accuracy") and isinstance(value, float):
        return f"{100 * value:.2f} %"
    if name == "corpus" and isinstance(value, list):  # names of folders, of which several may have the same
        counts = Counter(map(str, value))
        return ", ".join(f"{folder} ×{count}" if count > 1 else folder for folder, count in counts.items())
    if name == "attribution" and isinstance(value, list):
        return Html("<br>".join(escape(str(entry)) for entry in value))
    return _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _spoken(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _share(value: float) -> Sorted:
    return Sorted("–", -1) if math.isnan(value) else Sorted(f"{100 * value:.1f}", value)


def _unbroken(text: str) -> Html:
    return Html(f'<span style="white-space:nowrap">{escape(text)}</span>')


def _percent(value: float) -> str:
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%" if value >= 0.001 or not value else "<0.1\N{NO-BREAK SPACE}%"


def _signed(value: float) -> str:
    return f"{value:+g}".replace("-", "\N{MINUS SIGN}") if value else "0"


def size(count: int) -> str:
    """Return a number of bytes in KB of 1,024, or MB of as many KB."""
    amount, unit = (count / 1024, "KB") if count < 2**20 else (count / 2**20, "MB")
    return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:,.0f} {unit}"


def _millions(count: int) -> str:
    return f"{count / 1e6:,.2f} million"
