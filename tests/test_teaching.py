"""Teach the page a phrase in a real browser, and compare what it learns with what `enroll` learns from the same takes."""

import base64
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from browsing import open_page, serve_folder
from conftest import MakeModel, Run
from harken import Listener, Recognizer, enroll
from harken.enrollment.bank import load_bank
from harken.enrollment.takes import find_phrase, noises_of, read_take
from harken.enrollment.teaching import MAX_TAKES, TAKE_SAMPLES, teaching_files
from harken.export import web
from harken.models.onnx_bytes import read_initializers, read_metadata
from serving import serving, wav, write_clip
from test_enrollment import OTHER_TUNE, RATE, TUNE, tune

PHRASE = "hey tune"
ENROLL = """async ([phrase, takes]) => {
    const { enroll, loadTeachingFiles } = await import("./page/enroll.js");
    const { findPhrase } = await import("./page/phrase-takes.js");
    const decoded = takes.map((pcm) => Float32Array.from(pcm, (x) => x / 32768));
    const named = decoded.map((samples, i) => ({ name: `Take ${i + 1}`, samples, ...findPhrase(samples) }));
    const { bytes, ...rest } = await enroll(phrase, named, await loadTeachingFiles());
    let text = "";
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return { ...rest, bytes: btoa(text) };
}"""
LISTEN = """async ([card, bytes, samples]) => {
    const { openModel } = await import("./page/onnx-model.js"), events = [];
    const model = await openModel(card, Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0)));
    const add = (event) => events.push(event), stream = await model.listen(16000, { event: add, error: add });
    await stream.push(Float32Array.from(samples));
    return events;
}"""
# A microphone that plays one recording each time it is opened, and then silence.
MICROPHONE = """const recordings = RECORDINGS;
navigator.mediaDevices.getUserMedia = async () => {
    const context = new AudioContext(), bytes = Uint8Array.from(atob(recordings.shift()), (c) => c.charCodeAt(0));
    const source = new AudioBufferSourceNode(context, { buffer: await context.decodeAudioData(bytes.buffer) });
    const target = context.createMediaStreamDestination();
    source.connect(target);
    source.start(context.currentTime + 0.2);
    return target.stream;
};"""


def take_of(sounds: str, seed: int) -> NDArray[np.int16]:
    """Return a take of a phrase, as long as the page records it."""
    samples = tune(sounds, seed, pause_s=1.2)
    padded = np.resize(samples, TAKE_SAMPLES)
    padded[samples.size :] = 0.002 * np.random.default_rng(seed).standard_normal(max(0, TAKE_SAMPLES - samples.size))
    return np.rint(32768 * padded).astype(np.int16)


def recorded_takes(folder: Path, count: int) -> list[NDArray[np.int16]]:
    """Return recordings of a phrase, cut to the length of a take, with the phrase in the middle."""
    takes: list[NDArray[np.int16]] = []
    for path in sorted(folder.glob("*.ogg")):
        take = read_take(path)
        middle = (take.start + take.end) // 2
        start = max(0, min(middle - TAKE_SAMPLES // 2, take.waveform.size - TAKE_SAMPLES))
        cut = take.waveform[start : start + TAKE_SAMPLES]
        # The page refuses takes that are clipped, and takes without a pause before and after the phrase.
        if RATE // 10 < take.start - start < take.end - start < cut.size - RATE // 10 and np.abs(cut).max() < 0.99:
            takes.append(np.rint(32768 * np.pad(cut, (0, TAKE_SAMPLES - cut.size), mode="edge")).astype(np.int16))
        if len(takes) == count:
            return takes
    raise AssertionError(f"{folder} has too few recordings")


def write_takes(folder: Path, takes: Sequence[NDArray[np.int16]]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"take{number}.wav" for number in range(1, len(takes) + 1)]
    for path, take in zip(paths, takes, strict=True):
        soundfile.write(path, take, RATE, subtype="PCM_16")
    return paths


def check_same_model(found: Path, expected: Path, clips: Sequence[NDArray[np.float32]]) -> None:
    """Check that two models have the same metadata and constants and give the same probabilities."""
    contents = [path.read_bytes() for path in (found, expected)]
    cards = [{key: json.loads(text) for key, text in read_metadata(content).items()} for content in contents]
    fits = [card["enrolled"][0].pop("calibration") for card in cards]
    assert cards[0] == cards[1]
    for from_page, from_python in zip(*fits, strict=True):
        assert from_page == pytest.approx(from_python, rel=1e-3)
    constants = [read_initializers(content) for content in contents]
    assert set(constants[0]) == set(constants[1])
    for name, values in constants[1].items():
        np.testing.assert_allclose(constants[0][name], values, rtol=1e-3, atol=2e-3, err_msg=name)
    recognizers = [Recognizer(path) for path in (found, expected)]
    for clip in clips:
        in_browser, in_python = (recognizer.predict(clip, source_rate=RATE) for recognizer in recognizers)
        assert in_browser.probabilities == pytest.approx(in_python.probabilities, abs=1e-3)


@pytest.fixture(scope="module")
def exported(ort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "page"
    web.write_web("tiny", folder, ort=ort, teach=True)
    return folder


@pytest.fixture(scope="module")
def silence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("microphone") / "silence.wav", np.zeros(RATE, np.float32))


# The files that the page learns with.


def test_the_files_contain_the_bank_and_the_noise_that_enrolling_uses() -> None:
    files, bank = teaching_files(), load_bank()
    scale = np.frombuffer(files["bank.bin"], "<f4", 96)
    talk = np.frombuffer(files["bank.bin"], np.int8, offset=4 * 96).reshape(-1, 96)
    mean = read_initializers(files["template.onnx"])["speech_mean"]
    assert np.array_equal(talk.astype(np.float32) * scale + mean, bank.talk)
    noise = np.frombuffer(files["noise.bin"], "<i2").reshape(MAX_TAKES, -1, TAKE_SAMPLES)
    for take in (0, MAX_TAKES - 1):
        for found, expected in zip(noise[take], noises_of(take, TAKE_SAMPLES), strict=True):
            assert found / 32767 == pytest.approx(expected / np.abs(expected).max(), abs=1e-4)


# What the page learns.


def test_phrases_are_found_in_takes_as_in_python(chromium: str, exported: Path, silence: Path) -> None:
    rng = np.random.default_rng(0)
    takes = [take_of(sounds, seed) for seed, sounds in enumerate((TUNE, OTHER_TUNE, "si", "a", TUNE))]
    takes.append(np.rint(32768 * (takes[0] / 65536 + 0.02 * rng.standard_normal(TAKE_SAMPLES))).astype(np.int16))
    takes.append(np.concatenate([takes[0][: 3 * RATE // 2], takes[1][RATE : 5 * RATE // 2]]))
    faults = {
        "Too quiet": take_of(TUNE, 0) // 1000,
        "Too loud": np.clip(40 * take_of(TUNE, 0).astype(np.int32), -32767, 32767),
        "Nothing stands out": 1000 * rng.standard_normal(TAKE_SAMPLES),
        "Too short": np.pad(np.full(800, 9000), (20_000, TAKE_SAMPLES - 20_800)),
        "Too long": np.pad(9000 * np.sin(np.arange(40_000)), (4000, TAKE_SAMPLES - 44_000)),
        "Cut off at the end": np.roll(take_of(TUNE, 0), 20_000),
        "Cut off at the start": np.roll(take_of(TUNE, 0), -20_000),
    }
    with serve_folder(exported) as url, open_page(chromium, url, silence) as page:
        find = """async pcm => (await import("./page/phrase-takes.js")).findPhrase(Float32Array.from(pcm, (x) => x / 32768))"""
        for take in takes:
            start, end = find_phrase(take.astype(np.float32) / 32768, "take")
            assert page.evaluate(find, take.tolist()) == {"start": start, "end": end}
        for fault, samples in faults.items():
            found = page.evaluate(find, np.rint(samples).astype(int).tolist())
            assert found.get("fault", "").startswith(fault), (fault, found)


def test_the_page_learns_the_model_that_enroll_writes(
    chromium: str, exported: Path, silence: Path, tmp_path: Path
) -> None:
    takes = [take_of(TUNE, seed) for seed in range(4)]
    with serve_folder(exported) as url, open_page(chromium, url, silence) as page:
        learned = page.evaluate(ENROLL, [PHRASE, [take.tolist() for take in takes]])
        with pytest.raises(Exception, match=r"Take 2 sounds unlike the other takes"):
            page.evaluate(ENROLL, [PHRASE, [take.tolist() for take in (takes[0], take_of("sss", 1), *takes[1:3])]])
    found, expected = tmp_path / "browser.onnx", tmp_path / "python.onnx"
    found.write_bytes(base64.b64decode(learned["bytes"]))
    enrolled = enroll(PHRASE, write_takes(tmp_path / "takes", takes), out=expected)
    clips = [tune(sounds, seed) for seed in range(10, 14) for sounds in (TUNE, OTHER_TUNE)]
    check_same_model(found, expected, [*clips, np.zeros(RATE, np.float32)])
    assert [Recognizer(found).predict(clip, source_rate=RATE).word for clip in clips] == [PHRASE, None] * 4
    assert (learned["falseAlarms"], learned["recognized"]) == (enrolled.false_alarms, enrolled.recognized)
    assert learned["upperLimit"] == pytest.approx(enrolled.at_most)
    assert learned["hours"] == pytest.approx(enrolled.hours)
    assert len(learned["notes"]) == len(enrolled.notes)
    # Python can add a phrase to the page's model.
    both = enroll("second", [tune(OTHER_TUNE, 1)], source_rate=RATE, into=found, out=tmp_path / "both.onnx")
    assert both.phrases == (PHRASE, "second")
    assert Recognizer(both.path).predict(clips[0], source_rate=RATE).word == PHRASE
    onnx = pytest.importorskip("onnx")
    onnx.checker.check_model(onnx.load(str(found)), full_check=True)


def test_a_recorded_phrase_is_learned_as_in_python(
    chromium: str, exported: Path, silence: Path, wake_phrases: Path, tmp_path: Path
) -> None:
    takes = recorded_takes(wake_phrases / "view glass", 8)
    (other,) = recorded_takes(wake_phrases / "snowboy", 1)
    stream = np.concatenate([takes[5], other, takes[6]]).astype(np.float32) / 32768
    with serve_folder(exported) as url, open_page(chromium, url, silence) as page:
        learned = page.evaluate(ENROLL, ["view glass", [take.tolist() for take in takes[:3]]])
        events = page.evaluate(LISTEN, [learned["card"], learned["bytes"], stream.tolist()])
    found, expected = tmp_path / "browser.onnx", tmp_path / "python.onnx"
    found.write_bytes(base64.b64decode(learned["bytes"]))
    enroll("view glass", write_takes(tmp_path / "takes", takes[:3]), out=expected)
    check_same_model(found, expected, [take.astype(np.float32) / 32768 for take in (*takes, other)])
    in_python = Listener(Recognizer(expected), source_rate=RATE).push(stream)
    assert [event["word"] for event in events] == [event.word for event in in_python] == ["view glass", "view glass"]
    assert [event["end_s"] for event in events] == pytest.approx([event.end_s for event in in_python])


# The page.


def record_take(page: Any, number: int) -> str:
    """Record a take, and return what the page says about it."""
    button = page.locator("#teach-takes li").nth(number).locator("button").first
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#teach-takes .recording")
    page.wait_for_selector("#teach-takes:not(:has(.recording))", timeout=30_000)
    status: str = page.inner_text("#teach-status")
    return status


def test_a_user_teaches_the_page_a_phrase(chromium: str, ort: Path, silence: Path, tmp_path: Path) -> None:
    stream = np.concatenate([tune(sounds, 20, pause_s=1.0) for sounds in ("uuu", TUNE, "uuu")])
    recordings = [tune(TUNE, 0) / 3000, *(tune(TUNE, seed, pause_s=0.9) for seed in range(4)), stream]
    encoded = json.dumps([base64.b64encode(wav(samples)).decode() for samples in recordings])
    with serving("--teach", "--ort", str(ort)) as server, open_page(chromium, "about:blank", silence) as page:
        sent: list[str] = []
        page.on("request", lambda request: sent.append(f"{request.method} {request.url.removeprefix(server.url)}"))
        page.on("websocket", lambda socket: sent.append(f"socket {socket.url}"))
        page.add_init_script(MICROPHONE.replace("RECORDINGS", encoded))
        page.goto(server.url)
        page.wait_for_selector("html[data-ready]")
        assert not any("/teach/" in request or "/ort/" in request for request in sent)
        page.fill("#teach-phrase", "<b>hey</b> tune")
        page.keyboard.press("Enter")
        assert page.inner_text("#teach-status").startswith("Leave out / ")
        label = "hey &lt;b&gt; tune"  # not markup
        page.fill("#teach-phrase", label)
        page.keyboard.press("Enter")
        assert page.inner_text("#teach-status") == "Record 3 more first."
        assert record_take(page, 0) == "Take 1: Too quiet. Move closer to the microphone."
        assert "Too quiet" in page.inner_text("#teach-takes li:first-child .take-picture")
        assert record_take(page, 0) == "Take 1 recorded. 2 more to go."
        assert page.evaluate("document.activeElement.ariaLabel") == "Record, take 2"
        assert record_take(page, 1) == "Take 2 recorded. 1 more to go."
        page.click("[aria-label='Delete take 2']")
        assert page.inner_text("#teach-status") == "Take 2 deleted. 2 more to go."
        assert page.evaluate("document.activeElement.ariaLabel") == "Record, take 2"
        assert record_take(page, 1) == "Take 2 recorded. 1 more to go."
        assert record_take(page, 2) == "Take 3 recorded. Ready to teach."
        assert page.evaluate("document.activeElement.id") == "teach-start"
        page.keyboard.press("Enter")
        page.wait_for_selector("#teach-result", timeout=120_000)
        assert page.inner_text("#teach-result-title") == f"The page now detects “{label}”"
        assert "in 2.3 hours of other people's speech: at most" in page.inner_text("#teach-expect")
        assert page.locator("#hint-words li").all_inner_texts() == [label]
        assert page.evaluate("document.activeElement.id") == "teach-listen"
        with page.expect_download() as download:
            page.click("#teach-download")
        assert download.value.suggested_filename == "hey-lt-b-gt-tune.onnx"
        download.value.save_as(tmp_path / "browser.onnx")
        with page.expect_download() as download:
            page.click("#teach-recordings")
        with zipfile.ZipFile(download.value.path()) as archive:
            takes = [soundfile.read(io.BytesIO(archive.read(name)), dtype="int16")[0] for name in archive.namelist()]
        page.click("#teach-listen")
        page.wait_for_selector("#history li", timeout=60_000)
        page.wait_for_timeout(5000)  # until the other phrase has been played, too
        assert page.locator("#history b").all_inner_texts() == [label]
        page.click("#teach-back")
        assert page.inner_text("#model-line") == "Keyword spotting with the model “base”"
        assert page.inner_text("#listen") == "Start listening"
        assert page.locator("#hint-words li").count() == 10
    assert {request.split()[0] for request in sent} == {"GET"}  # no audio was sent, and no stream was opened
    assert [take.size for take in takes] == [TAKE_SAMPLES] * 3
    enroll(label, write_takes(tmp_path / "takes", takes), out=tmp_path / "python.onnx")
    check_same_model(tmp_path / "browser.onnx", tmp_path / "python.onnx", [tune(TUNE, 30), tune(OTHER_TUNE, 30)])
    listener = Listener(Recognizer(tmp_path / "browser.onnx"), source_rate=RATE)
    assert [event.word for event in listener.push(stream.astype(np.float32)) + listener.finish()] == [label]


def test_without_the_files_the_page_says_how_to_get_them(chromium: str, silence: Path) -> None:
    with serving() as server, open_page(chromium, server.url, silence) as page:
        page.wait_for_selector("html[data-ready]")
        assert "harken serve --teach" in page.inner_text("#teach-help")
        assert not page.is_visible("#teach-form")


def test_an_exported_page_that_cannot_learn_does_not_mention_it(
    chromium: str, ort: Path, make_model: MakeModel, silence: Path, tmp_path: Path
) -> None:
    web.write_web(make_model(), tmp_path / "page", ort=ort)
    assert not (tmp_path / "page" / "teach").exists()
    with serve_folder(tmp_path / "page") as url, open_page(chromium, url, silence) as page:
        page.wait_for_selector("html[data-ready]")
        assert not page.is_visible("#teach")


# The commands.


def test_the_server_serves_the_files_and_allows_webassembly_only_to_the_page(ort: Path) -> None:
    with (
        serving("--teach", "--ort", str(ort), "--token", "sesame") as server,
        httpx.Client(base_url=server.url) as client,
    ):
        assert "'wasm-unsafe-eval'" in client.get("/").headers["Content-Security-Policy"]
        assert "unsafe" not in client.get("/docs").headers["Content-Security-Policy"]
        for path, media_type in (
            ("/teach/template.onnx", "application/octet-stream"),
            ("/ort/ort.wasm.min.mjs", "text/javascript; charset=utf-8"),
            ("/ort/ort-wasm-simd-threaded.wasm", "application/wasm"),
        ):
            response = client.get(path)
            assert (response.status_code, response.headers["Content-Type"]) == (200, media_type)
            again = client.get(path, headers={"If-None-Match": response.headers["ETag"]})
            assert (again.status_code, again.content) == (304, b"")
        for path in ("/teach/other", "/ort/..%2fteach%2fbank.bin", "/page/template.onnx"):
            assert client.get(path).status_code == 404
    with serving() as server:
        assert httpx.get(server.url + "/teach/template.onnx").status_code == 404


def test_options_that_do_not_fit_are_refused(run: Run, tmp_path: Path) -> None:
    code, _, problem = run("serve", "--ort", tmp_path)
    assert (code, "--ort goes with --teach" in problem) == (2, True)
    code, _, problem = run("export", "base", "--to", "c", "--out", tmp_path / "x.c", "--teach")
    assert (code, "--teach is for web" in problem) == (2, True)
