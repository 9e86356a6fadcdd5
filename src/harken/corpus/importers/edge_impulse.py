"""Edge Impulse's export: the folders `training` and `testing`, and `info.labels`, which lists their files in JSON.

The recordings are WAV files, or JSON files in Edge Impulse's data acquisition format: `payload` has `values` on the scale of
16 bits, one a sample, and `interval_ms` between them
(https://docs.edgeimpulse.com/reference/data-ingestion/data-acquisition-format).
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from harken.audio.clip import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from harken.corpus.importers.recording import LeftOut, Recording, file_recording, inside, side_named
from harken.errors import HarkenError

NAME = "Edge Impulse export"
_SENSOR = "audio"


def recognize(root: Path) -> bool:
    """Return whether the folder has this layout."""
    return (root / "info.labels").is_file()


def read(root: Path, left_out: LeftOut) -> Iterator[Recording]:
    """Yield the recordings of the folder."""
    path = root / "info.labels"
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        entries = [(str(file["path"]), _label(file), _speaker(file), str(file.get("category", ""))) for file in files]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise HarkenError(f"{path} is not the list of an Edge Impulse export: export the project again") from error
    for name, label, speaker, category in entries:
        file = inside(root, name)
        side = side_named(category) or ""
        if file is None:
            left_out["a path that leads out of the folder"] += 1
        elif file.suffix.lower() == ".json" and file.is_file():
            wav = _wav(file)
            if wav is None:
                left_out["a JSON file without audio of one channel"] += 1
            elif not label.strip():
                left_out["no label"] += 1
            else:
                yield Recording(label, wav, ".wav", speaker, side)
        else:
            yield from file_recording(file, label, left_out, speaker=speaker, side=side)


def _wav(path: Path) -> bytes | None:
    """Return the audio in a file of the data acquisition format as WAV, or None if it has none."""
    try:
        payload = json.loads(path.read_bytes())["payload"]
        if [sensor["name"] for sensor in payload["sensors"]] != [_SENSOR]:
            return None
        rate = round(1000 / float(payload["interval_ms"]))
        values: NDArray[np.float64] = np.asarray(payload["values"], np.float64)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None
    samples = values.reshape(-1) if values.ndim == 1 or values.shape[1:] == (1,) else np.zeros(0)
    if not (samples.size and np.isfinite(samples).all() and MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE):
        return None
    wav = io.BytesIO()
    soundfile.write(
        wav, np.clip(np.round(samples), -32768, 32767).astype(np.int16), rate, format="WAV", subtype="PCM_16"
    )
    return wav.getvalue()


def _label(file: dict[str, Any]) -> str:
    label = file["label"]
    return str(label.get("label") or "") if isinstance(label, dict) else str(label or "")


def _speaker(file: dict[str, Any]) -> str:
    metadata = file.get("metadata") or {}
    return str(metadata.get("speaker") or metadata.get("speaker_id") or "")
