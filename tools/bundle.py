"""Put a model file among the bundled models, with what its card says about its license and its training.

python tools/bundle.py NAME MODEL.onnx

Write the card, src/harken/weights/NAME.md, first: the model file's metadata are taken from it. `base.stream` belongs to the
card of `base`. MODEL.onnx comes from `harken train` or tools/average.py, and then from `harken evaluate-stream --tune`.
"""

import argparse
import re
import sys
from pathlib import Path

from harken.errors import HarkenError
from harken.models.onnx_writer import change_metadata
from harken.runtime.modelfile import STREAM_SUFFIX, find_model, open_model

_WEIGHTS = Path(__file__).parent.parent / "src" / "harken" / "weights"
_LICENSE = "Apache-2.0; trained on recordings under CC BY 4.0, CC BY 3.0 and the licenses in the attribution"


def section(card: str, heading: str) -> str:
    """Return the text under a heading of the second level, or ""."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def attribution(card: str) -> list[str]:
    """Return the items of the list under "License", each on one line."""
    items = re.findall(r"^- (.*?)(?=^- |\Z)", section(card, "License"), re.MULTILINE | re.DOTALL)
    return [" ".join(item.split()) for item in items]


def command(card: str, *, stream: bool) -> str:
    """Return the commands that made the model. A streaming file with weights of its own has its own."""
    headings = ("The streaming file", "How it was made") if stream else ("How it was made",)
    for heading in headings:
        if found := re.search(r"^```\w*\n(.*?)^```", section(card, heading), re.MULTILINE | re.DOTALL):
            return found[1].rstrip()
    raise HarkenError('the card has no commands: add them under "## How it was made"')


def main() -> None:
    """Write the bundled model file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", help="name of the bundled model, for example base or base.stream")
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="model file")
    options = parser.parse_args()
    path = _WEIGHTS / f"{options.name.removesuffix(STREAM_SUFFIX)}.md"
    if not path.is_file():
        raise HarkenError(f"{path} does not exist: write the card first")
    card = path.read_text(encoding="utf-8")
    if not (items := attribution(card)):
        raise HarkenError(f'{path} names no recordings: list them under "## License"')
    added = {
        "name": options.name,
        "license": _LICENSE,
        "attribution": items,
        "command": command(card, stream=options.name.endswith(STREAM_SUFFIX)),
    }
    target, model = _WEIGHTS / f"{options.name}.onnx", find_model(options.model)
    open_model(model, 1)  # an error of one line, if it is not a model file
    change_metadata(model, target, added)
    print(target)


if __name__ == "__main__":
    try:
        main()
    except HarkenError as error:
        print(f"bundle.py: {error}", file=sys.stderr)
        sys.exit(2)
