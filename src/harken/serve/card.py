"""What a model file says of itself, as the page reads it: from GET /v1/model, or from card.json beside it."""

from typing import Any

from harken.listener import ListenerSettings
from harken.modelfile import ModelFile


def card_json(model: ModelFile) -> dict[str, Any]:
    """Return labels, words, rates, thresholds, listener settings and all other fields as plain values."""
    card = model.card
    return {
        "name": str(card.fields.get("name") or model.path.stem),
        "labels": list(card.labels),
        "words": list(card.words),
        "sample_rate": card.sample_rate,
        "window": card.window,
        "thresholds": dict(card.thresholds),
        "listener": ListenerSettings.of_card(card).to_json(),
        "fields": dict(card.fields),
    }
