"""Write the report of an evaluation as one self-contained HTML page, and as JSON.

write_report    write the page: accuracy, confusions, words, mistakes to play, calibration, the model's card, and
                further measurements
report_json     return the same figures as plain values
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harken.evaluation.clips import sections
from harken.evaluation.clips.cost import Cost
from harken.evaluation.clips.det import det_curve, score_at_thresholds
from harken.evaluation.clips.evaluate import ClipEvaluation
from harken.evaluation.clips.rejection import Rejection
from harken.evaluation.clips.robustness import Robustness
from harken.evaluation.clips.steady_noise import SteadyNoiseScore
from harken.evaluation.metrics import poisson_interval
from harken.files import replacing
from harken.pages.html import document


def write_report(
    evaluation: ClipEvaluation,
    path: str | Path,
    *,
    history: Path | None = None,
    robustness: Robustness | None = None,
    cost: Cost | None = None,
    rejection: Rejection | None = None,
    steady: Sequence[SteadyNoiseScore] = (),
) -> None:
    """Write the report of an evaluation as one HTML page. Measurements that are not given are left out.

    Parameters
    ----------
    evaluation
        The evaluation on clips.
    path
        The page to write.
    history
        The run's training history (CSV). Default: history.csv beside the model file.
    robustness, cost, rejection, steady
        Further measurements.

    Raises
    ------
    HarkenError
        `path` cannot be written.
    """
    with replacing(path) as temporary:  # Opened first, so that a path that cannot be written fails at once.
        parts = [
            sections.confusions(evaluation),
            sections.words(evaluation),
            sections.mistakes(evaluation),
            sections.confidence(evaluation, rejection),
            sections.robustness(robustness, steady),
            sections.model(evaluation, history or evaluation.model.path.parent / "history.csv", cost),
            sections.skipped(evaluation),
        ]
        page = document(
            _title(evaluation),
            [section for section in parts if section.parts or section.note],
            kicker="harken report",
            lead=f"{evaluation.hits:,} of {evaluation.clips:,} clips recognized. The answer is the most probable class; "
            "thresholds are not applied.",
            facts=_facts(evaluation, robustness, cost),
        )
        temporary.write_text(page, encoding="utf-8")


def report_json(
    evaluation: ClipEvaluation,
    *,
    robustness: Robustness | None = None,
    cost: Cost | None = None,
    rejection: Rejection | None = None,
    steady: Sequence[SteadyNoiseScore] = (),
) -> dict[str, Any]:
    """Return the report's figures as plain values: those of ClipEvaluation.to_json, and the further measurements."""
    values = evaluation.to_json()
    curve = det_curve(evaluation)
    if curve is not None:
        values["rejection"] = {
            "words": [
                {
                    "label": score.label,
                    "threshold": score.threshold,
                    "clips": score.clips,
                    "missed": score.missed,
                    "others_answered": score.accepted,
                }
                for score in score_at_thresholds(evaluation)
            ],
            "det": {
                "word_clips": curve.words,
                "other_clips": curve.others,
                "threshold": curve.thresholds.round(5).tolist(),
                "missed": curve.missed.round(5).tolist(),
                "answered": curve.accepted.round(5).tolist(),
            },
        }
    if rejection is not None:
        low, high = poisson_interval(rejection.alarms, rejection.minutes)
        values["speech_without_commands"] = {
            "minutes": rejection.minutes,
            "words_found": rejection.found,
            "false_alarms": rejection.alarms,
            "per_minute": rejection.alarms_per_minute,
            "per_minute_interval": [low, high],
        }
    if robustness is not None:
        values["robustness"] = robustness.to_json()
    if steady:
        values["steady_noise"] = [score.to_json() for score in steady]
    if cost is not None:
        values["cost"] = cost.to_json()
    return values


def _title(evaluation: ClipEvaluation) -> str:
    path = evaluation.model.path
    if path.stem != "model":
        return path.stem
    # The model file of every run is called model.onnx, so the name of its network says more.
    return str(evaluation.card.fields.get("recipe", {}).get("network", path.resolve().parent.name))


def _facts(evaluation: ClipEvaluation, robustness: Robustness | None, cost: Cost | None) -> list[tuple[str, str]]:
    low, high = evaluation.accuracy_interval
    facts = [
        ("accuracy", f"{100 * evaluation.accuracy:.2f} %"),
        ("95 % interval", f"{100 * low:.1f}–{100 * high:.1f} %"),
        ("clips", f"{evaluation.clips:,}"),
        ("calibration error", f"{100 * evaluation.calibration.error:.1f} %"),
    ]
    if robustness is not None:
        facts += [("at 10 dB SNR", f"{100 * point.accuracy:.1f} %") for point in robustness.snr if point.value == 10]
    if cost is not None:
        facts.append(("time per clip", f"{cost.latency_ms_median:.2g} ms"))
        facts.append(("model file", sections.size(cost.file_bytes)))
    return facts
