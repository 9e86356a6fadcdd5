"""The model's metadata as JSON for the web page, served at GET /v1/model or stored as card.json beside the page."""

from collections.abc import Mapping
from typing import Any

from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import Card, ModelFile
from harken.runtime.sensitivity import DEFAULT_SENSITIVITY


def card_json(
    model: ModelFile,
    *,
    card: Card | None = None,
    stream_card: Card | None = None,
    sensitivity: float = DEFAULT_SENSITIVITY,
    wake: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return labels, words, sample rate, thresholds, listener settings and all other metadata as plain values.

    Parameters
    ----------
    model
        The model that classifies clips.
    card
        Its metadata, with the thresholds of `sensitivity`. Default: the metadata of the file.
    stream_card
        Metadata of the streaming file, if one processes the streams. The listener settings are then taken from it.
    sensitivity
        The sensitivity that the thresholds are for, 0 to 1.
    wake
        The wake phrases after which words count in streams (`words`), and the time during which they count (`command_s`).
    """
    card = card or model.card
    fields = dict(card.fields)
    if stream_card is not None:
        fields["sensitivity"] = {
            **fields.get("sensitivity", {}),
            "stream": stream_card.fields.get("sensitivity", {}).get("stream"),
        }
    return {
        "name": str(card.fields.get("name") or model.path.stem),
        "labels": list(card.labels),
        "words": list(card.words),
        "sample_rate": card.sample_rate,
        "window": card.window,
        "thresholds": dict(card.thresholds),
        "listener": ListenerSettings.from_card(stream_card or card).to_json(),
        "sensitivity": sensitivity,
        "wake": None if wake is None else dict(wake),
        "fields": fields,
    }
