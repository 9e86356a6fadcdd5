"""Test the page in a real browser, both served and exported. The browser's microphone plays a file."""

import base64
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from browsing import open_page, serve_folder
from conftest import MakeModel, Run
from harken import enroll
from harken.audio.take import check_take
from harken.cli.main import main
from harken.corpus.table import read_corpus
from harken.errors import HarkenError
from harken.export import web
from harken.models.onnx_writer import change_metadata
from harken.runtime.isolation import Isolation, subtract_logits
from harken.runtime.listener import Listener
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import find_model
from harken.runtime.recognizer import Recognizer
from harken.runtime.wake_listener import WakeListener
from serving import Server, serving, synthesize, write_clip

RATE = 16_000
WORDS = ("stop", "left", "yes")
NO_KEYWORD = "no keyword"  # what the page shows when it rejects a file


@pytest.fixture(scope="module")
def microphone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the audio that the microphone plays in a loop: three words with pauses."""
    audio = np.concatenate([synthesize(word, after_s=1.2) for word in WORDS])
    return write_clip(tmp_path_factory.mktemp("microphone") / "words.wav", audio)


def with_hum(audio: Any) -> Any:
    """Add the offset and the hum of a microphone. The listener measures levels without them."""
    hum = 0.02 + 0.01 * np.sin(2 * np.pi * 50 / RATE * np.arange(audio.size))
    return (audio + hum).astype(np.float32)


def detect_all_words(page: Any) -> None:
    """Listen until each word has been detected, then stop."""
    page.wait_for_selector("html[data-ready]")
    for word in WORDS:  # these tests are not about the thresholds of the model file
        page.evaluate(
            """word => { const slider = document.getElementById(`threshold-${word}`);
            slider.value = 0.5; slider.dispatchEvent(new Event('input')); }""",
            word,
        )
    page.click("#listen")
    for word in WORDS:
        page.wait_for_function(
            "word => [...document.querySelectorAll('#history b')].some(b => b.textContent === word)",
            arg=word,
            timeout=30_000,
        )
    assert page.inner_text("#listen") == "Stop listening"
    page.click("#listen")
    assert page.inner_text("#listen") == "Start listening"


def set_thresholds(page: Any, value: float) -> None:
    """Move the threshold of each word to a value."""
    page.evaluate(
        """value => document.querySelectorAll("#probabilities input").forEach((slider) => {
            slider.value = value;
            slider.dispatchEvent(new Event("input"));
        })""",
        value,
    )


def add_file(page: Any, path: Path) -> tuple[str, str, str]:
    """Give the page an audio file. Return the word that it shows, the note below it, and the selected label."""
    count = page.locator("#history li").count()
    page.set_input_files("#files", [str(path)])
    page.wait_for_function("count => document.querySelectorAll('#history li').length > count", arg=count)
    word, note = page.inner_text("#history li:first-child b"), page.inner_text("#history li:first-child small")
    return word, note, page.input_value("#history li:first-child select")


def check_files_use_the_thresholds(page: Any, folder: Path) -> None:
    """Check that the thresholds on the page apply to files, and that rejected files have no label at first."""
    page.wait_for_selector("html[data-ready]")
    clip = folder / "go.FLAC"
    soundfile.write(clip, synthesize("go"), RATE, format="FLAC")
    probability = Recognizer().predict(clip).probability
    cases = ((probability + (1 - probability) / 2, NO_KEYWORD), (probability / 2, "go"), (1.0, NO_KEYWORD))
    for threshold, expected in cases:
        set_thresholds(page, threshold)
        word, note, label = add_file(page, clip)
        assert word == expected
        assert note.startswith("unsure: go at" if expected == NO_KEYWORD else f"{100 * probability:.0f}%")
        assert label == ("" if expected == NO_KEYWORD else "go")
        assert page.inner_text("#word") == expected
        assert page.evaluate("document.querySelectorAll('.bar.detected').length") == (expected == "go")
    assert add_file(page, write_clip(folder / "quiet.wav", np.zeros(RATE, np.float32)))[::2] == (NO_KEYWORD, "")
    assert page.inner_text("#unlabeled-note") == "3 clips have no label and won't be in the download."
    assert sorted(downloaded_files(page)) == [("go", "flac")]
    page.select_option("#history li:first-child select", "_silence_")
    page.select_option("#history li:nth-child(2) select", "go")
    assert page.inner_text("#unlabeled-note") == "1 clip has no label and won't be in the download."
    assert sorted(downloaded_files(page)) == [("_silence_", "wav"), ("go", "flac"), ("go", "flac")]


def downloaded_files(page: Any) -> list[tuple[str, str]]:
    """Download the corpus and return the folder and the extension of each file in it."""
    with page.expect_download() as download:
        page.click("#download-all")
    with zipfile.ZipFile(download.value.path()) as archive:
        return [(Path(name).parent.name, name.rpartition(".")[2]) for name in archive.namelist()]


def is_drawn(page: Any, canvas: str) -> bool:
    """Return whether a canvas shows more than its background."""
    colors: int = page.evaluate(
        """id => { const c = document.getElementById(id), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        return new Set(new Uint32Array(d.buffer)).size; }""",
        canvas,
    )
    return colors > (0 if canvas == "waveform" else 20)


# The served page.


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def test_the_served_page_detects_spoken_words(
    chromium: str, server: Server, microphone_file: Path, tmp_path: Path
) -> None:
    with open_page(chromium, server.url, microphone_file) as page:
        detect_all_words(page)
        assert is_drawn(page, "waveform")
        assert is_drawn(page, "spectrogram")
        page.set_viewport_size({"width": 700, "height": 500})  # as when a phone is rotated or scrolled
        page.wait_for_function("() => document.getElementById('spectrogram').width < 700")
        assert is_drawn(page, "waveform")
        assert is_drawn(page, "spectrogram")
        assert page.inner_text("#word") in WORDS
        clip = write_clip(tmp_path / "go.wav", synthesize("go"))
        page.set_input_files("#files", [str(clip)])
        page.wait_for_selector("#history small:has-text('go.wav')")
        broken = tmp_path / "broken.wav"
        broken.write_bytes(b"not audio")
        page.set_input_files("#files", [str(broken)])
        page.wait_for_selector("#history .failed:has-text('broken.wav')")
        with page.expect_download() as download:
            page.click("#download-all")
        archive_file = tmp_path / "corpus.zip"
        download.value.save_as(archive_file)
    with zipfile.ZipFile(archive_file) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    corpus = read_corpus([tmp_path / "corpus"])
    assert set(WORDS) <= set(corpus.words)
    assert {clip.speaker[:3] for clip in corpus.clips} == {"web"}
    recognizer = Recognizer()
    detected = [clip for clip in corpus.clips if clip.word in WORDS]
    assert [recognizer.predict(clip.path).label for clip in detected] == [clip.word for clip in detected]


def test_files_use_the_thresholds_of_the_served_page(
    chromium: str, server: Server, microphone_file: Path, tmp_path: Path
) -> None:
    with open_page(chromium, server.url, microphone_file) as page:
        check_files_use_the_thresholds(page, tmp_path)


def test_the_page_shows_a_hint_and_the_model_card(chromium: str, microphone_file: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    change_metadata(find_model("tiny"), model, {"corpus": ["speech_commands", "train", "train"]})
    with serving("--model", str(model)) as server, open_page(chromium, server.url, microphone_file) as page:
        page.wait_for_selector("html[data-ready]")
        assert page.inner_text("#hint-title") == "Say a word"
        assert page.locator("#hint-words li").all_inner_texts() == list(Recognizer(model).card.words)
        assert "permission to use the microphone" in page.inner_text("#status")
        assert page.is_visible("#visualizer-empty")
        muted = page.evaluate("getComputedStyle(document.querySelector('.muted')).color")
        # The page adds this class a moment after a detection.
        page.evaluate("document.getElementById('word').classList.add('faded')")
        page.wait_for_function("muted => getComputedStyle(document.getElementById('word')).color === muted", arg=muted)
        page.click("#model-card > summary")
        command = Recognizer(model).card.fields["command"]
        assert not page.is_visible("#model-card pre")
        page.click("#model-card details summary")
        assert page.inner_text("#model-card pre") == command
        assert "train ×2" in page.inner_text("#model-card dl")
        assert "train, train" not in page.inner_text("#model-card dl")


def test_a_threshold_of_one_blocks_a_word(chromium: str, server: Server, microphone_file: Path) -> None:
    with open_page(chromium, server.url, microphone_file) as page:
        page.wait_for_selector("html[data-ready]")
        for slider in page.query_selector_all("#probabilities input"):
            slider.focus()
            page.keyboard.press("End")  # by keyboard
        page.click("#listen")
        page.wait_for_function("() => document.querySelectorAll('.probability')[0].textContent !== ''", timeout=15_000)
        page.wait_for_timeout(5000)
        assert page.query_selector_all("#history li") == []
        page.click("#reset-thresholds")
        default = ListenerSettings.from_card(Recognizer().card).thresholds["stop"]
        assert float(page.input_value("#threshold-stop")) == default


def test_the_sensitivity_of_the_page_moves_the_thresholds_as_python_does(
    chromium: str, server: Server, microphone_file: Path
) -> None:
    with open_page(chromium, server.url, microphone_file) as page:
        page.wait_for_selector("html[data-ready]")
        for sensitivity in (0.0, 0.7):
            page.evaluate(
                """value => { const slider = document.getElementById("sensitivity");
                slider.value = value; slider.dispatchEvent(new Event("input")); }""",
                sensitivity,
            )
            wanted = ListenerSettings.from_card(Recognizer(sensitivity=sensitivity).card).thresholds
            found = {word: float(page.input_value(f"#threshold-{word}")) for word in wanted}
            assert found == pytest.approx(wanted, abs=1e-6)
            page.click("#reset-thresholds")
            assert float(page.input_value("#sensitivity")) == 0.5


def test_the_sensitivity_keeps_its_distance_at_every_width(
    chromium: str, server: Server, microphone_file: Path
) -> None:
    with open_page(chromium, server.url, microphone_file) as page:
        page.wait_for_selector("html[data-ready]")
        for width in (320, 390, 768, 900, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            slider, button, low, high = (
                page.locator(place).bounding_box()
                for place in (
                    "#sensitivity",
                    "#reset-thresholds",
                    ".sensitivity small >> nth=0",
                    ".sensitivity small >> nth=1",
                )
            )
            assert button["y"] - (high["y"] + high["height"]) >= 12, width
            assert low["y"] == high["y"] >= slider["y"] + slider["height"], (
                width
            )  # the hints are below the slider's ends
            assert low["x"] == pytest.approx(slider["x"], abs=1)
            assert high["x"] + high["width"] == pytest.approx(slider["x"] + slider["width"], abs=1)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width


def test_the_page_asks_for_a_token(chromium: str, microphone_file: Path) -> None:
    with serving("--token", "sesame") as server:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            page = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]).new_page()
            page.goto(server.url)
            for token, accepted in (("wrong", False), ("sesame", True)):
                page.wait_for_selector("#token-form:not([hidden])")
                page.fill("#token", token)
                page.click("#token-form button")
                if accepted:
                    page.wait_for_selector("#model-line:has-text('Keyword spotting')")
                else:
                    page.wait_for_selector("#token-error:has-text('valid')")
                    assert not page.is_visible("#listen")

            page.wait_for_selector("html[data-ready]")


def test_without_https_the_page_explains_why_there_is_no_microphone(chromium: str, microphone_file: Path) -> None:
    with serving("--host", "0.0.0.0", "--token", "t") as server:
        url = server.url.replace("0.0.0.0", "harken.example") + "/"
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            rules = "--host-resolver-rules=MAP harken.example 127.0.0.1"
            page = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", rules]).new_page()
            page.goto(url)
            page.fill("#token", "t")
            page.click("#token-form button")
            page.wait_for_selector("html[data-ready]")
            assert "--tls-cert" in page.inner_text("#status")
            assert page.is_disabled("#listen")


def test_the_page_records_your_own_words(chromium: str, server: Server, microphone_file: Path, tmp_path: Path) -> None:
    with open_page(chromium, server.url, microphone_file) as page:
        page.wait_for_selector("html[data-ready]")
        page.fill("#record-words", "lights, music")
        page.fill("#record-takes", "1")
        page.click("#record-start")
        page.wait_for_selector("#record-download:not([hidden])", timeout=60_000)
        with page.expect_download() as download:
            page.click("#record-download")
        download.value.save_as(tmp_path / "corpus.zip")
    with zipfile.ZipFile(tmp_path / "corpus.zip") as archive:
        assert sorted(archive.namelist()) == ["corpus/lights/me_nohash_0.wav", "corpus/music/me_nohash_0.wav"]
        for name in archive.namelist():
            samples, rate = soundfile.read(io.BytesIO(archive.read(name)))
            assert samples.size == rate
            assert np.abs(samples).max() > 0.01


# The exported page, with the model in the browser.


@pytest.fixture(scope="module")
def exported(ort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "page"
    assert web.write_web("base", folder, ort=ort) == folder / "index.html"
    return folder


def test_the_exported_page_detects_spoken_words_offline(chromium: str, microphone_file: Path, exported: Path) -> None:
    with serve_folder(exported) as url, open_page(chromium, url, microphone_file) as page:
        page.wait_for_selector("html[data-ready]")
        page.evaluate("import('./page/worklet.js').catch(() => {})")  # the only file that is loaded after the start
        page.click("#listen")
        page.wait_for_selector("#listen[data-listening=true]")
        page.click("#listen")
        page.context.set_offline(True)
        detect_all_words(page)


def test_files_use_the_thresholds_of_the_exported_page(
    chromium: str, microphone_file: Path, exported: Path, tmp_path: Path
) -> None:
    with serve_folder(exported) as url, open_page(chromium, url, microphone_file) as page:
        check_files_use_the_thresholds(page, tmp_path)


def test_predictions_in_the_browser_match_python(
    chromium: str, microphone_file: Path, exported: Path, tmp_path: Path
) -> None:
    recognizer = Recognizer()
    clips = [synthesize(word) for word in (*WORDS, "happy")] + [
        np.zeros(RATE, np.float32),
        synthesize("go", before_s=1.0),
    ]
    with serve_folder(exported) as url, open_page(chromium, url, microphone_file) as page:
        page.wait_for_selector("html[data-ready]")
        for number, clip in enumerate(clips):
            path = write_clip(tmp_path / f"{number}.wav", clip)
            found = page.evaluate(
                """async bytes => { const { predict } = await import("./page/engine.js");
                return predict(new Blob([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))])); }""",
                base64.b64encode(path.read_bytes()).decode(),
            )
            expected = recognizer.predict(path)
            assert (found["word"], found["reason"]) == (expected.word, expected.reason)
            assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)


def test_detections_in_the_browser_match_python(chromium: str, microphone_file: Path, exported: Path) -> None:
    audio = with_hum(np.concatenate([synthesize(word, after_s=1.0) for word in WORDS]))
    thresholds = dict.fromkeys(Recognizer().card.words, 0.5)
    expected = Listener(Recognizer(), source_rate=RATE, thresholds=thresholds).push(audio)
    assert [event.word for event in expected] == list(WORDS)
    with serve_folder(exported) as url, open_page(chromium, url, microphone_file) as page:
        page.wait_for_selector("html[data-ready]")
        found = page.evaluate(
            """async ([samples, rate, thresholds]) => {
                const { listen } = await import("./page/engine.js"), events = [];
                let hops = 0;
                const add = (event) => events.push(event);
                const stream = await listen(rate, { event: add, error: add, posteriors: () => { hops++; } });
                stream.setThresholds(thresholds);
                for (let i = 0; i < samples.length; i += 777) stream.push(Float32Array.from(samples.slice(i, i + 777)));
                while (hops < Math.floor(samples.length / rate * 10)) await new Promise((r) => setTimeout(r, 50));
                return events;
            }""",
            [audio.tolist(), RATE, thresholds],
        )
    assert [event["word"] for event in found] == list(WORDS)
    for in_browser, in_python in zip(found, expected, strict=True):
        assert in_browser["end_s"] == pytest.approx(in_python.end_s)
        assert in_browser["confidence"] == pytest.approx(in_python.confidence, abs=1e-4)


def test_isolation_in_the_browser_matches_python(chromium: str, microphone_file: Path, exported: Path) -> None:
    rng = np.random.default_rng(0)
    audio = np.concatenate(
        [synthesize("yes"), *(0.02 * rng.standard_normal(RATE) for _ in range(3)), synthesize("no"), synthesize("up")]
    )
    audio = audio[: 60 * 1600].astype(np.float32)
    isolation, expected = Isolation(RATE, RATE), []
    for hop in np.split(audio, audio.size // 1600):
        isolation.push(hop)
        expected.append([isolation.penalty, subtract_logits(0.9, 4 * isolation.penalty)])
    assert len({round(penalty, 3) for penalty, _ in expected}) > 15
    with serve_folder(exported) as url, open_page(chromium, url, microphone_file) as page:
        found = page.evaluate(
            """async ([samples, rate]) => {
                const { Isolation, subtractLogits } = await import("./page/isolation.js");
                const isolation = new Isolation(rate, rate), found = [];
                for (let i = 0; i < samples.length; i += 1600) {
                    isolation.push(Float32Array.from(samples.slice(i, i + 1600)));
                    found.push([isolation.penalty(), subtractLogits(0.9, 4 * isolation.penalty())]);
                }
                return found;
            }""",
            [audio.tolist(), RATE],
        )
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_resampler_in_the_browser_matches_soxr(chromium: str, microphone_file: Path, exported: Path) -> None:
    for rate in (44_100, 48_000, 8_000):
        time = np.arange(rate) / rate
        audio = np.sum([np.sin(2 * np.pi * hz * time) / 4 for hz in (110, 1000, 3300)], axis=0).astype(np.float32)
        expected = soxr.resample(audio, rate, RATE)
        with serve_folder(exported) as url, open_page(chromium, url, microphone_file) as page:
            found = np.array(
                page.evaluate(
                    """async ([samples, rate]) => {
                        const { Resampler } = await import("./page/resampler.js"), out = [];
                        const resampler = new Resampler(rate, 16000);
                        for (let i = 0; i < samples.length; i += 1024)
                            out.push(...resampler.push(Float32Array.from(samples.slice(i, i + 1024))));
                        return out;
                    }""",
                    [audio.tolist(), rate],
                )
            )
        inner = slice(500, found.size - 500)
        assert found.size > 0.98 * RATE
        assert np.abs(found[inner] - expected[: found.size][inner]).max() < 1e-3


def test_takes_are_checked_as_in_python(chromium: str, microphone_file: Path, exported: Path) -> None:
    voice = np.pad(synthesize("music"), (3000, 9000))
    takes = [
        voice,
        0.001 * voice,
        np.clip(9 * voice, -1, 1),
        np.pad(voice, (RATE, 0))[: RATE + 11_000],
        np.tile(voice, 2),
        with_hum(voice),
    ]
    expected = [check_take(take.astype(np.float32), RATE) for take in takes]
    assert [take.fault[:9] for take in expected] == ["", "too quiet", "too loud,", "cut off a", "longer th", ""]
    with serve_folder(exported) as url, open_page(chromium, url, microphone_file) as page:
        for take, in_python in zip(takes, expected, strict=True):
            found = page.evaluate(
                """async samples => { const { checkTake } = await import("./page/take.js");
                const { clip, fault } = checkTake(Float32Array.from(samples), 16000);
                return { clip: clip && Array.from(clip), fault }; }""",
                take.tolist(),
            )
            assert (found["fault"] or "") == in_python.fault
            if in_python.clip is not None:
                assert np.array_equal(np.array(found["clip"], np.float32), in_python.clip)


# The exported engine without a browser.


def test_the_engine_in_node_matches_python(exported: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed; on Debian and Ubuntu, run: apt install nodejs")
    audio = with_hum(np.concatenate([synthesize(word, after_s=1.0) for word in WORDS]))
    thresholds = dict.fromkeys(Recognizer().card.words, 0.5)
    expected = Recognizer().predict(synthesize("go"), source_rate=RATE)
    events = Listener(Recognizer(), source_rate=RATE, thresholds=thresholds).push(audio)
    synthesize("go").astype("<f4").tofile(tmp_path / "clip.f32")
    audio.astype("<f4").tofile(tmp_path / "stream.f32")
    script = """
        import { readFileSync } from "node:fs";
        const [engineUrl, clip, stream, rate, thresholds] = process.argv.slice(1);
        const samples = (path) => new Float32Array(Uint8Array.from(readFileSync(path)).buffer);
        const { listen, loadCard, predict, predictSamples } = await import(engineUrl);
        const events = [], errors = [];
        const live = await listen(Number(rate), { event: (e) => events.push(e), error: (e) => errors.push(e) });
        live.setThresholds(JSON.parse(thresholds));
        await live.push(samples(stream));
        const fileError = await predict(new Blob([])).catch((error) => error.message);
        console.log(JSON.stringify({
            words: (await loadCard()).words, prediction: await predictSamples(samples(clip)), events, errors, fileError,
        }));
    """
    options = ["--no-warnings", "--input-type=module", "--eval", script]
    arguments = [(exported / "page" / "engine.js").as_uri(), str(tmp_path / "clip.f32"), str(tmp_path / "stream.f32")]
    command = [node, *options, *arguments, str(RATE), json.dumps(thresholds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["words"] == list(Recognizer().card.words)
    assert found["prediction"]["word"] == expected.word
    assert found["prediction"]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
    assert found["errors"] == []
    assert [event["word"] for event in found["events"]] == [event.word for event in events] == list(WORDS)
    assert [event["end_s"] for event in found["events"]] == pytest.approx([event.end_s for event in events])
    assert "call predictSamples" in found["fileError"]


# A wake phrase. Both models detect bursts of sound.

BURST_RATE = 8_000


@pytest.fixture
def burst_models(make_model: MakeModel, tmp_path: Path) -> tuple[Path, Path]:
    """Return a command model, and a wake model with the phrase "hey robot"."""
    settings = {"smoothing_ms": 100.0, "isolation": 0.0, "refractory_ms": 1000.0}
    commands = make_model(tmp_path / "commands.onnx", sample_rate=BURST_RATE, listener=settings)
    labels = ["hey robot", "_other_", "_unknown_", "_silence_"]
    wake = make_model(tmp_path / "wake.onnx", labels=labels, sample_rate=BURST_RATE, thresholds=None, listener=settings)
    return commands, wake


@pytest.fixture
def burst_file(tmp_path: Path) -> Path:
    """Return audio with two bursts, to play in a loop. Two seconds after the first, the words count no more."""
    samples = np.zeros(8 * RATE, np.float32)
    for start_s in (0.5, 2.5):
        samples[round(start_s * RATE) : round((start_s + 0.25) * RATE)] = 0.9
    return write_clip(tmp_path / "bursts.wav", samples)


def check_wake_states(page: Any) -> None:
    """Listen, and check that the page shows whether commands count."""
    page.wait_for_selector("html[data-ready]")
    assert page.inner_text("#hint-title") == "Say “hey robot” or “_other_”, then a word"
    assert not page.is_visible("#wake")
    page.click("#listen")
    page.wait_for_function(
        "() => document.getElementById('wake-state').textContent.startsWith('Waiting for “hey robot”')"
    )
    page.wait_for_function("() => document.getElementById('wake-state').textContent === 'Listening for a command'")
    assert page.get_attribute("#wake-state", "aria-live") == "polite"
    page.wait_for_function("() => /^[123] s left$/.test(document.getElementById('wake-left').textContent)")
    page.wait_for_function(
        "() => [...document.querySelectorAll('#history b')].some((b) => ['yes', 'no'].includes(b.textContent))"
    )
    page.wait_for_function("() => document.getElementById('wake-state').textContent.startsWith('Waiting for')")
    words = page.locator("#history b").all_inner_texts()
    assert {"hey robot", "_other_"} & set(words)
    assert page.input_value("#history li:last-child select") == words[-1]  # the phrase is a label, too
    page.click("#listen")
    assert not page.is_visible("#wake")


def test_the_served_page_shows_whether_commands_count(
    chromium: str, burst_models: tuple[Path, Path], burst_file: Path
) -> None:
    commands, wake = burst_models
    options = ("--wake", str(wake), "--for", "3")
    with serving(*options, model=commands) as server, open_page(chromium, server.url, burst_file) as page:
        check_wake_states(page)


def test_the_exported_page_shows_whether_commands_count(
    chromium: str, burst_models: tuple[Path, Path], burst_file: Path, ort: Path, tmp_path: Path
) -> None:
    web.write_web(burst_models[0], tmp_path / "page", ort=ort, wake=burst_models[1], command_s=3)
    with serve_folder(tmp_path / "page") as url, open_page(chromium, url, burst_file) as page:
        check_wake_states(page)


@pytest.mark.parametrize(("rate", "wake_rate"), [(8_000, 8_000), (16_000, 8_000), (8_000, 16_000)])
def test_wake_phrases_and_commands_in_node_match_python(
    make_model: MakeModel, ort: Path, tmp_path: Path, rate: int, wake_rate: int
) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed; on Debian and Ubuntu, run: apt install nodejs")
    labels = ["no", "hey robot", "_unknown_", "_silence_"]  # a shared word, too
    settings = {"smoothing_ms": 100.0, "refractory_ms": 500.0, "isolation": 3.0}
    commands = make_model(tmp_path / "commands.onnx", sample_rate=8000, listener=settings)
    wake_settings = {**settings, "hop_ms": 80.0, "isolation": 0.0}
    options = {"size": wake_rate, "sample_rate": wake_rate, "thresholds": None, "listener": wake_settings}
    wake = make_model(tmp_path / "wake.onnx", labels=labels, **options)
    web.write_web(commands, tmp_path / "page", ort=ort, wake=wake, command_s=1.5)
    rng = np.random.default_rng(1)
    samples = (0.003 * rng.standard_normal(30 * rate)).astype(np.float32)
    for start_s in np.cumsum(rng.uniform(0.6, 4, 10)):
        samples[round(start_s * rate) : round((start_s + 0.25) * rate)] += np.float32(0.8)
    listener = WakeListener(
        Listener(Recognizer(wake), source_rate=rate), Listener(Recognizer(commands), source_rate=rate), command_s=1.5
    )
    expected = listener.push(samples)
    assert {event.kind for event in expected} == {"wake", "command"}
    samples.astype("<f4").tofile(tmp_path / "stream.f32")
    script = """
        import { readFileSync } from "node:fs";
        const [engineUrl, stream, rate] = process.argv.slice(1);
        const samples = new Float32Array(Uint8Array.from(readFileSync(stream)).buffer), events = [], until = [];
        const { listen } = await import(engineUrl);
        const live = await listen(Number(rate), {
            event: (e) => events.push(e), error: (e) => events.push(e), posteriors: ({ until_s }) => until.push(until_s),
        });
        for (let i = 0; i < samples.length; i += 777) await live.push(samples.subarray(i, i + 777));
        console.log(JSON.stringify({ events, until }));
    """
    arguments = ["--input-type=module", "-e", script, (tmp_path / "page" / "page" / "engine.js").as_uri()]
    command = [node, *arguments, str(tmp_path / "stream.f32"), str(rate)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert [(event["kind"], event["word"]) for event in found["events"]] == [
        (event.kind, event.word) for event in expected
    ]
    for name in ("start_s", "end_s", "until_s"):
        assert [event[name] for event in found["events"]] == pytest.approx([vars(event)[name] for event in expected])
    assert {time for time in found["until"] if time} <= {event["until_s"] for event in found["events"]}


def test_an_enrolled_phrase_runs_in_node(ort: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed; on Debian and Ubuntu, run: apt install nodejs")
    takes = [synthesize("wonderful morning", before_s=0.6, after_s=0.6)] * 3
    try:
        enroll("wonderful morning", takes, source_rate=RATE, out=tmp_path / "wake.onnx")
    except HarkenError as error:
        pytest.skip(str(error))
    web.write_web("base", tmp_path / "page", ort=ort, wake=tmp_path / "wake.onnx")
    audio = np.concatenate([takes[0], synthesize("stop", after_s=1.5)])
    wake = Listener(Recognizer(tmp_path / "wake.onnx"), source_rate=RATE)
    expected = WakeListener(wake, Listener(Recognizer(), source_rate=RATE)).push(audio)
    assert [(event.kind, event.word) for event in expected] == [("wake", "wonderful morning"), ("command", "stop")]
    audio.astype("<f4").tofile(tmp_path / "stream.f32")
    script = """
        import { readFileSync } from "node:fs";
        const [engineUrl, stream] = process.argv.slice(1);
        const { listen } = await import(engineUrl), events = [];
        const live = await listen(16000, { event: (e) => events.push(e), error: (e) => events.push(e) });
        await live.push(new Float32Array(Uint8Array.from(readFileSync(stream)).buffer));
        console.log(JSON.stringify(events));
    """
    arguments = ["--input-type=module", "-e", script, (tmp_path / "page" / "page" / "engine.js").as_uri()]
    done = subprocess.run([node, *arguments, str(tmp_path / "stream.f32")], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert [(event["kind"], event["word"], event["end_s"]) for event in found] == [
        (event.kind, event.word, pytest.approx(event.end_s)) for event in expected
    ]


def test_a_wake_phrase_is_for_the_format_web(run: Run, burst_models: tuple[Path, Path], tmp_path: Path) -> None:
    commands, wake = burst_models
    for options, message in (
        (
            ["--to", "onnx-stream", "--out", tmp_path / "x.onnx", "--wake", wake],
            "--wake is for web: leave it out for onnx",
        ),
        (["--to", "web", "--out", tmp_path / "page", "--for", "3"], "--for 3 has an effect only with --wake"),
        (["--to", "web", "--out", tmp_path / "page", "--wake", commands], "have the same words (yes, no)"),
    ):
        code, _, err = run("export", commands, *options)
        assert (code, message in err, err.count("\n")) == (2, True, 1)
    assert not (tmp_path / "page").exists()


# The export.


def test_the_export_is_complete_and_replaces_only_an_earlier_export(
    ort: Path, make_model: MakeModel, tmp_path: Path
) -> None:
    model, out = make_model(), tmp_path / "out"
    for _ in range(2):
        web.write_web(model, out, ort=ort)
    assert (out / "model.onnx").read_bytes() == model.read_bytes()
    assert json.loads((out / "card.json").read_text())["words"] == ["yes", "no"]
    assert json.loads((out / "package.json").read_text()) == {"type": "module"}
    assert "wasm-unsafe-eval" in (out / "index.html").read_text()
    assert "onnx-model.js" in (out / "page" / "engine.js").read_text()  # the engine that runs in the browser
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "quarters.onnx"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for taken in (tmp_path / "other", model):
        with pytest.raises(HarkenError, match="is not a harken web export"):
            web.write_web(model, taken, ort=ort)
    with pytest.raises(HarkenError, match="the dist folder of onnxruntime-web"):
        web.write_web(model, tmp_path / "new", ort=tmp_path)
    assert not (tmp_path / "new").exists()


def test_the_command_exports(
    ort: Path,
    make_model: MakeModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["export", str(make_model()), "--to", "web", "--out", str(tmp_path / "out"), "--ort", str(ort)]
    monkeypatch.setattr(sys, "argv", ["harken", *words])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code in (0, None)
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'index.html'}\n"


def test_a_wrong_or_missing_archive_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "onnxruntime-web" / "-" / f"onnxruntime-web-{web.ORT_VERSION}.tgz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"something else")
    with serve_folder(tmp_path) as url:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", url)
        with pytest.raises(HarkenError, match="not the published archive"):
            web.fetch_ort(tmp_path / "cache")
        archive.unlink()
        with pytest.raises(HarkenError, match="cannot download"):
            web.fetch_ort(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
