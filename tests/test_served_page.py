"""Test the served page in a real browser, whose microphone plays a file."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from browsing import open_page
from driving import WORDS, add_file, check_files_use_the_thresholds, detect_all_words, is_drawn
from harken.corpus.table import read_corpus
from harken.models.onnx_writer import change_metadata
from harken.runtime.listener_settings import ListenerSettings
from harken.runtime.modelfile import find_model
from harken.runtime.recognizer import Recognizer
from serving import Server, serving, synthesize, write_clip


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
        strange = write_clip(tmp_path / "clip.wav", synthesize("stop")).rename(tmp_path / "clip.constructor")
        add_file(page, strange)
        assert page.is_disabled("#history li:first-child select")  # not a format that a corpus can hold


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
    check_sensitivity(chromium, server.url, microphone_file, start=0.5, moved_to=(0.0, 0.7))


def test_the_page_starts_with_the_sensitivity_of_the_server(chromium: str, microphone_file: Path) -> None:
    with serving("--sensitivity", "0.2") as server:
        check_sensitivity(chromium, server.url, microphone_file, start=0.2, moved_to=(0.7, 0.5))


def check_sensitivity(
    chromium: str, url: str, microphone_file: Path, *, start: float, moved_to: tuple[float, ...]
) -> None:
    with open_page(chromium, url, microphone_file) as page:
        page.wait_for_selector("html[data-ready]")
        for sensitivity in (start, *moved_to):
            if sensitivity != start:
                page.evaluate(
                    """value => { const slider = document.getElementById("sensitivity");
                    slider.value = value; slider.dispatchEvent(new Event("input")); }""",
                    sensitivity,
                )
            wanted = ListenerSettings.from_card(Recognizer(sensitivity=sensitivity).card).thresholds
            found = {word: float(page.input_value(f"#threshold-{word}")) for word in wanted}
            assert found == pytest.approx(wanted, abs=1e-6)
            page.click("#reset-thresholds")
            assert float(page.input_value("#sensitivity")) == start


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


# Keeps the microphone's track and context, and lets the context's clock run ahead of the page.
WATCH_THE_MICROPHONE = """() => {
    const Original = AudioContext;
    window.delay_s = 0;
    window.AudioContext = class extends Original {
        constructor() { super(); window.context = this; }
        get currentTime() { return super.currentTime + delay_s; }
    };
    const getUserMedia = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (options) => {
        const stream = await getUserMedia(options);
        window.track = stream.getTracks()[0];
        return stream;
    };
}"""


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        ("track.dispatchEvent(new Event('ended'))", "was disconnected"),
        ("context.suspend()", "stopped the microphone"),
        ("delay_s = 5.5", "can't keep up"),
    ],
    ids=["unplugged", "interrupted", "too slow"],
)
def test_a_microphone_that_stops_is_noticed(
    chromium: str, server: Server, microphone_file: Path, event: str, problem: str
) -> None:
    with open_page(chromium, server.url, microphone_file) as page:
        page.wait_for_selector("html[data-ready]")
        page.evaluate(WATCH_THE_MICROPHONE)
        for button, running, status in (
            ("#listen", "#listen[data-listening=true]", "#status"),
            ("#record-start", "#record-prompt:not(:empty)", "#record-note"),
        ):
            page.click(button)
            page.wait_for_selector(running)
            page.evaluate(f"() => {{ {event}; }}")
            page.wait_for_function(
                "([status, problem]) => document.querySelector(status).textContent.includes(problem)",
                arg=[status, problem],
            )
            page.evaluate("() => { delay_s = 0; }")
        assert page.get_attribute("#listen", "data-listening") == "false"
        assert page.text_content("#record-start") == "Start recording"


def test_after_a_pause_the_page_draws_the_newest_audio(chromium: str, server: Server, microphone_file: Path) -> None:
    with open_page(chromium, server.url, microphone_file) as page:
        page.wait_for_selector("html[data-ready]")
        drawn_s = page.evaluate(
            """async () => {
                const { Visualizer } = await import("./page/visualizer.js"), drawn = [];
                const visualizer = new Visualizer(document.createElement("canvas"), document.createElement("canvas"));
                const microphone = {
                    rate: 1000, sampleCount: 0, analyser: { frequencyBinCount: 512, getByteFrequencyData: () => {} },
                    slice: (start_s, end_s) => { drawn.push(start_s, end_s); return new Float32Array(4000); },
                };
                visualizer.start(microphone);
                microphone.sampleCount = 60_000; // no frame was drawn for a minute
                while (!drawn.length) await new Promise(requestAnimationFrame);
                visualizer.stop();
                return drawn;
            }"""
        )
        assert drawn_s == pytest.approx([56, 60], abs=0.1)
