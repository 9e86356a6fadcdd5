import math
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.cbook import STEP_LOOKUP_MAP
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harken.evaluation.clips import figures
from harken.evaluation.clips.evaluate import ClipEvaluation
from harken.evaluation.clips.examples import Examples
from harken.evaluation.clips.robustness import Point, Robustness
from harken.evaluation.stream.audio import BackgroundSection
from harken.evaluation.stream.evaluate import evaluate_run
from harken.evaluation.stream.report import trade_off_curve
from harken.pages.drawing import figure_svg
from harken.pages.html import COLORS
from harken.runtime.modelfile import Card
from listener_runs import make_run, make_utterance, random_run

MakeEvaluation = Callable[..., ClipEvaluation]


@pytest.fixture
def make_evaluation() -> MakeEvaluation:
    """Return a function that makes an evaluation from a confusion matrix. Every answer has a probability of 80 %."""

    def make(confusion: NDArray[np.int64], labels: tuple[str, ...]) -> ClipEvaluation:
        classes = len(labels)
        pairs = [(true, answer) for true in range(classes) for answer in range(classes)]
        truth = np.repeat([true for true, _ in pairs], confusion.ravel())
        answers = np.repeat([answer for _, answer in pairs], confusion.ravel())
        probabilities = np.full((len(truth), classes), 0.2 / (classes - 1), np.float32)
        probabilities[np.arange(len(truth)), answers] = 0.8
        names = tuple(f"clip {row}" for row in range(len(truth)))
        examples = Examples(np.zeros((len(truth), 1), np.float32), truth, names, {})
        model = SimpleNamespace(path=Path("spotter.onnx"), card=Card(labels, 8000, 8000, {}, {}))
        return ClipEvaluation(model, examples, probabilities)  # type: ignore[arg-type]

    return make


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def drawn(figure: Figure) -> Figure:
    figure.draw_without_rendering()
    return figure


def test_training_curves_mark_the_best_epoch() -> None:
    history = [
        {"epoch": epoch, "train_loss": 2.0 - epoch, "train_accuracy": 0.1 * epoch, "validation_loss": 2.1 - epoch,
         "validation_accuracy": accuracy}
        for epoch, accuracy in enumerate([0.2, 0.55, 0.5])
    ]  # fmt: skip
    loss, accuracy = drawn(figures.training_curves(history)).axes
    assert accuracy.get_xlabel() == "epoch (best: 1)"
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train", "validation"]  # type: ignore[union-attr]
    lines = [[round(float(y), 6) for y in np.atleast_1d(line.get_ydata())] for line in accuracy.get_lines()]
    assert [20.0, 55.0, 50.0] in lines
    assert [55.0] in lines


def test_heat_map_of_few_classes_has_counts_and_percentages(make_evaluation: MakeEvaluation) -> None:
    confusion = np.array([[198, 1, 1], [0, 30, 10], [0, 0, 0]])
    (axes,) = drawn(figures.confusion_heat_map(make_evaluation(confusion, ("yes", "no", "_unknown_")))).axes
    assert texts(axes) == ["198", "99 %", "1", "<1 %", "1", "<1 %", "30", "75 %", "10", "25 %"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["yes", "no", "_unknown_"]


def test_labels_that_the_font_lacks_give_no_warnings(make_evaluation: MakeEvaluation) -> None:
    labels = ("日本", "नमस्ते", "สวัสดี")
    figure = figures.confusion_heat_map(make_evaluation(np.eye(3, dtype=np.int64) * 9, labels))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = figure_svg(figure, label="confusion")
    assert all(label in drawing for label in labels)


def luminance(color: NDArray[np.float64]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color.tolist()]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("side", [0, 1], ids=["light", "dark"])
def test_text_on_the_heat_map_is_readable(make_evaluation: MakeEvaluation, side: int) -> None:
    counts = np.zeros((10, 10), np.int64)
    counts[range(10), range(10)] = range(100, 0, -10)  # The fraction of right answers falls from all to few.
    counts[range(1, 10), range(9)] = range(10, 100, 10)
    (axes,) = drawn(figures.confusion_heat_map(make_evaluation(counts, tuple("abcdefghij")))).axes
    shown = {pair[0]: pair[side] for pair in COLORS.values()}
    card = np.array(to_rgb(COLORS["card"][side]))
    backgrounds = {}
    for cells in axes.collections:
        for path, color in zip(cells.get_paths(), cells.get_facecolor(), strict=True):
            background = np.array(to_rgb(shown[to_hex(color[:3])]))
            backgrounds[tuple(path.vertices.mean(axis=0).round())] = color[3] * background + (1 - color[3]) * card
    assert len(axes.texts) == 2 * len(backgrounds)
    for text in axes.texts:
        column, row = text.get_position()
        color = str(text.get_color())
        ink = np.array(to_rgb(shown.get(color, color)))
        low, high = sorted((luminance(ink), luminance(backgrounds[round(column), round(row)])))
        assert (high + 0.05) / (low + 0.05) > 4.1


@pytest.mark.parametrize("classes", [10, 12, 35])
def test_heat_map_cells_have_room_for_their_numbers(make_evaluation: MakeEvaluation, classes: int) -> None:
    confusion = np.full((classes, classes), 12) + np.diag([1234] * classes)
    figure = drawn(
        figures.confusion_heat_map(make_evaluation(confusion, tuple(f"word {row}" for row in range(classes))))
    )
    (axes,) = figure.axes
    cell_px = axes.get_window_extent().width / figure.dpi * 96 / classes
    # A digit is about 0.56 em wide; 8.5 points are 11.3 CSS pixels.
    widest_px = max(
        0.56 * len(text.get_text()) * text.get_fontsize() * 96 / 72 for text in axes.texts if "%" not in text.get_text()
    )
    assert widest_px < cell_px
    ends = [text for text in axes.texts if text.get_position()[0] > classes - 0.5]
    assert len(ends) == (classes if classes > 16 else 0)


@pytest.mark.parametrize("classes", [3, 20])
def test_word_scores_has_the_worst_word_first(make_evaluation: MakeEvaluation, classes: int) -> None:
    confusion = np.diag([8] * classes)
    confusion[1, 2] = 8  # half of word 1 is missed, half of the answers `word 2` are wrong
    confusion[0, 0] = 0  # word 0 never occurs
    (axes,) = drawn(
        figures.word_scores(make_evaluation(confusion, tuple(f"word {row}" for row in range(classes))))
    ).axes
    labels = axes.get_yticklabels() if classes == 3 else axes.get_xticklabels()
    assert [label.get_text() for label in labels] == ["word 1", "word 2", *(f"word {row}" for row in range(3, classes))]
    lengths = [bar.get_width() if classes == 3 else bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
    assert sorted(lengths)[-2:] == [50.0, 50.0]
    assert sum(lengths) == 100.0
    assert len(lengths) == 2 * (classes - 1)
    end = axes.get_xlim()[1] if classes == 3 else axes.get_ylim()[1]
    along = 0 if classes == 3 else 1
    for lines in axes.collections:
        assert isinstance(lines, LineCollection)
        assert to_hex(lines.get_color()[0]) == COLORS["ink"][0]  # type: ignore[index]
        assert max(line[:, along].max() for line in lines.get_segments()) < end  # The whole intervals are visible.


def test_word_scores_of_a_model_without_right_answers(make_evaluation: MakeEvaluation) -> None:
    confusion = np.array([[0, 0, 5], [0, 0, 5], [0, 0, 0]])
    (axes,) = drawn(figures.word_scores(make_evaluation(confusion, ("yes", "no", "_unknown_")))).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["yes", "no"]
    assert [bar.get_width() for bar in axes.patches] == [100, 100]


def test_reliability_shows_predicted_probability_against_accuracy(make_evaluation: MakeEvaluation) -> None:
    upper, lower = drawn(figures.reliability(make_evaluation(np.array([[3, 1], [0, 4]]), ("yes", "no")))).axes
    (line,) = [line for line in upper.get_lines() if line.get_marker() == "o"]
    assert line.get_xydata() == pytest.approx(np.array([[80.0, 87.5]]), abs=1e-4)
    assert max(bar.get_height() for bar in lower.patches) == 8  # type: ignore[attr-defined]


def test_the_legend_of_the_rejection_curve_names_the_classes(make_evaluation: MakeEvaluation) -> None:
    confusion = np.array([[9, 1, 0], [1, 4, 0], [0, 1, 2]])
    figure = figures.rejection_curve(make_evaluation(confusion, ("yes", "_unknown_", "_silence_")))
    assert figure is not None
    (axes,) = drawn(figure).axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "5 clips of _unknown_", "3 clips of _silence_", "8 clips together",
    ]  # fmt: skip
    # `predict` accepts one of the 8 other clips as the word, and misses one of its 10 clips.
    (dot,) = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert dot.get_xydata() == pytest.approx(np.array([[1 / 8, 1 / 10]]))


def test_there_is_no_rejection_curve_without_others(make_evaluation: MakeEvaluation) -> None:
    assert figures.rejection_curve(make_evaluation(np.diag([3, 3]), ("yes", "no"))) is None


def test_accuracy_figures_share_one_scale() -> None:
    robustness = Robustness(
        clips=100,
        recordings=3,
        snr=(Point(math.inf, 90, 100), Point(10.0, 80, 100), Point(0.0, 55, 100)),
        shift=(Point(-200.0, 70, 100), Point(0.0, 90, 100)),
        gain=(Point(0.0, 90, 100), Point(10.0, 85, 100)),
    )
    (noise,) = drawn(figures.accuracy_against_snr(robustness)).axes
    (shift,) = drawn(figures.accuracy_against_shift(robustness)).axes
    (gain,) = drawn(figures.accuracy_against_gain(robustness)).axes
    # The lower end of the interval of 55 of 100 is 45.2 %.
    assert noise.get_ylim() == shift.get_ylim() == gain.get_ylim() == (40.0, 101.0)
    assert [label.get_text() for label in noise.get_xticklabels()] == ["clean", "10", "0"]
    assert shift.get_lines()[0].get_xydata() == pytest.approx(np.array([[-200.0, 70.0], [0.0, 90.0]]))
    assert gain.get_lines()[0].get_xydata() == pytest.approx(np.array([[0.0, 90.0], [10.0, 85.0]]))


def test_the_trade_off_has_plain_tick_labels() -> None:
    (axes,) = drawn(trade_off_curve(evaluate_run(random_run(0)))).axes
    ticks = axes.get_xticks()
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["none", "0.1", "1", "10"]
    assert ticks[0] == pytest.approx(0.5 / 10)  # ten hours
    assert [float(name) for name in names[1:]] == pytest.approx(ticks[1:])
    assert axes.get_xlim()[0] < ticks[0]


def test_the_trade_off_promises_no_more_than_a_measured_threshold_does() -> None:
    evaluation = evaluate_run(random_run(0))
    (axes,) = drawn(trade_off_curve(evaluation)).axes
    (line, *_) = axes.get_lines()
    rates, missed = STEP_LOOKUP_MAP[line.get_drawstyle()](*line.get_data())  # with the corners of the steps
    curve = evaluation.trade_off
    for rate, share in zip(rates, missed, strict=True):
        reached = curve.missed[curve.false_alarms_per_hour <= rate * (1 + 1e-9)]
        assert not reached.size or share >= 100 * reached.min() - 1e-6


def test_a_stream_without_false_alarms_still_has_a_trade_off() -> None:
    words = [make_utterance("low", 1.0, 2.0), make_utterance("high", 5.0, 6.0)]
    listener_run = make_run([(2.0, "low", 0.9)], words, [BackgroundSection("room", Path("a.wav"), 10.0, 60.0)])
    (axes,) = drawn(trade_off_curve(evaluate_run(listener_run))).axes
    assert axes.get_xticklabels()[0].get_text() == "none"
    assert len(axes.get_xticks()) > 1
    assert all("times" not in label.get_text() for label in axes.get_xticklabels())
