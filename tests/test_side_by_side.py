from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from PIL import Image

from conftest import MakeModel
from harken.errors import HarkenError
from harken.evaluation.clips.evaluate import ClipEvaluation
from harken.evaluation.clips.examples import Examples
from harken.evaluation.clips.side_by_side import Contender, summary, write_side_by_side
from harken.runtime.modelfile import ModelFile

WORDS = ("yes", "no")
SPOKEN = ("yes", "yes", "yes", "no", "no")


def contender(model: Path, name: str, answers: tuple[str, ...], *, names: tuple[str, ...] | None = None) -> Contender:
    opened = ModelFile(str(model))
    labels = opened.card.labels
    probabilities = np.full((len(answers), len(labels)), 0.1, np.float32)
    probabilities[range(len(answers)), [labels.index(answer) for answer in answers]] = 0.7
    truth = np.array([labels.index(word) for word in SPOKEN])
    waveforms = np.zeros((len(answers), opened.card.window), np.float32)
    examples = Examples(waveforms, truth, names or tuple(f"clip {row}" for row in range(len(answers))), {})
    evaluation = ClipEvaluation(opened, examples, probabilities)
    return Contender(
        name=name, note=f"what {name} is", evaluation=evaluation, parameters=1234, latency_ms=1.25, training_s=90.0
    )


@pytest.fixture
def two(make_model: MakeModel, tmp_path: Path) -> tuple[Contender, Contender]:
    four = make_model(tmp_path / "four.onnx")
    more = make_model(tmp_path / "more.onnx", labels=["no", "maybe", "yes", "_unknown_"])  # another order, another word
    return (
        contender(four, "first", ("yes", "_unknown_", "_silence_", "no", "yes")),
        contender(more, "second", ("yes", "yes", "maybe", "no", "no")),
    )


def test_answers_that_are_no_word_are_wrong_and_stand_in_a_column_of_their_own(two: tuple[Contender, ...]) -> None:
    np.testing.assert_array_equal(two[0].counts(WORDS), [[1, 0, 2], [1, 1, 0]])
    np.testing.assert_array_equal(two[1].counts(WORDS), [[2, 0, 1], [0, 2, 0]])
    assert [each.accuracy(WORDS) for each in two] == [(2, 5), (4, 5)]


def test_the_summary_says_accuracy_size_and_time(two: tuple[Contender, ...]) -> None:
    line = summary(two[0], WORDS)
    assert line.startswith("40.0 % (11.8 to 76.9); trained in 1.5 min; ")  # Wilson, by hand
    assert line.endswith(" KB; 1.2 ms a clip")
    assert "already trained" in summary(replace(two[0], training_s=None), WORDS)


def test_the_picture_and_the_page_show_all_models(two: tuple[Contender, ...], tmp_path: Path) -> None:
    page, picture = tmp_path / "out/report.html", tmp_path / "out/report.png"
    write_side_by_side(two, WORDS, page=page, picture=picture, title="Two <models>", lead="on five clips")
    text = page.read_text()
    assert "Two &lt;models&gt;" in text
    for said in ("what first is", "what second is", "40.0 %", "80.0 %", "1,234", "<svg"):
        assert said in text
    with Image.open(picture) as image:
        assert image.width > image.height > 500
        pixels = np.asarray(image.convert("RGB")).astype(int)
    blue = (pixels[..., 2] - pixels[..., 0] > 60).mean()
    orange = (pixels[..., 0] - pixels[..., 2] > 60).mean()
    assert blue > 0.01  # both hues are there: correct answers and wrong ones
    assert orange > 0.01


def test_models_on_different_clips_are_not_compared(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model.onnx")
    one = contender(model, "one", SPOKEN)
    other = contender(model, "other", SPOKEN, names=("a", "b", "c", "d", "e"))
    with pytest.raises(HarkenError, match="different clips"):
        write_side_by_side((one, other), WORDS, page=tmp_path / "p.html", picture=tmp_path / "p.png", title="", lead="")
    with pytest.raises(HarkenError, match="not evaluated on every one of yes, no, maybe"):
        write_side_by_side(
            (one, one), (*WORDS, "maybe"), page=tmp_path / "p.html", picture=tmp_path / "p.png", title="", lead=""
        )
    assert not (tmp_path / "p.png").exists()
