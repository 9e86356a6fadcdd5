"""Add a trained model to the bundled models.

python tools/bundle.py NAME RUN FIGURES.json --command "harken train ..."

This writes src/harken/weights/NAME.onnx with its license in the metadata, its card NAME.md, and the streaming model
NAME.stream.onnx if its network can stream. FIGURES.json is the output of
`harken evaluate RUN DIR... --full --noise DIR --speech DIR --json FIGURES.json`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harken.export.onnx_stream import write_stream_of_model
from harken.files import replacing
from harken.models.onnx_writer import change_metadata
from harken.models.registry import find_network
from harken.runtime.modelfile import STREAM_SUFFIX, ModelFile
from harken.training.run_folder import read_run

_WEIGHTS = Path(__file__).parent.parent / "src" / "harken" / "weights"
_LICENSE = "Apache-2.0; trained on recordings under CC BY 4.0 and CC BY 3.0: see the attribution"
_ATTRIBUTION = (
    "Speech Commands v0.01 and v0.02, Pete Warden, arXiv:1804.03209, CC BY 4.0 (25,740 clips, none of the test set)",
    "LibriSpeech dev-clean, V. Panayotov et al., openslr.org/12, CC BY 4.0 (13.5 minutes for training, 15.6 for thresholds)",
    "ESC-10, K. J. Piczak, CC BY 3.0 (noise; a fifth of it was held out)",
    "words and sentences synthesized by hibari-tts and Kokoro-82M (both Apache-2.0), espeak-ng (GPL) and the voice joe-us of "
    "piper; the model contains no code of theirs",
)


def percent(value: float) -> str:
    """Return a fraction as text in percent."""
    return f"{100 * value:.1f} %"


def card(name: str, model: ModelFile, figures: dict[str, Any], limits: Sequence[str], note: str) -> str:
    """Return the model card in Markdown."""
    fields = model.card.fields
    low, high = figures["accuracy_interval"]
    recalls = {word["label"]: word for word in figures["words"]}
    robustness, speech, cost = figures["robustness"], figures["speech_without_commands"], figures["cost"]
    snr = ", ".join(f"{percent(point['accuracy'])} at {point['snr_db']:g} dB" for point in robustness["snr"])
    steady = ", ".join(f"{kind['kind']} {100 * kind['share']:.0f} %" for kind in figures["steady_noise"])
    recipe = fields["recipe"]
    commands = [row for row in figures["words"] if row["label"] in model.card.words]
    found = sum(row["recall"] * row["clips"] for row in commands) / sum(row["clips"] for row in commands)
    lines = [
        f"# {name}",
        "",
        f"Recognizes {', '.join(model.card.words)}, and also `_unknown_` (another word) and `_silence_`.",
        "Its input is one second of audio at 16 kHz.",
        "",
        "| | |",
        "|---|---|",
        f"| network | `{recipe['network']}`, {fields['parameters']:,} parameters, "
        f"{fields['multiply_adds'] / 1e6:.1f} M multiply-adds |",
        f"| file | {model.path.stat().st_size / 1024:.0f} KB, front-end inside |",
        f"| validation accuracy | {percent(figures['accuracy'])} ({percent(low)} to {percent(high)}) "
        f"of {figures['clips']:,} clips |",
        f"| words / `_unknown_` / `_silence_` | {percent(found)} / {percent(recalls['_unknown_']['recall'])} / "
        f"{percent(recalls['_silence_']['recall'])} |",
        f"| accuracy in noise not used in training | {percent(robustness['clean'])} clean; {snr} |",
        f"| synthetic steady noise recognized as silence | {steady} |",
        f"| with its thresholds, in speech without the words | {speech['per_minute']:.2f} false alarms per minute; "
        f"{percent(speech['words_found'])} of the words are still found |",
        f"| time per clip, on one thread, same clip repeated | {cost['latency_ms_median']:.2f} ms on {cost['processor']} |",
        "",
        "Accuracy is that of the most probable class, without thresholds. The validation list is fixed: 1,900 clips of the",
        "words, 210 clips of other words, and 190 windows of noise, half of them at full level. Of the 210 clips, 105 are of",
        "twelve words that have no recordings in the training set. No speaker of the ten words is in both the training and the",
        "validation set. Of the 105 clips, 90 are by speakers with other clips in the training set.",
        f"False alarms are counted in windows of one second, every 0.25 s, in {speech['minutes']:.1f} minutes of speech by",
        "speakers who were used neither for training nor for choosing thresholds.",
        "",
        "## Limits",
        "",
        "The model is for single English words, mostly spoken by adults into laptops and phones. It was not evaluated on",
        "children's voices, distant microphones or other languages, nor on the official test set.",
        *limits,
        "",
        "## How it was made",
        "",
        "```",
        *fields["command"].split("\n"),
        "harken evaluate RUN speech_commands speech_commands_more --full --noise background_noise \\",
        "    --speech speech_without_commands --json FIGURES.json",
        "```",
        "",
        f"It was trained on {fields['clips']['train']:,} clips. This card was written by `python tools/bundle.py`.",
        *(["", note] if note else []),
        "",
        "## License",
        "",
        "The weights are under Apache-2.0, like harken. They were trained on:",
        "",
        *(f"- {line}" for line in fields["attribution"]),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the model file and its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="name of the bundled model")
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("figures", type=Path, help="JSON file of `harken evaluate --full`")
    parser.add_argument("--command", required=True, help="command that made the run, with | for a line break")
    parser.add_argument("--limit", action="append", default=[], help="further limitation, for the card; repeatable")
    parser.add_argument("--note", default="", help="further text about the training, for the card")
    options = parser.parse_args()
    _WEIGHTS.mkdir(exist_ok=True)
    target = _WEIGHTS / f"{options.name}.onnx"
    figures = json.loads(options.figures.read_text())
    added = {
        "name": options.name,
        "license": _LICENSE,
        "attribution": list(_ATTRIBUTION),
        "command": options.command.replace("|", "\n"),
    }
    change_metadata(options.run / "model.onnx", target, added)
    streaming = target.with_suffix(f"{STREAM_SUFFIX}.onnx")
    if find_network(read_run(options.run)[0].network).causal:
        write_stream_of_model(target, streaming)
        streaming.with_name(f"{streaming.name}.json").unlink()  # not bundled: the cards have the figures
        change_metadata(streaming, streaming, added | {"name": f"{options.name}{STREAM_SUFFIX}"})
    with replacing(target.with_suffix(".md")) as temporary:
        temporary.write_text(
            card(options.name, ModelFile(target), figures, options.limit, options.note), encoding="utf-8"
        )
    print(target)


if __name__ == "__main__":
    main()
