from pathlib import Path

import pytest
import torch

from harken.errors import HarkenError
from harken.training.run_folder import load_checkpoint


class _Trap:
    """Pickled, this is a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self.path,))


def test_a_checkpoint_of_tensors_and_plain_values_is_loaded(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {"weight": torch.ones(2)}, "epoch": 3, "callbacks": {"rows": [{"a": "1"}]}}, tmp_path / "a.ckpt"
    )
    checkpoint = load_checkpoint(tmp_path / "a.ckpt")
    assert checkpoint["epoch"] == 3
    assert checkpoint["state_dict"]["weight"].tolist() == [1.0, 1.0]


def test_a_checkpoint_that_holds_code_is_refused_and_the_code_does_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": _Trap(tmp_path / "sprung")}, tmp_path / "b.ckpt")
    with pytest.raises(HarkenError, match=r"b\.ckpt holds no plain weights"):
        load_checkpoint(tmp_path / "b.ckpt")
    assert not (tmp_path / "sprung").exists()


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.ckpt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(HarkenError, match=r"c\.ckpt holds no plain weights"):
        load_checkpoint(tmp_path / "c.ckpt")
