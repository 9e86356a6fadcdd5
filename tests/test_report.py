import base64
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from harken.errors import HarkenError
from harken.evaluation.clips.cost import Cost
from harken.evaluation.clips.evaluate import ClipEvaluation
from harken.evaluation.clips.examples import Examples
from harken.evaluation.clips.rejection import Rejection
from harken.evaluation.clips.report import report_json, write_report
from harken.evaluation.clips.robustness import Point, Robustness
from harken.evaluation.stream.audio import BackgroundSection
from harken.evaluation.stream.evaluate import evaluate_run
from harken.evaluation.stream.report import write_stream_report
from harken.runtime.modelfile import ModelFile
from listener_runs import make_run, make_utterance

YES, NO, UNKNOWN, SILENCE = range(4)
# The true class, the answer and its probability: 26 right, 14 wrong.
ANSWERS = (
    [(YES, YES, 0.9)] * 9 + [(NO, NO, 0.8)] * 8 + [(UNKNOWN, UNKNOWN, 0.7)] * 5 + [(SILENCE, SILENCE, 0.95)] * 4
    + [(NO, YES, 0.99), (YES, NO, 0.4)] + [(NO, YES, 0.6)] * 10 + [(UNKNOWN, NO, 0.5)] * 2
)  # fmt: skip

ROBUSTNESS = Robustness(
    clips=36,
    recordings=5,
    snr=(Point(math.inf, 22, 36), Point(20.0, 21, 36), Point(10.0, 18, 36), Point(5.0, 15, 36), Point(0.0, 9, 36)),
    shift=(Point(-200.0, 9, 36), Point(0.0, 22, 36), Point(200.0, 11, 36)),
    gain=(Point(-40.0, 8, 36), Point(0.0, 22, 36), Point(10.0, 20, 36)),
)
COST = Cost(
    file_bytes=312_456, parameters=54_168, multiply_adds=7_047_156, front_end_multiply_adds=23_618_000,
    latency_ms_median=1.83, latency_ms_p99=2.41, runs=2000, resident_bytes=98_300_000, base_bytes=71_100_000,
    processor="An Old Processor",
)  # fmt: skip
REJECTION = Rejection(found=0.9, confused=0.01, accepted=0.05, alarms=12, minutes=24.0)


@pytest.fixture
def evaluation(make_model: Callable[..., Path], tmp_path: Path) -> ClipEvaluation:
    truth, answers = np.array([row[0] for row in ANSWERS]), [row[1] for row in ANSWERS]
    probabilities = np.array(
        [[row[2] if label == row[1] else (1 - row[2]) / 3 for label in range(4)] for row in ANSWERS], np.float32
    )
    assert (probabilities.argmax(axis=1) == answers).all()
    waveforms = np.random.default_rng(0).uniform(-0.5, 0.5, (len(ANSWERS), 8000)).astype(np.float32)
    names = tuple(f"clip_{row}" for row in range(len(ANSWERS)))
    model = ModelFile(
        make_model(tmp_path / "spotter.onnx", **{"license": "CC BY <4.0>"}, recipe={"name": "v12", "epochs": 3})
    )
    examples = Examples(waveforms, truth, names, {"tree": 5}, ("bad.wav is empty: copy or record it again",))
    return ClipEvaluation(model, examples, probabilities)


class Page(HTMLParser):
    """The text of a page, its audio, and the addresses that it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.text = ""
        self.audio: list[str] = []
        self.loaded: list[str] = []
        self._open_tags: list[str] = []
        source = path.read_text(encoding="utf-8")
        self.source = source
        self.feed(source)
        self.text = re.sub(r"\s+", " ", self.text.replace("\N{NO-BREAK SPACE}", " "))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open_tags.append(tag)
        for name, value in attrs:
            if tag == "audio" and name == "src":
                self.audio.append(value or "")
            elif name in ("src", "href", "xlink:href") and not (value or "").startswith(("#", "data:")):
                self.loaded.append(f"{tag} {value}")

    def handle_endtag(self, tag: str) -> None:
        self._open_tags.pop()

    def handle_data(self, data: str) -> None:
        if self._open_tags and self._open_tags[-1] in ("style", "script"):
            return
        if "h2" in self._open_tags:
            self.headings.append(data)
        self.text += f" {data}"


def test_the_page_of_an_evaluation(evaluation: ClipEvaluation, tmp_path: Path) -> None:
    write_report(evaluation, tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert page.loaded == []
    assert page.headings == ["Confusions", "Words", "Mistakes", "Confidence", "Model", "Skipped clips"]
    assert "spotter" in page.text
    assert "26 of 40 clips recognized" in page.text
    assert "accuracy 65.00 %" in page.text
    assert "49.5–77.9" in page.text  # Wilson's interval of 26 of 40
    # Of 19 clips of `no`, 11 were recognized as `yes`.
    assert "no 19 72.7 42.1 53.3 57.9 (36.3–76.9) yes 11" in page.text
    assert "CC BY <4.0>" in page.text
    assert "Clips of words that the model has no class for: 5" in page.text
    assert "bad.wav is empty" in page.text
    assert "nan" not in page.text.lower()


def test_the_most_confident_mistakes_can_be_played(evaluation: ClipEvaluation, tmp_path: Path) -> None:
    write_report(evaluation, tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert len(page.audio) == 12
    assert "no recognized as yes 99.0 % for yes, 0.3 % for no clip_26" in page.text
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(page.audio[0].partition("base64,")[2])), dtype="float32")
    assert rate == 8000
    assert np.abs(samples - evaluation.examples.waveforms[26]).max() < 1 / 32768


def test_further_measurements_have_their_sections(evaluation: ClipEvaluation, tmp_path: Path) -> None:
    write_report(evaluation, tmp_path / "report.html", robustness=ROBUSTNESS, cost=COST, rejection=REJECTION)
    page = Page(tmp_path / "report.html")
    assert "Robustness" in page.headings
    assert "5 recordings not used in training" in page.text
    assert "50.0 %" in page.text  # at 10 dB, in large type
    assert "In 24 minutes of speech without the words it had 12 false alarms" in page.text
    assert "0.50 per minute (95 % interval 0.26 to 0.87)" in page.text  # Garwood: 6.2 to 20.96 of 12
    for figure in (
        "305 KB",
        "54,168",
        "7.05 million",
        "23.62 million",
        "1.83 ms",
        "2.41 ms",
        "94 MB",
        "An Old Processor",
    ):
        assert figure in page.text
    # yes has a threshold of 0.5: one of its 10 clips is recognized as `no`. no has none: 11 of its 19 clips are missed.
    assert "yes 0.500 10 10.0 0" in page.text
    assert "no none 19 57.9 2" in page.text


def test_the_card_shows_the_command_line_by_line(
    evaluation: ClipEvaluation, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    fields = {
        "attribution": ["Words, A. Speaker", "Noise & more, B. Loud"],
        "command": "harken corpus speak words \\\n    --takes 9\nharken train",
        "corpus": ["spoken", "train", "other", "train"],
        "license": "attributed below",
    }
    model = ModelFile(make_model(tmp_path / "made.onnx", recipe={"name": "v12"}, **fields))
    write_report(replace(evaluation, model=model), tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert (
        "Corpus spoken, train ×2, other License attributed below Attribution Words, A. Speaker Noise & more"
        in page.text
    )
    listed = f'<pre class="scroll">{fields["command"]}</pre>'
    assert f"<details><summary>Command</summary>{listed}</details>" in page.source
    assert page.text.count("--takes 9") == 1


def test_training_curves_are_drawn_from_the_history_beside_the_model(
    evaluation: ClipEvaluation, tmp_path: Path
) -> None:
    pytest.importorskip("lightning")
    columns = "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,learning_rate,seconds"
    (tmp_path / "history.csv").write_text(f"{columns}\n0,2.1,0.2,2.0,0.3,0.001,60\n1,1.4,0.5,1.3,0.6,0.001,61\n")
    write_report(evaluation, tmp_path / "report.html")
    assert "Training 2 epochs, 2 minutes" in Page(tmp_path / "report.html").text
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text(f"{columns}\n0,2.1,0.2,2.0,0.3,0.001,15\n")
    write_report(evaluation, tmp_path / "report.html", history=elsewhere)
    assert "Training 1 epoch, 15 seconds" in Page(tmp_path / "report.html").text


def test_a_model_without_mistakes(evaluation: ClipEvaluation, tmp_path: Path) -> None:
    examples = evaluation.examples
    right = Examples(examples.waveforms[:17], examples.truth[:17], examples.names[:17], {})
    write_report(
        replace(evaluation, examples=right, probabilities=evaluation.probabilities[:17]), tmp_path / "report.html"
    )
    page = Page(tmp_path / "report.html")
    assert "Every clip was recognized." in page.text
    assert page.audio == []
    assert "Skipped clips" not in page.headings
    # These classes have no clips, so they have no scores and no bars.
    assert "_unknown_ 0 – – – – _silence_ 0 – – – –" in page.text
    assert "nan" not in page.text.lower()


def test_the_report_of_a_run_is_named_after_its_network(
    evaluation: ClipEvaluation, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = ModelFile(make_model(tmp_path / "model.onnx", recipe={"name": "tutorial", "network": "tutorial_cnn"}))
    write_report(replace(evaluation, model=model), tmp_path / "report.html")
    assert "<h1>tutorial_cnn</h1>" in Page(tmp_path / "report.html").source


def test_a_path_that_cannot_be_written_leaves_nothing(evaluation: ClipEvaluation, tmp_path: Path) -> None:
    with pytest.raises(HarkenError, match="is a folder"):
        write_report(evaluation, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["spotter.onnx"]


def test_json_has_the_same_figures(evaluation: ClipEvaluation) -> None:
    values = json.loads(
        json.dumps(report_json(evaluation, robustness=ROBUSTNESS, cost=COST, rejection=REJECTION), allow_nan=False)
    )
    assert (values["accuracy"], values["clips"]) == (0.65, 40)
    assert values["accuracy_interval"] == pytest.approx([0.495059, 0.778654], abs=1e-5)
    assert values["robustness"]["snr"][1] == {
        "snr_db": 10.0, "accuracy": 0.5, "accuracy_interval": pytest.approx([0.344743, 0.655257], abs=1e-5),
    }  # fmt: skip
    assert values["cost"]["latency_ms_p99"] == 2.41
    assert values["speech_without_commands"] == {
        "minutes": 24.0, "false_alarms": 12, "words_found": 0.9, "per_minute": 0.5,
        "per_minute_interval": pytest.approx([0.258357, 0.873399], abs=1e-5),
    }  # fmt: skip
    assert values["rejection"]["words"][0] == {
        "label": "yes", "threshold": 0.5, "clips": 10, "missed": 1, "others_answered": 0,
    }  # fmt: skip
    assert values["rejection"]["det"]["other_clips"] == 11
    assert {"robustness", "cost", "speech_without_commands"}.isdisjoint(report_json(evaluation))


@pytest.mark.parametrize("found", [True, False])
def test_the_page_of_a_stream_lists_the_worst_word_first(found: bool, tmp_path: Path) -> None:
    words = [make_utterance("high", 1.0, 2.0), make_utterance("low", 5.0, 6.0)]
    listener_run = make_run([(2.0, "high", 0.9)] * found, words, [BackgroundSection("room", Path("a.wav"), 10.0, 60.0)])
    write_stream_report(evaluate_run(listener_run), tmp_path / "stream.html", title="spotter", sample_rate=8000)
    page = Page(tmp_path / "stream.html")
    assert page.headings == ["Trade-off and latency", "Missed words", "False alarms"]
    assert ("median 0.00 s" in page.text) == found
    assert ("No word was detected." in page.text) != found
    worst = "low 1 100.0 % high 1 0.0 %" if found else "high 1 100.0 % low 1 100.0 %"
    assert f"By word worst first Word Placed Missed {worst}" in page.text
    assert "none" in re.findall(r"<text[^>]*>([^<]*)</text>", page.source)
