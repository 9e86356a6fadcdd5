"""Test that the engine of the exported page computes what Python computes, in a browser and in Node."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soxr

from browsing import open_page, serve_folder
from driving import RATE, WORDS, with_hum
from harken.audio.take import check_take
from harken.runtime.isolation import Isolation, subtract_logits
from harken.runtime.listener import Listener
from harken.runtime.recognizer import Recognizer
from serving import synthesize, write_clip


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


def test_a_word_may_be_a_name_that_objects_have(chromium: str, microphone_file: Path, exported: Path) -> None:
    with serve_folder(exported) as url, open_page(chromium, url, microphone_file) as page:
        page.wait_for_selector("html[data-ready]")
        found = page.evaluate(
            """async samples => {
                const { openModel } = await import("./page/onnx-model.js");
                const card = await (await fetch("./card.json")).json(), bytes = await (await fetch("./model.onnx")).arrayBuffer();
                const rename = (names) => names.map((name) => (name === "go" ? "constructor" : name));
                const renamed = { ...card, labels: rename(card.labels), words: rename(card.words), thresholds: {} };
                return (await openModel(renamed, new Uint8Array(bytes))).predictSamples(Float32Array.from(samples));
            }""",
            synthesize("go").tolist(),
        )
    assert (found["word"], found["reason"]) == ("constructor", None)


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


def test_a_half_is_rounded_in_the_browser_as_in_python(chromium: str, microphone_file: Path, exported: Path) -> None:
    values = [0.5, 1.5, 2.5, 3.5, 2.4, 2.6, 100.5]
    with serve_folder(exported) as url, open_page(chromium, url, microphone_file) as page:
        found = page.evaluate(
            """async values => { const { round } = await import("./page/round.js"); return values.map(round); }""",
            values,
        )
    assert found == [round(value) for value in values]


def test_isolation_in_the_browser_matches_python(chromium: str, microphone_file: Path, exported: Path) -> None:
    rng = np.random.default_rng(0)
    audio = np.concatenate(
        [synthesize("yes"), *(0.02 * rng.standard_normal(RATE) for _ in range(3)), synthesize("no"), synthesize("up")]
    )
    audio = audio[: 60 * 1600].astype(np.float32)
    silence = rng.uniform(size=audio.size // 1600)
    isolation, expected = Isolation(RATE, RATE, 1600), []
    for hop, probability in zip(np.split(audio, audio.size // 1600), silence, strict=True):
        isolation.push(hop)
        isolation.add_silence(probability)
        expected.append([isolation.penalty, subtract_logits(0.9, 4 * isolation.penalty)])
    assert len({round(penalty, 3) for penalty, _ in expected}) > 15
    with serve_folder(exported) as url, open_page(chromium, url, microphone_file) as page:
        found = page.evaluate(
            """async ([samples, rate, silence]) => {
                const { Isolation, subtractLogits } = await import("./page/isolation.js");
                const isolation = new Isolation(rate, rate, 1600), found = [];
                for (let i = 0; i < samples.length; i += 1600) {
                    isolation.push(Float32Array.from(samples.slice(i, i + 1600)));
                    isolation.addSilence(silence[i / 1600]);
                    found.push([isolation.penalty(), subtractLogits(0.9, 4 * isolation.penalty())]);
                }
                return found;
            }""",
            [audio.tolist(), RATE, silence.tolist()],
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
        voice[int(np.abs(voice).argmax()) :],
        voice[int(np.abs(voice).argmax()) :][:100],
    ]
    expected = [check_take(take.astype(np.float32), RATE) for take in takes]
    assert [take.fault[:9] for take in expected] == [
        "",
        "too quiet",
        "too loud,",
        "cut off a",
        "longer th",
        "",
        "cut off a",
        "cut off a",
    ]
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
