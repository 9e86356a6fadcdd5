"""The model's metadata as JSON for the web page, served at GET /v1/model or stored as card.json beside the page."""

from collections.abc import Mapping
from typing import Any

from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import Card, ModelFile


def card_json(
    model: ModelFile, *, stream_card: Card | None = None, wake: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return labels, words, sample rate, thresholds, listener settings and all other metadata as plain values.

    Parameters
    ----------
    model
        The model that classifies clips.
    stream_card
        Metadata of the streaming model, if one processes the streams. The listener settings are then taken from it.
    wake
        The wake phrases after which words count in streams (`words`), and the time during which they count (`command_s`).
    """
    card = model.card
    return {
        "name": str(card.fields.get("name") or model.path.stem),
        "labels": list(card.labels),
        "words": list(card.words),
        "sample_rate": card.sample_rate,
        "window": card.window,
        "thresholds": dict(card.thresholds),
        "listener": ListenerSettings.from_card(stream_card or card).to_json(),
        "wake": None if wake is None else dict(wake),
        "fields": dict(card.fields),
    }
