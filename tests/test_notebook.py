"""The notebook runs from its first cell to its last, on a small corpus."""

import shutil
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the notebook needs harken[notebook]")
nbclient = pytest.importorskip("nbclient", reason="the notebook needs harken[notebook]")

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "tutorial.ipynb"


def test_the_notebook_ends_in_the_confusion_matrix(tiny_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARKEN_DATA", str(tiny_corpus))
    monkeypatch.setenv("HARKEN_SETTINGS", "epochs=2")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs)
    assert "1,611,498" in printed
    assert "2 epochs, validation accuracy" in printed
    last = notebook.cells[-1]
    assert "confusion_heat_map" in last.source
    assert any("image/png" in output.data for output in last.outputs)
    assert all(output.output_type != "error" for output in outputs)


def test_the_notebook_takes_the_words_that_the_corpus_has(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eight = tmp_path / "eight"  # as `make demo` leaves them
    shutil.copytree(tiny_corpus, eight, ignore=shutil.ignore_patterns("on", "off"))
    monkeypatch.setenv("HARKEN_DATA", str(eight))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    sources = [cell.source for cell in notebook.cells]
    start = next(number for number, source in enumerate(sources) if "make_task(" in source)
    notebook.cells = [notebook.cells[number] for number in (1, 3, start)]
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    assert notebook.cells[1].outputs[0].text == "80 clips of down, go, left, no, right, stop, up, yes\n"
    assert notebook.cells[2].outputs[0].data["text/plain"] == "{'train': 51, 'validation': 13, 'test': 16}"


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
