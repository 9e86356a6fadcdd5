"""What a model file says of itself, as the page reads it: from GET /v1/model, or from card.json beside it."""

from typing import Any

from harken.runtime.listener import ListenerSettings
from harken.runtime.modelfile import Card, ModelFile


def card_json(model: ModelFile, *, listens: Card | None = None) -> dict[str, Any]:
    """Return labels, words, rates, thresholds, listener settings and all other fields as plain values.

    listens : card of the streaming form that hears streams in the model's place; the listener settings are its own.
    """
    card = model.card
    return {
        "name": str(card.fields.get("name") or model.path.stem),
        "labels": list(card.labels),
        "words": list(card.words),
        "sample_rate": card.sample_rate,
        "window": card.window,
        "thresholds": dict(card.thresholds),
        "listener": ListenerSettings.of_card(listens or card).to_json(),
        "fields": dict(card.fields),
    }
