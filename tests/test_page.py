"""The page in a real browser: served, and with the model in it; the microphone is fed from a file."""

import base64
import functools
import http.server
import io
import json
import shutil
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from conftest import MakeModel
from harken.audio.take import check_take
from harken.cli.main import main
from harken.corpus.table import read_corpus
from harken.errors import HarkenError
from harken.export import web
from harken.runtime.isolation import Isolation, subtract_logits
from harken.runtime.listener import Listener, ListenerSettings
from harken.runtime.recognizer import Recognizer
from serving import serving, voiced, write_clip

RATE = 16_000
WORDS = ("stop", "left", "yes")


@pytest.fixture(scope="module")
def chromium() -> str:
    """Where the browser is."""
    pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is not installed")
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no chromium is installed: on Debian and Ubuntu, apt install chromium")


@pytest.fixture(scope="module")
def ort(request: pytest.FixtureRequest) -> Path:
    """onnxruntime-web, kept from one run of the tests to the next."""
    assert request.config.cache is not None
    try:
        return web.fetch_ort(request.config.cache.mkdir("harken"))
    except HarkenError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the microphone hears, over and over: three words with pauses."""
    sound = np.concatenate([voiced(word, after_s=1.2) for word in WORDS])
    return write_clip(tmp_path_factory.mktemp("said") / "words.wav", sound)


@contextmanager
def browsing(executable: str, url: str, said: Path, **context: Any) -> Iterator[Any]:
    """Open the page with a fake microphone; nothing may go wrong on its console."""
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    options.append(f"--use-file-for-fake-audio-capture={said}")
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=options)
        opened = browser.new_context(permissions=["microphone"], accept_downloads=True, **context)
        page = opened.new_page()
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(url)
        yield page
        browser.close()
    assert [fault for fault in faults if "status of 415" not in fault] == []  # a file that was no sound


@contextmanager
def hosting(folder: Path) -> Iterator[str]:
    """Serve a folder as any static host does."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:  # else a test that fails keeps pytest waiting for the thread
        server.shutdown()
        thread.join()
        server.server_close()


def hear_all(page: Any) -> None:
    """Speak until each of the words was heard, and stop."""
    page.wait_for_selector("html[data-ready]")
    for word in WORDS:  # the tests are not about the model's own thresholds
        page.evaluate(
            """word => { const slider = document.getElementById(`threshold-${word}`);
            slider.value = 0.5; slider.dispatchEvent(new Event('input')); }""",
            word,
        )
    page.click("#speak")
    for word in WORDS:
        page.wait_for_function(
            "word => [...document.querySelectorAll('#heard b')].some(b => b.textContent === word)",
            arg=word,
            timeout=30_000,
        )
    assert page.get_attribute("#speak", "aria-pressed") == "true"
    page.click("#speak")
    assert page.inner_text("#speak") == "Start listening"


def set_marks(page: Any, value: float) -> None:
    """Drag the mark of every word to a value."""
    page.evaluate(
        """value => document.querySelectorAll("#words input").forEach((slider) => {
            slider.value = value;
            slider.dispatchEvent(new Event("input"));
        })""",
        value,
    )


def dropped(page: Any, path: Path) -> tuple[str, str, str]:
    """Give the page a recording; return the word told, the note beside it, and the label chosen for it."""
    before = page.locator("#heard li").count()
    page.set_input_files("#files", [str(path)])
    page.wait_for_function("count => document.querySelectorAll('#heard li').length > count", arg=before)
    word, note = page.inner_text("#heard li:first-child b"), page.inner_text("#heard li:first-child small")
    return word, note, page.input_value("#heard li:first-child select")


def judges_at_its_marks(page: Any, folder: Path) -> None:
    """Check that recordings are judged at the marks as they stand, and that what is rejected is no clip of a word yet."""
    page.wait_for_selector("html[data-ready]")
    clip = folder / "go.FLAC"
    soundfile.write(clip, voiced("go"), RATE, format="FLAC")
    sure = Recognizer().predict(clip).probability
    for mark, word in ((sure + (1 - sure) / 2, "none"), (sure / 2, "go"), (1.0, "none")):
        set_marks(page, mark)
        told, note, label = dropped(page, clip)
        assert told == word
        assert note.startswith("unsure: go at" if word == "none" else f"{100 * sure:.0f}")
        assert label == ("" if word == "none" else "go")
        assert page.inner_text("#word") == word
        assert page.evaluate("document.querySelectorAll('.bar.over').length") == (word == "go")
    assert dropped(page, write_clip(folder / "quiet.wav", np.zeros(RATE, np.float32)))[::2] == ("none", "")
    assert page.inner_text("#left-out") == "3 without a word are left out"
    assert sorted(kept_files(page)) == [("go", "flac")]
    page.select_option("#heard li:first-child select", "_silence_")
    page.select_option("#heard li:nth-child(2) select", "go")
    assert page.inner_text("#left-out") == "1 without a word is left out"
    assert sorted(kept_files(page)) == [("_silence_", "wav"), ("go", "flac"), ("go", "flac")]


def kept_files(page: Any) -> list[tuple[str, str]]:
    """Return folder and ending of each file in the corpus that the page gives."""
    with page.expect_download() as download:
        page.click("#keep")
    with zipfile.ZipFile(download.value.path()) as archive:
        return [(Path(name).parent.name, name.rpartition(".")[2]) for name in archive.namelist()]


def is_drawn(page: Any, canvas: str) -> bool:
    """Say whether a canvas shows more than its ground."""
    colours: int = page.evaluate(
        """id => { const c = document.getElementById(id), d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        return new Set(new Uint32Array(d.buffer)).size; }""",
        canvas,
    )
    return colours > (1 if canvas == "wave" else 20)


# Served.


def test_spoken_words_are_heard_on_the_served_page(chromium: str, said: Path, tmp_path: Path) -> None:
    with serving() as server, browsing(chromium, server.url, said) as page:
        hear_all(page)
        assert is_drawn(page, "wave")
        assert is_drawn(page, "spectrogram")
        page.set_viewport_size({"width": 700, "height": 500})  # as a phone does that is turned, or scrolled
        page.wait_for_function("() => document.getElementById('spectrogram').width < 700")
        assert is_drawn(page, "wave")
        assert is_drawn(page, "spectrogram")
        assert page.inner_text("#word") in WORDS
        clip = write_clip(tmp_path / "go.wav", voiced("go"))
        page.set_input_files("#files", [str(clip)])
        page.wait_for_selector("#heard small:has-text('go.wav')")
        broken = tmp_path / "broken.wav"
        broken.write_bytes(b"no sound")
        page.set_input_files("#files", [str(broken)])
        page.wait_for_function(
            "() => [...document.querySelectorAll('#heard small')].some(s => s.textContent.includes('no format'))"
        )
        with page.expect_download() as download:
            page.click("#keep")
        kept = tmp_path / "corpus.zip"
        download.value.save_as(kept)
    with zipfile.ZipFile(kept) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    corpus = read_corpus([tmp_path / "corpus"])
    assert set(WORDS) <= set(corpus.words)
    assert {clip.speaker[:3] for clip in corpus.clips} == {"web"}
    recognizer = Recognizer()
    heard = [clip for clip in corpus.clips if clip.word in WORDS]
    labels = [recognizer.predict(clip.path).label for clip in heard]
    assert labels == [clip.word for clip in heard]


def test_recordings_are_judged_at_the_marks_of_the_served_page(chromium: str, said: Path, tmp_path: Path) -> None:
    with serving() as server, browsing(chromium, server.url, said) as page:
        judges_at_its_marks(page, tmp_path)


def test_the_page_says_what_to_do_and_what_it_was_made_by(chromium: str, said: Path) -> None:
    with serving() as server, browsing(chromium, server.url, said) as page:
        page.wait_for_selector("html[data-ready]")
        assert page.inner_text("#hint") == "Say yes, no, up, down, left, right, on, off, stop or go"
        assert "opens this device's microphone" in page.inner_text("#status")
        soft = page.evaluate("getComputedStyle(document.querySelector('.soft')).color")
        page.evaluate(
            "document.getElementById('word').classList.add('past')"
        )  # as a word is, a while after it was heard
        page.wait_for_function("soft => getComputedStyle(document.getElementById('word')).color === soft", arg=soft)
        page.click("#card summary")
        command = Recognizer().card.fields["command"]
        assert not page.is_visible("#card pre")
        page.click("#card details summary")
        assert page.inner_text("#card pre") == command
        assert "train ×" in page.inner_text("#card dl")
        assert "train, train" not in page.inner_text("#card dl")


def test_a_threshold_of_one_lets_no_word_through(chromium: str, said: Path) -> None:
    with serving() as server, browsing(chromium, server.url, said) as page:
        page.wait_for_selector("html[data-ready]")
        for slider in page.query_selector_all("#words input"):
            slider.focus()
            page.keyboard.press("End")  # by keyboard
        page.click("#speak")
        page.wait_for_function("() => document.querySelectorAll('.value')[0].textContent !== ''", timeout=15_000)
        page.wait_for_timeout(5000)
        assert page.query_selector_all("#heard li") == []
        page.click("#reset")
        own = ListenerSettings.of_card(Recognizer().card).thresholds["stop"]
        assert float(page.input_value("#threshold-stop")) == own


def test_the_page_asks_for_a_token(chromium: str, said: Path) -> None:
    with serving("--token", "sesame") as server:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            page = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]).new_page()
            page.goto(server.url)
            for given, right in (("wrong", False), ("sesame", True)):
                page.wait_for_selector("#token-form:not([hidden])")
                page.fill("#token", given)
                page.click("#token-form button")
                if right:
                    page.wait_for_selector("#model-line:has-text('hears')")
                else:
                    page.wait_for_selector("#status:has-text('token is missing or wrong')")

            page.wait_for_selector("html[data-ready]")


def test_without_https_it_says_why_there_is_no_microphone(chromium: str, said: Path) -> None:
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
            assert page.is_disabled("#speak")


def test_words_of_ones_own_are_recorded_on_the_page(chromium: str, said: Path, tmp_path: Path) -> None:
    with serving() as server, browsing(chromium, server.url, said) as page:
        page.wait_for_selector("html[data-ready]")
        page.fill("#record-words", "lights, music")
        page.fill("#record-takes", "1")
        page.click("#record-start")
        page.wait_for_selector("#record-save:not([hidden])", timeout=60_000)
        with page.expect_download() as download:
            page.click("#record-save")
        download.value.save_as(tmp_path / "corpus.zip")
    with zipfile.ZipFile(tmp_path / "corpus.zip") as archive:
        assert sorted(archive.namelist()) == ["corpus/lights/me_nohash_0.wav", "corpus/music/me_nohash_0.wav"]
        for name in archive.namelist():
            samples, rate = soundfile.read(io.BytesIO(archive.read(name)))
            assert samples.size == rate
            assert np.abs(samples).max() > 0.01


# With the model in the browser.


@pytest.fixture(scope="module")
def exported(ort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "page"
    assert web.write_web("base", folder, ort=ort) == folder / "index.html"
    return folder


def test_spoken_words_are_heard_in_the_browser_with_the_network_cut(chromium: str, said: Path, exported: Path) -> None:
    with hosting(exported) as url, browsing(chromium, url, said) as page:
        page.wait_for_selector("html[data-ready]")
        page.evaluate("import('./page/worklet.js').catch(() => {})")  # the one file that speaking asks for
        page.click("#speak")
        page.wait_for_selector("#speak[aria-pressed=true]")
        page.click("#speak")
        page.context.set_offline(True)
        hear_all(page)


def test_recordings_are_judged_at_the_marks_in_the_browser(
    chromium: str, said: Path, exported: Path, tmp_path: Path
) -> None:
    with hosting(exported) as url, browsing(chromium, url, said) as page:
        judges_at_its_marks(page, tmp_path)


def test_the_browser_computes_what_python_does(chromium: str, said: Path, exported: Path, tmp_path: Path) -> None:
    recognizer = Recognizer()
    clips = [voiced(word) for word in (*WORDS, "happy")] + [np.zeros(RATE, np.float32), voiced("go", before_s=1.0)]
    with hosting(exported) as url, browsing(chromium, url, said) as page:
        page.wait_for_selector("html[data-ready]")
        for number, clip in enumerate(clips):
            path = write_clip(tmp_path / f"{number}.wav", clip)
            found = page.evaluate(
                """async bytes => { const { predict } = await import("./page/engine.js");
                return predict(new Blob([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))])); }""",
                base64.b64encode(path.read_bytes()).decode(),
            )
            wanted = recognizer.predict(path)
            assert (found["word"], found["reason"]) == (wanted.word, wanted.reason)
            assert found["probabilities"] == pytest.approx(wanted.probabilities, abs=1e-4)


def test_the_browser_listens_as_python_does(chromium: str, said: Path, exported: Path) -> None:
    sound = np.concatenate([voiced(word, after_s=1.0) for word in WORDS])
    thresholds = dict.fromkeys(Recognizer().card.words, 0.5)
    expected = Listener(Recognizer(), source_rate=RATE, thresholds=thresholds).push(sound)
    assert [event.word for event in expected] == list(WORDS)
    with hosting(exported) as url, browsing(chromium, url, said) as page:
        page.wait_for_selector("html[data-ready]")
        found = page.evaluate(
            """async ([samples, rate, thresholds]) => {
                const { listen } = await import("./page/engine.js"), events = [];
                let looks = 0;
                const note = (event) => events.push(event);
                const stream = await listen(rate, { event: note, error: note, posteriors: () => { looks++; } });
                stream.retune(thresholds);
                for (let i = 0; i < samples.length; i += 777) stream.push(Float32Array.from(samples.slice(i, i + 777)));
                while (looks < Math.floor(samples.length / rate * 10)) await new Promise((r) => setTimeout(r, 50));
                return events;
            }""",
            [sound.tolist(), RATE, thresholds],
        )
    assert [event["word"] for event in found] == list(WORDS)
    for one, other in zip(found, expected, strict=True):
        assert one["end_s"] == pytest.approx(other.end_s)
        assert one["confidence"] == pytest.approx(other.confidence, abs=1e-4)


def test_the_browser_doubts_as_python_does(chromium: str, said: Path, exported: Path) -> None:
    rng = np.random.default_rng(0)
    sound = np.concatenate(
        [voiced("yes"), *(0.02 * rng.standard_normal(RATE) for _ in range(3)), voiced("no"), voiced("up")]
    )
    sound = np.float32(sound)[: 60 * 1600]
    isolation, wanted = Isolation(RATE, RATE), []
    for hop in np.split(sound, sound.size // 1600):
        isolation.push(hop)
        wanted.append([isolation.doubt, subtract_logits(0.9, 4 * isolation.doubt)])
    assert len({round(doubt, 3) for doubt, _ in wanted}) > 15
    with hosting(exported) as url, browsing(chromium, url, said) as page:
        found = page.evaluate(
            """async ([samples, rate]) => {
                const { Isolation, lowered } = await import("./page/isolation.js");
                const isolation = new Isolation(rate, rate), found = [];
                for (let i = 0; i < samples.length; i += 1600) {
                    isolation.push(Float32Array.from(samples.slice(i, i + 1600)));
                    found.push([isolation.doubt(), lowered(0.9, 4 * isolation.doubt())]);
                }
                return found;
            }""",
            [sound.tolist(), RATE],
        )
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_browsers_resampler_is_as_good_as_soxr(chromium: str, said: Path, exported: Path) -> None:
    time = np.arange(48_000) / 48_000
    for rate in (44_100, 48_000, 8_000):
        time = np.arange(rate) / rate
        sound = sum(np.sin(2 * np.pi * hz * time) / 4 for hz in (110, 1000, 3300)).astype(np.float32)
        wanted = soxr.resample(sound, rate, RATE)
        with hosting(exported) as url, browsing(chromium, url, said) as page:
            found = np.array(
                page.evaluate(
                    """async ([samples, rate]) => {
                        const { Resampler } = await import("./page/resample.js"), out = [];
                        const resampler = new Resampler(rate, 16000);
                        for (let i = 0; i < samples.length; i += 1024)
                            out.push(...resampler.push(Float32Array.from(samples.slice(i, i + 1024))));
                        return out;
                    }""",
                    [sound.tolist(), rate],
                )
            )
        inner = slice(500, found.size - 500)
        assert found.size > 0.98 * RATE
        assert np.abs(found[inner] - wanted[: found.size][inner]).max() < 1e-3


def test_takes_are_judged_as_in_python(chromium: str, said: Path, exported: Path) -> None:
    voice = np.pad(voiced("music"), (3000, 9000))
    takes = [
        voice,
        0.001 * voice,
        np.clip(9 * voice, -1, 1),
        np.pad(voice, (RATE, 0))[: RATE + 11_000],
        np.tile(voice, 2),
    ]
    wanted = [check_take(take.astype(np.float32), RATE) for take in takes]
    assert [take.fault[:9] for take in wanted] == ["", "too quiet", "too loud,", "cut off a", "longer th"]
    with hosting(exported) as url, browsing(chromium, url, said) as page:
        for take, python in zip(takes, wanted, strict=True):
            found = page.evaluate(
                """async samples => { const { judgeTake } = await import("./page/take.js");
                const { clip, fault } = judgeTake(Float32Array.from(samples), 16000);
                return { clip: clip && Array.from(clip), fault }; }""",
                take.tolist(),
            )
            assert (found["fault"] or "") == python.fault
            if python.clip is not None:
                assert np.array_equal(np.array(found["clip"], np.float32), python.clip)


# The export itself.


def test_the_export_is_whole_and_replaces_only_its_own(ort: Path, make_model: MakeModel, tmp_path: Path) -> None:
    model, out = make_model(), tmp_path / "out"
    for _ in range(2):
        web.write_web(model, out, ort=ort)
    assert (out / "model.onnx").read_bytes() == model.read_bytes()
    assert json.loads((out / "card.json").read_text())["words"] == ["yes", "no"]
    assert "wasm-unsafe-eval" in (out / "index.html").read_text()
    assert "ort.wasm.min.mjs" in (out / "page" / "engine.js").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "quarters.onnx"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for taken in (tmp_path / "other", model):
        with pytest.raises(HarkenError, match="is no page of harken's"):
            web.write_web(model, taken, ort=ort)
    with pytest.raises(HarkenError, match="name the dist folder of onnxruntime-web"):
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


def test_an_archive_that_is_another_or_missing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "onnxruntime-web" / "-" / f"onnxruntime-web-{web.ORT_VERSION}.tgz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"something else")
    with hosting(tmp_path) as url:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", url)
        with pytest.raises(HarkenError, match="not the archive that was published"):
            web.fetch_ort(tmp_path / "cache")
        archive.unlink()
        with pytest.raises(HarkenError, match="cannot be fetched"):
            web.fetch_ort(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
