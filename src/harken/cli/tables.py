"""What commands print: tables on a terminal, plain lines in a pipe."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harken.models.registry import NETWORKS
from harken.runtime.modelfile import Card, ModelFile, bundled_models
from harken.runtime.recognizer import Prediction, Recognizer

if TYPE_CHECKING:
    from harken.evaluation.clips.cost import Cost
    from harken.evaluation.clips.evaluate import ClipEvaluation
    from harken.evaluation.clips.rejection import Rejection
    from harken.evaluation.clips.robustness import Robustness
    from harken.evaluation.clips.steady_noise import SteadyAnswers
    from harken.evaluation.stream.evaluate import StreamEvaluation

_AT_ONCE = 64
_WHOLE_LINES = 10_000  # columns
_TEXTS = ("bundled model", "network", "hears", "what it is", "source", "layer", "kind", "output", "clip", "word")
_WHY = {"silence": "silence", "unknown": "another word", "unsure": "unsure"}


def print_models() -> None:
    """List the bundled models with their measured figures, then the networks that can be trained."""
    console = _console()
    if bundled_models():
        table = _table("bundled model", "words", "parameters", "multiply-adds", "validation accuracy", "size")
        for name in bundled_models():
            model = ModelFile(name)
            table.add_row(name, *_figures(model.card), f"{model.path.stat().st_size / 1024:,.0f} KB")
        console.print(table)
        console.print()
    networks = _table("network", "hears", "what it is", "source")
    for network in NETWORKS.values():
        hears = "log-mel" if network.front_end == "log_mel" else "waveform"
        networks.add_row(network.name, hears, network.summary, network.source)
    console.print(networks)


def _figures(card: Card) -> tuple[str, str, str, str]:
    fields = card.fields
    accuracy = fields.get("validation_accuracy")
    return (
        f"{len(card.words)}",
        f"{fields['parameters']:,}" if "parameters" in fields else "",
        f"{fields['multiply_adds'] / 1e6:.1f} M" if "multiply_adds" in fields else "",
        f"{100 * accuracy:.2f} %" if accuracy is not None else "",
    )


def print_layers(name: str) -> None:
    """Print a network's layers on one second of its usual input: output shape, parameters and multiply-adds.

    name : of a network, or of a bundled model, whose network it is.
    """
    from harken.models.summary import table_by_name

    if name in bundled_models():
        name = ModelFile(name).card.fields["recipe"]["network"]
    layers = table_by_name(name)
    table = _table("layer", "kind", "output", "parameters", "multiply-adds")
    for layer in layers:
        shape = " x ".join(map(str, layer.output_shape))
        counts = [f"{count:,}" if count else "" for count in (layer.parameters, layer.multiply_adds)]
        table.add_row(layer.name, layer.kind, shape, *counts)
    table.add_section()
    totals = (sum(layer.parameters for layer in layers), sum(layer.multiply_adds for layer in layers))
    table.add_row("total", "", "", *(f"{total:,}" for total in totals))
    console = _console()
    console.print(f"{name}: {NETWORKS[name].summary} ({NETWORKS[name].source})", soft_wrap=True)
    console.print(table)


def print_predictions(recognizer: Recognizer, paths: Iterable[Path], *, as_json: bool) -> None:
    """Print what is heard in each clip: a table on a terminal, JSON lines when asked, else tab-separated lines.

    One clip at a time, since a pipe may be slow; what stands before a clip that cannot be read is printed.
    """
    console = _console()
    heard = ((path, recognizer.predict(path)) for path in paths)
    if as_json:
        for path, prediction in heard:
            print(json.dumps({"clip": str(path), **asdict(prediction)}), flush=True)
    elif not console.is_terminal:
        for path, prediction in heard:
            line = (str(path), prediction.word or "-", prediction.reason or "", f"{prediction.probability:.4f}")
            print(*line, sep="\t", flush=True)
    else:
        more = True
        while more:
            table = _table("clip", "word", "probability")
            try:
                for path, prediction in islice(heard, _AT_ONCE):
                    table.add_row(escape(str(path)), _heard(prediction), f"{prediction.probability:.3f}")
            finally:
                more = table.row_count == _AT_ONCE
                if table.row_count:
                    console.print(table)


def _heard(prediction: Prediction) -> str:
    if prediction.reason is None:
        return f"[bold]{escape(str(prediction.word))}[/bold]"
    detail = f" ({escape(prediction.label)}?)" if prediction.reason == "unsure" else ""
    return f"[dim]none: {_WHY[prediction.reason]}{detail}[/dim]"


def print_evaluation(evaluation: "ClipEvaluation") -> None:
    """Print accuracy with its interval and each word's scores."""
    console = _console()
    low, high = evaluation.accuracy_interval
    table = _table("word", "precision", "recall", "F1", "clips")
    for score in evaluation.words:
        values = (score.precision, score.recall, score.f1)
        table.add_row(
            score.label, *("" if value != value else f"{100 * value:.1f}" for value in values), f"{score.clips:,}"
        )
    console.print(table)
    console.print(
        f"accuracy [bold]{100 * evaluation.accuracy:.2f} %[/bold] "
        f"({100 * low:.2f} to {100 * high:.2f}, 95 % interval) on {evaluation.clips:,} clips"
    )
    if evaluation.examples.left_out:
        words = ", ".join(f"{word} ({count:,})" for word, count in sorted(evaluation.examples.left_out.items()))
        console.print(f"left out, since the model has no class for them: {words}", markup=False)
    for reason in evaluation.examples.unreadable:
        console.print(f"not judged: {reason}", markup=False)


def print_full_evaluation(
    cost: "Cost", robustness: "Robustness | None", rejection: "Rejection | None", steady: Sequence["SteadyAnswers"]
) -> None:
    """Print what was measured beyond accuracy, a line each."""
    console = _console()
    if robustness is not None:
        points = ", ".join(f"{100 * point.accuracy:.1f} % at {point.value:g} dB" for point in robustness.snr[1:])
        console.print(f"in unheard noise: {100 * robustness.clean.accuracy:.1f} % clean, {points} (SNR)")
    if steady:
        kinds = ", ".join(f"{answers.kind} {100 * answers.share:.0f} %" for answers in steady)
        console.print(f"steady noise heard as silence: {kinds}")
    if rejection is not None:
        console.print(
            f"with thresholds: {100 * rejection.found:.1f} % of words found, {rejection.alarms_per_minute:.2f} false alarms "
            f"a minute in {rejection.minutes:.1f} minutes of speech without them"
        )
    console.print(
        f"one clip on one thread: {cost.latency_ms_median:.2f} ms (99 % within {cost.latency_ms_p99:.2f}); "
        f"model file {cost.file_bytes / 1024:,.0f} KB"
    )


def print_stream(evaluation: "StreamEvaluation") -> None:
    """Print the figures of a judged stream, a line each."""
    console = _console()
    outcome, listener_run = evaluation.outcome, evaluation.listener_run
    low, high = evaluation.false_alarms_per_hour_interval
    console.print(
        f"false alarms [bold]{evaluation.false_alarms_per_hour:.2f} an hour[/bold] ({low:.2f} to {high:.2f}, 95 % interval): "
        f"{outcome.false_alarms:,} in {listener_run.hours:.2f} hours of background"
    )
    console.print(
        f"missed [bold]{100 * evaluation.miss_rate:.1f} %[/bold] of {len(listener_run.utterances):,} words; "
        f"{outcome.confused:,} heard as another, {outcome.repeated:,} heard twice"
    )
    if evaluation.latencies_s.size:
        median, late = (float(value) for value in np.percentile(evaluation.latencies_s, (50, 95)))
        console.print(f"latency from the end of a word: median {median:.2f} s, 95 % within {late:.2f} s")
    console.print(f"real-time factor on one thread: {evaluation.real_time_factor:.4f}")


def _console() -> Console:
    """Return a console on standard output whose lines break where a terminal ends, and in a pipe nowhere."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WHOLE_LINES)


def _table(*columns: str) -> Table:
    """Return a table whose columns in _TEXTS are set to the left, and all others, of numbers, to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, justify="left" if column in _TEXTS else "right", overflow="fold")
    return table


def print_note(line: str) -> None:
    """Print a line on standard error, where a pipe does not take it for an answer."""
    print(f"harken: {line}", file=sys.stderr)


def print_repeats(repeats: int) -> None:
    """Say how many clips stand in a corpus twice, if any."""
    if repeats:
        print_note(f"clips that stand in the corpus twice, counted once: {repeats:,}")
