"""Print the results of commands: tables on a terminal, plain lines in a pipe."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harken.audio.clip import load_clip
from harken.errors import HarkenError
from harken.models.registry import NETWORKS
from harken.runtime.modelfile import Card, ModelFile, bundled_models
from harken.runtime.recognizer import Prediction, Recognizer

if TYPE_CHECKING:
    from harken.evaluation.clips.cost import Cost
    from harken.evaluation.clips.evaluate import ClipEvaluation
    from harken.evaluation.clips.rejection import Rejection
    from harken.evaluation.clips.robustness import Robustness
    from harken.evaluation.clips.steady_noise import SteadyNoiseScore
    from harken.evaluation.clips.tuning import ClipThreshold
    from harken.evaluation.peers.run import PeerEvaluation
    from harken.evaluation.stream.evaluate import StreamEvaluation
    from harken.evaluation.stream.wake import WakeEvaluation

_ROWS_PER_TABLE = 64  # of predictions on a terminal
_UNWRAPPED_WIDTH = 10_000  # columns
_TEXT_COLUMNS = (
    "bundled model",
    "network",
    "input",
    "description",
    "source",
    "layer",
    "kind",
    "output",
    "clip",
    "word",
)
_REASONS = {"silence": "silence", "unknown": "another word", "unsure": "unsure"}


def print_models() -> None:
    """Print the bundled models with their measured figures, then the networks that can be trained."""
    console = _console()
    if bundled_models():
        table = _table("bundled model", "words", "parameters", "multiply-adds", "validation accuracy", "size")
        for name in bundled_models():
            model = ModelFile(name)
            table.add_row(name, *_model_figures(model.card), f"{model.path.stat().st_size / 1024:,.0f} KB")
        console.print(table)
        console.print()
    networks = _table("network", "input", "description", "source")
    for network in NETWORKS.values():
        front_end = "waveform" if network.front_end == "raw" else "log-mel"
        networks.add_row(network.name, front_end, network.summary, network.source)
    console.print(networks)


def _model_figures(card: Card) -> tuple[str, str, str, str]:
    fields = card.fields
    accuracy = fields.get("validation_accuracy")
    return (
        f"{len(card.words)}",
        f"{fields['parameters']:,}" if "parameters" in fields else "",
        f"{fields['multiply_adds'] / 1e6:.1f} M" if "multiply_adds" in fields else "",
        f"{100 * accuracy:.2f} %" if accuracy is not None else "",
    )


def print_layers(name: str) -> None:
    """Print the layers of a network: output shape, parameters and multiply-adds for one second of audio.

    Parameters
    ----------
    name
        A network, or a bundled model, which stands for its network.

    Raises
    ------
    HarkenError
        There is no such network or model.
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


def print_predictions(
    recognizer: Recognizer,
    paths: Iterable[Path],
    *,
    channel: int | None = None,
    as_json: bool,
    report: Callable[[HarkenError], object],
) -> int:
    """Print the word recognized in each clip: a table on a terminal, tab-separated lines in a pipe.

    Clips are read and printed one at a time, since a pipe may be slow.

    Parameters
    ----------
    recognizer
        The model.
    paths
        The clips.
    channel
        Number of the only channel to use, from 1.
    as_json
        Print JSON lines instead.
    report
        Function that is called with the error of each clip that cannot be read.

    Returns
    -------
    int
        Number of clips that were read.
    """
    console = _console()
    count, rate = 0, recognizer.sample_rate

    def recognized() -> Iterator[tuple[Path, Prediction]]:
        nonlocal count
        for path in paths:
            try:
                clip = load_clip(path, rate, channel=channel)
            except HarkenError as error:
                report(error)
                continue
            count += 1
            yield path, recognizer.predict(clip, source_rate=rate)

    predictions = recognized()
    if as_json:
        for path, prediction in predictions:
            print(json.dumps({"clip": str(path), **asdict(prediction)}), flush=True)
    elif not console.is_terminal:
        for path, prediction in predictions:
            line = (str(path), prediction.word or "-", prediction.reason or "", f"{prediction.probability:.4f}")
            print(*line, sep="\t", flush=True)
    else:
        more = True
        while more:
            table = _table("clip", "word", "probability")
            try:
                for path, prediction in islice(predictions, _ROWS_PER_TABLE):
                    table.add_row(escape(str(path)), _answer(prediction), f"{prediction.probability:.3f}")
            finally:
                more = table.row_count == _ROWS_PER_TABLE
                if table.row_count:
                    console.print(table)
    return count


def _answer(prediction: Prediction) -> str:
    if prediction.reason is None:
        return f"[bold]{escape(str(prediction.word))}[/bold]"
    detail = f" ({escape(prediction.label)}?)" if prediction.reason == "unsure" else ""
    return f"[dim]none: {_REASONS[prediction.reason]}{detail}[/dim]"


def print_evaluation(evaluation: "ClipEvaluation") -> None:
    """Print the accuracy with its interval, and the scores of each word."""
    console = _console()
    low, high = evaluation.accuracy_interval
    table = _table("word", "precision", "recall", "F1", "clips")
    for score in evaluation.words:
        values = (score.precision, score.recall, score.f1)
        table.add_row(
            escape(score.label),
            *("" if value != value else f"{100 * value:.1f}" for value in values),
            f"{score.clips:,}",
        )
    console.print(table)
    console.print(
        f"accuracy [bold]{100 * evaluation.accuracy:.2f} %[/bold] "
        f"({100 * low:.2f} to {100 * high:.2f}, 95 % interval) on {evaluation.clips:,} clips"
    )
    if evaluation.examples.skipped_words:
        words = ", ".join(f"{word} ({count:,})" for word, count in sorted(evaluation.examples.skipped_words.items()))
        console.print(f"skipped words that the model has no class for: {words}", markup=False)
    for reason in evaluation.examples.unreadable:
        console.print(f"skipped: {reason}", markup=False)


def print_full_evaluation(
    cost: "Cost", robustness: "Robustness | None", rejection: "Rejection | None", steady: Sequence["SteadyNoiseScore"]
) -> None:
    """Print what was measured beyond accuracy, one line for each measurement."""
    console = _console()
    if robustness is not None:
        points = ", ".join(f"{100 * point.accuracy:.1f} % at {point.value:g} dB" for point in robustness.snr[1:])
        console.print(
            f"accuracy in new noise: {100 * robustness.clean.accuracy:.1f} % clean, {points} signal-to-noise ratio"
        )
    if steady:
        kinds = ", ".join(f"{score.kind} {100 * score.share:.0f} %" for score in steady)
        console.print(f"steady noise recognized as silence: {kinds}")
    if rejection is not None:
        console.print(
            "with the model's thresholds: "
            + ("" if rejection.found is None else f"{100 * rejection.found:.1f} % of words found, ")
            + f"{rejection.alarms_per_minute:.2f} false alarms per minute in {rejection.minutes:.1f} minutes of other speech"
        )
    console.print(
        f"one clip on one thread: {cost.latency_ms_median:.2f} ms (99 % within {cost.latency_ms_p99:.2f} ms); "
        f"model file {cost.file_bytes / 1024:,.0f} KB"
    )


def print_clip_threshold(found: "ClipThreshold") -> None:
    """Print a threshold for clips with what it was measured to do on the clips it was chosen on."""
    _console().print(
        f"threshold for clips [bold]{found.threshold:.3f}[/bold]: {100 * found.answered:.1f} % of {found.words:,} words "
        f"answered, {100 * found.confused:.1f} % as another word; {100 * found.accepted:.1f} % of {found.others:,} other "
        "clips accepted (chosen on these clips, which flatters)"
    )


def print_stream_evaluation(evaluation: "StreamEvaluation") -> None:
    """Print the figures of an evaluation on continuous audio, one line for each."""
    console = _console()
    _print_false_alarms(console, evaluation)
    if (shared := len(evaluation.sources_tuned_on)) == 0:
        console.print("none of these speakers and noises was used to choose the thresholds")
    else:
        console.print(
            f"[yellow]{shared:,} of these speakers and noises were used to choose the thresholds, which flatters[/yellow]"
        )
    _print_misses(console, evaluation)


def print_peer_evaluation(evaluation: "PeerEvaluation") -> None:
    """Print the figures of an engine of another project, as for a model, then those at the values of its setting."""
    console = _console()
    peer = evaluation.peer
    console.print(f"{peer.engine}, {peer.phrase!r}, {peer.setting} {peer.default:g}", markup=False)
    _print_false_alarms(console, evaluation)
    console.print("harken does not know which recordings this engine was trained on")
    _print_misses(console, evaluation)
    if evaluation.points:
        table = _table(peer.setting, "false alarms per hour", "at most", "missed")
        for point in evaluation.points:
            rates = (f"{rate:.2f}" for rate in (point.false_alarms_per_hour, point.at_most))
            table.add_row(f"{point.value:g}", *rates, f"{100 * point.miss_rate:.1f} %")
        console.print(table)


def _print_false_alarms(console: Console, evaluation: "StreamEvaluation") -> None:
    low, high = evaluation.false_alarms_per_hour_interval
    console.print(
        f"false alarms per hour [bold]{evaluation.false_alarms_per_hour:.2f}[/bold], at most {high:.2f} "
        f"({low:.2f} to {high:.2f}, 95 % interval): {evaluation.outcome.false_alarms:,} in "
        f"{evaluation.listener_run.hours:.2f} hours of background from {len(evaluation.sources):,} speakers and noises, "
        "told apart by file name"
    )


def _print_misses(console: Console, evaluation: "StreamEvaluation") -> None:
    outcome = evaluation.outcome
    console.print(
        f"miss rate [bold]{100 * evaluation.miss_rate:.1f} %[/bold] of {len(evaluation.listener_run.utterances):,} words; "
        f"{outcome.confused:,} detected as another word, {outcome.repeated:,} detected twice"
    )
    if evaluation.latencies_s.size:
        median, p95 = (float(value) for value in np.percentile(evaluation.latencies_s, (50, 95)))
        console.print(f"latency from the end of a word: median {median:.2f} s, 95 % within {p95:.2f} s")
    console.print(f"real-time factor on one thread: {evaluation.real_time_factor:.4f}")


def print_wake_evaluation(evaluation: "WakeEvaluation") -> None:
    """Print the figures of commands that count only after a wake phrase, below those of the commands alone."""
    console = _console()
    figures = evaluation.to_json()
    phrases = escape(" or ".join(evaluation.wake.words))
    for name, found in (
        (f"{phrases} alone", figures),
        (f"commands within {evaluation.command_s:g} s after it", figures["pair"]),
    ):
        low, high = found["false_alarms_per_hour_interval"]
        console.print(
            f"{name}: false alarms per hour [bold]{found['false_alarms_per_hour']:.2f}[/bold], at most {high:.2f} "
            f"({low:.2f} to {high:.2f}, 95 % interval): {found['false_alarms']:,} in {evaluation.hours:.2f} hours of background"
        )
    console.print(f"commands counted during {100 * evaluation.share_of_background:.2f} % of the background")
    if evaluation.phrase_found.size:
        line = f"of {evaluation.phrase_found.size:,} wake phrases, {100 * figures['miss_rate']:.1f} % were missed"
        if after := figures["pair"].get("after_detected_phrase"):
            line += f"; of the words after the others, [bold]{100 * after['miss_rate']:.1f} %[/bold]"
        console.print(line)


def _console() -> Console:
    """Return a console on standard output that wraps lines on a terminal, and never in a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_UNWRAPPED_WIDTH)


def _table(*columns: str) -> Table:
    """Return a table with text columns aligned to the left and numbers to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, justify="left" if column in _TEXT_COLUMNS else "right", overflow="fold")
    return table


def print_note(line: str) -> None:
    """Print a line on standard error, so that it is no part of piped output."""
    print(f"harken: {line}", file=sys.stderr)


def print_repeats(repeats: int, *, counted: bool = False) -> None:
    """Print how many clips of a corpus are duplicates, if any, and whether each of them counts."""
    if repeats:
        print_note(f"duplicate clips, {'each of them counted' if counted else 'counted once'}: {repeats:,}")
