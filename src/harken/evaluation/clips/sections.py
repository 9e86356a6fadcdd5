"""Build the sections of the report, one function for each. A section whose subject was not measured has no parts.

confusions    the confusion matrix, and the errors of each word
words         the scores of each word
mistakes      the most confident mistakes, to play
confidence    calibration and rejection
robustness    accuracy with noise, shift and gain
model         the model's card, its cost, and the training curves
skipped       the clips that were not evaluated
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from harken.corpus.synthetic_noise import KINDS
from harken.evaluation.clips import figures
from harken.evaluation.clips.cost import Cost
from harken.evaluation.clips.det import score_at_thresholds
from harken.evaluation.clips.evaluate import ClipEvaluation
from harken.evaluation.clips.rejection import Rejection
from harken.evaluation.clips.robustness import Robustness
from harken.evaluation.clips.steady_noise import SteadyNoiseScore
from harken.evaluation.metrics import poisson_interval, wilson_interval
from harken.pages.drawing import figure_svg
from harken.pages.html import Html, Section, Sorted, card, details, escape, grid, listing, pairs, player, stack, table
from harken.tasks.history import read_history

_MAX_MISTAKES = 12  # to play
_MAX_CONFUSIONS = 3  # listed for each word
_MAX_UNREADABLE = 200  # clips listed
# Fields of a card that come first, in this order: a license may refer to the attribution below it. The key of model files
# is "license".
_FIRST_FIELDS = (
    "name",
    "parameters",
    "multiply_adds",
    "validation_accuracy",
    "corpus",
    "clips",
    "license",
    "attribution",
)


def confusions(evaluation: ClipEvaluation) -> Section:
    """Show the confusion matrix, and the errors of each word."""
    roomy = len(evaluation.card.labels) <= figures.MOST_WITH_PERCENTAGES
    heat_map = _figure(figures.confusion_heat_map(evaluation), "Confusion matrix", min_px=440 if roomy else 900)
    bars = _figure(
        figures.word_scores(evaluation), "Misses and wrong predictions of each word", min_px=0 if roomy else 900
    )
    shares = (
        "count and percentage of the row"
        if roomy
        else "counts; at the end of each row, the percentage of right answers"
    )
    cards = [
        card(
            "Spoken and recognized words",
            heat_map,
            aside=f"{shares}; blue is right, orange is wrong and drawn stronger",
        ),
        card("Errors by word", bars, aside="the thin lines are 95 % intervals"),
    ]
    return Section("Confusions", [grid(cards, min_width_px=440) if roomy else stack(cards)])


def words(evaluation: ClipEvaluation) -> Section:
    """Show a table of the classes with their scores and most frequent confusions."""
    rows = []
    for index, score in enumerate(evaluation.words):
        missed = score.clips - int(evaluation.confusion[index, index])
        low, high = wilson_interval(missed, score.clips)
        interval = f"{100 * missed / score.clips:.1f} ({100 * low:.1f}–{100 * high:.1f})" if score.clips else "–"
        # A class without clips has only wrong predictions: a score of 0 % would say nothing about the model.
        defined = 1.0 if score.clips else math.nan
        rows.append(
            (
                _no_wrap(score.label),
                Sorted(f"{score.clips:,}", score.clips),
                _share(defined * score.precision),
                _share(defined * score.recall),
                _share(defined * score.f1),
                Sorted(interval, missed / score.clips if score.clips else -1),
                _no_wrap(_worst_confusions(evaluation, index)),
            )
        )
    columns = ["Word", "Clips", "Precision", "Recall", "F1", "Missed (95 % interval)", "Recognized as instead"]
    return Section("Words", [table(columns, rows)], "Scores in percent. Click a column header to sort.")


def _worst_confusions(evaluation: ClipEvaluation, index: int) -> str:
    row = evaluation.confusion[index].copy()
    row[index] = 0
    worst = [other for other in np.argsort(-row, kind="stable")[:_MAX_CONFUSIONS] if row[other]]
    return ", ".join(f"{evaluation.card.labels[other]} {row[other]:,}" for other in worst)


def mistakes(evaluation: ClipEvaluation) -> Section:
    """Show the most confident mistakes, to listen to."""
    rows = evaluation.worst_mistakes(_MAX_MISTAKES)
    labels, rate = evaluation.card.labels, evaluation.card.sample_rate
    cards = []
    for row in rows:
        truth, answer = labels[evaluation.examples.truth[row]], labels[evaluation.answers[row]]
        probabilities = evaluation.probabilities[row]
        own = probabilities[evaluation.examples.truth[row]]
        name = evaluation.examples.names[row]
        button = player(evaluation.examples.waveforms[row], rate, label=f"{name}: spoken {truth}, recognized {answer}")
        heading = Html(
            f'{escape(truth)} <span class="aside" style="font-weight:400">recognized as</span> {escape(answer)}'
        )
        confidence = f"{_percent(float(probabilities.max()))} for {answer}, {_percent(float(own))} for {truth}"
        cards.append(card(heading, aside=Html(f"{escape(confidence)}<br>{escape(name)}"), button=button))
    if not cards:
        return Section("Mistakes", [], "Every clip was recognized.")
    text = "The most confident mistakes. Play them to hear whether the clip or the model is at fault."
    return Section("Mistakes", [grid(cards, min_width_px=300)], text)


def confidence(evaluation: ClipEvaluation, rejection: Rejection | None) -> Section:
    """Show how reliable the probabilities are: calibration, and rejection by thresholds."""
    bins = evaluation.calibration
    filled = bins.counts > 0
    predicted = float(np.average(bins.predicted[filled], weights=bins.counts[filled]))
    text = (
        f"On average, the model predicts a probability of {_percent(predicted)} and is right in "
        f"{_percent(evaluation.accuracy)} of cases. The expected calibration error over {len(bins.counts)} bins is "
        f"{_percent(bins.error)}."
    )
    picture = _figure(figures.reliability(evaluation), "Reliability: predicted probability against accuracy")
    cards = [card("Calibration", picture, aside="on the dashed line, predicted probability and accuracy are equal")]
    curve = figures.rejection_curve(evaluation)
    if curve is not None:
        thresholds = "its thresholds" if evaluation.card.thresholds else "no thresholds, since it has none"
        aside = f"the lines show one threshold for all words; the dot is the model with {thresholds}"
        cards.append(card("Rejection", _figure(curve, "Detection error trade-off of rejection"), aside=aside))
    parts = [grid(cards, min_width_px=440)]
    if rejection is not None:
        low, high = poisson_interval(rejection.alarms, rejection.minutes)
        text += (
            f" In {rejection.minutes:,.0f} minutes of speech without the words it had {rejection.alarms:,} false alarms at "
            f"its thresholds: {rejection.alarms_per_minute:.2f} per minute (95 % interval {low:.2f} to {high:.2f})."
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
        for score in score_at_thresholds(evaluation)
    ]
    return table(["Word", "Threshold", "Clips", "Missed, %", "Other sounds accepted"], rows)


def robustness(robustness: Robustness | None, steady: Sequence[SteadyNoiseScore] = ()) -> Section:
    """Show accuracy with noise, shift and gain, and how often steady noise is recognized as silence."""
    steady_card = [_steady_noise(steady)] if steady else []
    if robustness is None:
        return Section("Robustness", steady_card)
    pictures = [
        (
            "Noise",
            figures.accuracy_against_snr(robustness),
            f"{robustness.recordings:,} recordings not used in training",
        ),
        (
            "Position in the window",
            figures.accuracy_against_shift(robustness),
            "shifted in time, the gap filled with zeros",
        ),
        ("Level", figures.accuracy_against_gain(robustness), "clipped at full scale, rounded to 16 bits"),
    ]
    cards = [card(name, _figure(figure, f"Accuracy: {name}"), aside=aside) for name, figure, aside in pictures]
    text = f"Accuracy on the same {robustness.clips:,} clips of words with different alterations. Bands are 95 % intervals."
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
    listed = details("Table of these figures", table(["Alteration", "Value", "Accuracy, %", "95 % interval"], rows))
    return Section("Robustness", [grid(cards, min_width_px=300), listed, *steady_card], text)


def _steady_noise(steady: Sequence[SteadyNoiseScore]) -> Html:
    rows = [
        (score.kind, KINDS[score.kind], Sorted(f"{100 * score.share:.0f}", score.share), score.confused_with)
        for score in steady
    ]
    return card(
        "Steady noise",
        table(["Noise", "Description", "Recognized as silence, %", "Most frequent other answer"], rows),
        aside=f"synthetic; {steady[0].windows} windows of each kind, with peaks 0 to 40 dB below full scale",
    )


def model(evaluation: ClipEvaluation, history: Path, cost: Cost | None) -> Section:
    """Show the card of the model file, its cost, and the training curves of the run if `history` exists."""
    model_card = evaluation.card
    recipe = model_card.fields.get("recipe", {})
    fields = sorted(
        model_card.fields.items(),
        key=lambda field: _FIRST_FIELDS.index(field[0]) if field[0] in _FIRST_FIELDS else len(_FIRST_FIELDS),
    )
    long = [(name, value) for name, value in fields if _is_table(name, value) or _is_listing(value)]
    rows = [
        ("Words", ", ".join(model_card.words)),
        ("Other classes", ", ".join(label for label in model_card.labels if label not in model_card.words)),
        ("Input", f"{model_card.window / model_card.sample_rate:g} s at {model_card.sample_rate:,} Hz"),
        ("Network", str(recipe.get("network", ""))),
        ("Recipe", str(recipe.get("name", ""))),
        *((_readable_name(name), _field(name, value)) for name, value in fields if (name, value) not in long),
    ]
    cards = [card("Model file", pairs(row for row in rows if row[1]))]
    if cost is not None:
        cards.append(_cost(cost))
    training = _training(history)
    parts = [grid([training, stack(cards)] if training else cards, min_width_px=440)]
    parts += [
        details(
            _readable_name(name),
            listing(value) if _is_listing(value) else pairs((key, _plain(entry)) for key, entry in value.items()),
        )
        for name, value in long
    ]
    return Section("Model", parts)


def _training(history: Path) -> Html | None:
    if not history.is_file():
        return None
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
        rows.append(("Multiply-adds of the front-end", _millions(cost.front_end_multiply_adds)))
    rows.append(("Median time per clip", f"{cost.latency_ms_median:.2f} ms"))
    rows.append(("99th percentile of the time", f"{cost.latency_ms_p99:.2f} ms"))
    if cost.resident_bytes is not None and cost.base_bytes is not None:
        rows.append(("Memory of the process", size(cost.resident_bytes)))
        rows.append(("Memory without the model", size(cost.base_bytes)))
    aside = f"one clip on one thread of {cost.processor}, timed {cost.runs:,} times in a fresh process"
    return card("Cost", pairs(rows), aside=aside)


def skipped(evaluation: ClipEvaluation) -> Section:
    """Show the clips that were not evaluated, and why."""
    parts = []
    if evaluation.examples.skipped_words:
        rows = [
            (word, Sorted(f"{count:,}", count)) for word, count in sorted(evaluation.examples.skipped_words.items())
        ]
        total = sum(evaluation.examples.skipped_words.values())
        text = f"Clips of words that the model has no class for: {total:,}"
        parts.append(details(text, table(["Word", "Clips"], rows)))
    unreadable = evaluation.examples.unreadable
    if unreadable:
        listed = table(["Reason"], [(reason,) for reason in unreadable[:_MAX_UNREADABLE]])
        more = f" (the first {_MAX_UNREADABLE} are listed)" if len(unreadable) > _MAX_UNREADABLE else ""
        parts.append(details(f"Clips that could not be read: {len(unreadable):,}{more}", listed))
    return Section("Skipped clips", parts)


def _figure(figure: Figure, label: str, *, min_px: int = 0) -> Html:
    """Return a figure that shrinks with the page down to `min_px`, and scrolls sideways below that."""
    drawing = figure_svg(figure, label=label)
    return Html(f'<div class="scroll"><div style="min-width:{min_px}px">{drawing}</div></div>') if min_px else drawing


def _is_table(name: str, value: object) -> bool:
    return name == "recipe" or (isinstance(value, dict) and not all(isinstance(entry, int) for entry in value.values()))


def _is_listing(value: object) -> bool:
    return isinstance(value, str) and "\n" in value


def _field(name: str, value: object) -> str:
    if name.endswith("accuracy") and isinstance(value, float):
        return f"{100 * value:.2f} %"
    if name == "corpus" and isinstance(value, list):  # Several folders may have the same name.
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


def _readable_name(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _share(value: float) -> Sorted:
    return Sorted("–", -1) if math.isnan(value) else Sorted(f"{100 * value:.1f}", value)


def _no_wrap(text: str) -> Html:
    return Html(f'<span style="white-space:nowrap">{escape(text)}</span>')


def _percent(value: float) -> str:
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%" if value >= 0.001 or not value else "<0.1\N{NO-BREAK SPACE}%"


def _signed(value: float) -> str:
    return f"{value:+g}".replace("-", "\N{MINUS SIGN}") if value else "0"


def size(count: int) -> str:
    """Return a number of bytes in KB (1,024 bytes) or MB (1,024 KB)."""
    amount, unit = (count / 1024, "KB") if count < 2**20 else (count / 2**20, "MB")
    return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:,.0f} {unit}"


def _millions(count: int) -> str:
    return f"{count / 1e6:,.2f} million"
