"""Test the page with a wake phrase. The wake model and the command model detect bursts of sound."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsing import open_page, serve_folder
from conftest import MakeModel, Run
from driving import RATE
from harken import enroll
from harken.errors import HarkenError
from harken.export import web
from harken.runtime.listener import Listener
from harken.runtime.recognizer import Recognizer
from harken.runtime.wake_listener import WakeListener
from serving import serving, synthesize, write_clip

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
