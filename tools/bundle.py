"""Put a trained model in the box: src/harken/weights/NAME.onnx with its licence in the metadata, its card NAME.md, and its
streaming form NAME.stream.onnx where its network has one.

python tools/bundle.py NAME RUN FIGURES.json --command "harken train ..."

FIGURES.json is what `harken evaluate RUN DIR... --full --noise DIR --speech DIR --json FIGURES.json` wrote.
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
from harken.runtime.modelfile import STREAMING, ModelFile
from harken.training.run_folder import read_run

_WEIGHTS = Path(__file__).parent.parent / "src" / "harken" / "weights"
_LICENCE = "Apache-2.0; made from recordings under CC BY 4.0 and CC BY 3.0: see the attribution"
_ATTRIBUTION = (
    "Speech Commands v0.01 and v0.02, Pete Warden, arXiv:1804.03209, CC BY 4.0 (25,740 clips, none of the test side)",
    "LibriSpeech dev-clean, V. Panayotov et al., openslr.org/12, CC BY 4.0 (13.5 minutes train, 15.6 set thresholds)",
    "ESC-10, K. J. Piczak, CC BY 3.0 (noise; a fifth of it was held out)",
    "words and sentences by hibari-tts and Kokoro-82M (both Apache-2.0), espeak-ng (GPL) and piper's voice joe-us; no code of "
    "theirs is inside",
)


def share(value: float) -> str:
    """Return a fraction in percent."""
    return f"{100 * value:.1f} %"


def card(name: str, model: ModelFile, figures: dict[str, Any], limits: Sequence[str], note: str) -> str:
    """Return the card in Markdown."""
    fields = model.card.fields
    low, high = figures["accuracy_interval"]
    recalls = {word["label"]: word for word in figures["words"]}
    robustness, speech, cost = figures["robustness"], figures["speech_without_commands"], figures["cost"]
    snr = ", ".join(f"{share(point['accuracy'])} at {point['snr_db']:g} dB" for point in robustness["snr"])
    steady = ", ".join(f"{kind['kind']} {100 * kind['share']:.0f} %" for kind in figures["steady_noise"])
    recipe = fields["recipe"]
    commands = [row for row in figures["words"] if row["label"] in model.card.words]
    found = sum(row["recall"] * row["clips"] for row in commands) / sum(row["clips"] for row in commands)
    lines = [
        f"# {name}",
        "",
        f"Hears {', '.join(model.card.words)}; else `_unknown_` (another word) or `_silence_`. One second at 16 kHz.",
        "",
        "| | |",
        "|---|---|",
        f"| network | `{recipe['network']}`, {fields['parameters']:,} parameters, "
        f"{fields['multiply_adds'] / 1e6:.1f} M multiply-adds |",
        f"| file | {model.path.stat().st_size / 1024:.0f} KB, front-end inside |",
        f"| validation accuracy | {share(figures['accuracy'])} ({share(low)} to {share(high)}) of {figures['clips']:,} clips |",
        f"| words / `_unknown_` / `_silence_` | {share(found)} / {share(recalls['_unknown_']['recall'])} / "
        f"{share(recalls['_silence_']['recall'])} |",
        f"| in noise that training did not hear | {share(robustness['clean'])} clean; {snr} |",
        f"| steady noise, made, heard as silence | {steady} |",
        f"| with its thresholds, in speech without the words | {speech['per_minute']:.2f} false alarms a minute; "
        f"{share(speech['words_found'])} of words are still found |",
        f"| one clip, one thread, asked over and over | {cost['latency_ms_median']:.2f} ms on {cost['processor']} |",
        "",
        "Accuracy counts the most probable class; thresholds play no part. The validation list is fixed: 1,900 clips of the",
        "words, 210 of other words (105 of them of twelve words of which no recording trains), 190 windows of noise, half of",
        "them at full level. No speaker of the ten words stands on both sides; of the 105, 90 are by speakers of whom other",
        "clips train.",
        f"False alarms: windows of a second every 0.25 s in {speech['minutes']:.1f} minutes by speakers who neither trained",
        "nor set thresholds.",
        "",
        "## Limits",
        "",
        "English words, one at a time, most of them said by adults into laptops and phones. Not judged on children's voices, far",
        "microphones or other languages, nor on the official test set.",
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
        f"{fields['clips']['train']:,} clips trained it. `python tools/bundle.py` wrote this card.",
        *(["", note] if note else []),
        "",
        "## Licence",
        "",
        "The weights are Apache-2.0, as harken is. They were made from:",
        "",
        *(f"- {line}" for line in fields["attribution"]),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the model file and its card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("run", type=Path)
    parser.add_argument("figures", type=Path)
    parser.add_argument("--command", required=True, help="that made the run; | stands where a line ends")
    parser.add_argument("--limit", action="append", default=[], help="what else it is bad at")
    parser.add_argument("--note", default="", help="what else there is to say of how it was made")
    options = parser.parse_args()
    _WEIGHTS.mkdir(exist_ok=True)
    target = _WEIGHTS / f"{options.name}.onnx"
    figures = json.loads(options.figures.read_text())
    added = {
        "name": options.name,
        "licence": _LICENCE,
        "attribution": list(_ATTRIBUTION),
        "command": options.command.replace("|", "\n"),
    }
    change_metadata(options.run / "model.onnx", target, added)
    streaming = target.with_suffix(f"{STREAMING}.onnx")
    if find_network(read_run(options.run)[0].network).causal:
        write_stream_of_model(target, streaming)
        streaming.with_name(f"{streaming.name}.json").unlink()  # of the check: the cards say what was measured
        change_metadata(streaming, streaming, added | {"name": f"{options.name}{STREAMING}"})
    with replacing(target.with_suffix(".md")) as temporary:
        temporary.write_text(
            card(options.name, ModelFile(target), figures, options.limit, options.note), encoding="utf-8"
        )
    print(target)


if __name__ == "__main__":
    main()
