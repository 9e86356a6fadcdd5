"""The bundled models say what their cards say: their license, the recordings, and the commands that made them."""

import json
import runpy
import sys
from pathlib import Path

import onnx
import pytest

from harken.errors import HarkenError

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "src" / "harken" / "weights"
MODELS = sorted(path.name.removesuffix(".onnx") for path in WEIGHTS.glob("*.onnx"))
BUNDLE = runpy.run_path(str(ROOT / "tools" / "bundle.py"))


@pytest.mark.parametrize("name", MODELS)
def test_a_bundled_model_says_what_its_card_says(name: str) -> None:
    card = (WEIGHTS / f"{name.removesuffix('.stream')}.md").read_text(encoding="utf-8")
    metadata = {entry.key: json.loads(entry.value) for entry in onnx.load(str(WEIGHTS / f"{name}.onnx")).metadata_props}
    assert metadata["name"] == name
    assert metadata["attribution"] == BUNDLE["attribution"](card)
    assert metadata["command"] == BUNDLE["command"](card, stream=name.endswith(".stream"))
    assert f"{metadata['parameters']:,} parameters" in card


def test_a_model_that_does_not_exist_is_not_bundled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["bundle.py", "base", "nosuch.onnx"])
    with pytest.raises(HarkenError, match=r"nosuch\.onnx is neither a model file nor a bundled model"):
        BUNDLE["main"]()
