"""The metadata of a model of enrolled phrases.

enrolled_metadata   phrases, templates and thresholds -> metadata
FORMAT              version of the constants and metadata
HOP_STEPS, HOP_MS   how often such a model is evaluated in a stream
"""

from collections.abc import Sequence
from typing import Any

from harken.enrollment.graph import class_labels
from harken.enrollment.templates import Templates
from harken.models.speech_embedding import SAMPLE_RATE, STEP, samples_of

FORMAT = 3
# Embeddings between two evaluations in a stream. An evaluation considers all alignments since the last one.
HOP_STEPS = 3
HOP_MS = 1000 * HOP_STEPS * STEP / SAMPLE_RATE


def enrolled_metadata(
    phrases: Sequence[str],
    templates: Templates,
    thresholds: dict[str, float],
    enrolled: list[dict[str, Any]],
    encoder: str,
) -> dict[str, Any]:
    """Return the metadata of a model of enrolled phrases.

    Parameters
    ----------
    phrases
        The phrases, in the order of the classes.
    templates
        Their templates, which determine the window.
    thresholds
        Threshold of each phrase.
    enrolled
        For each phrase: what it was learned from, its calibration, and the accuracy to expect.
    encoder
        Name of the speech embedding.
    """
    return {
        "labels": class_labels(phrases),
        "sample_rate": SAMPLE_RATE,
        "window": samples_of(templates.steps),
        "lead_in": round(0.6 * SAMPLE_RATE),
        "thresholds": thresholds,
        "listener": {
            "thresholds": thresholds,
            "hop_ms": HOP_MS,
            "smoothing_ms": 0.0,
            "refractory_ms": 1500.0,
            "gate_db": -60.0,
            "isolation": 0.0,
        },
        "format": FORMAT,
        "enrolled": enrolled,
        "encoder": encoder,
        "network": f"speech embedding ({encoder}, Apache-2.0) and templates",
        "license": "the speech embedding is Apache-2.0; the templates are the user's own",
    }
