"""Take the screenshots of the documentation: docs/page.png, docs/teach.png and docs/report.png.

    python tools/take_screenshots.py page               # the page of `harken serve`, which listens to three words
    python tools/take_screenshots.py teach              # its section in which a phrase is taught
    python tools/take_screenshots.py report RUN/report.html

It needs Chromium and `pip install 'harken[serve,synth,dev]'`: a synthetic voice speaks into the browser's microphone.
"""

import argparse
import base64
import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image
from playwright.sync_api import sync_playwright

from harken.audio.clip import load_clip
from harken.synth.voices import find_voice

DOCS = Path(__file__).parents[1] / "docs"
VOICE, RATE = "hibari-heart", 16_000
WORDS = ("left", "go", "yes")
PHRASE, TAKES = "hey robot", ((VOICE, 1.0), (VOICE, 0.85), ("piper-joe", 1.0))  # voice and speaking rate
_MICROPHONE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
# Stops the page at the last word: on a busy machine, the picture is taken seconds later.
_FREEZE = """
let messages = Infinity;  // how many the page still gets
const Socket = window.WebSocket;
window.WebSocket = class extends Socket {
  set onmessage(handler) { super.onmessage = (message) => { if (messages-- > 0) handler(message); }; }
};
new MutationObserver(() => {
  if (messages < Infinity || document.querySelectorAll("#history li").length < COUNT) return;
  messages = 2;  // the probabilities that belong to the detection
  window.requestAnimationFrame = () => 0;
}).observe(document, { childList: true, subtree: true });
"""
# A microphone that plays one recording each time it is opened.
_RECORDINGS = """
const recordings = RECORDINGS;
navigator.mediaDevices.getUserMedia = async () => {
  const context = new AudioContext(), bytes = Uint8Array.from(atob(recordings.shift()), (c) => c.charCodeAt(0));
  const source = new AudioBufferSourceNode(context, { buffer: await context.decodeAudioData(bytes.buffer) });
  const target = context.createMediaStreamDestination();
  source.connect(target);
  source.start(context.currentTime + 1);
  return target.stream;
};
"""


def main() -> None:
    """Take the screenshot that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["page", "teach", "report"])
    parser.add_argument("report", type=Path, nargs="?", help="the report that `harken evaluate` wrote")
    options = parser.parse_args()
    if options.name == "page":
        take_page()
    elif options.name == "teach":
        take_teach()
    elif options.report is None:
        parser.error("give the report that `harken evaluate` wrote")
    else:
        take_report(options.report)


def take_page() -> None:
    """Serve the bundled model, speak the words into the page, and save it when the last word is detected."""
    with tempfile.TemporaryDirectory() as folder:
        microphone = Path(folder) / "words.wav"
        soundfile.write(microphone, _words(), RATE)
        with _serving() as url:
            _save("page", url, (1060, 1224), _listen, f"--use-file-for-fake-audio-capture={microphone}", *_MICROPHONE)


def take_teach() -> None:
    """Serve the bundled model, teach the page a phrase, and save the section."""
    with _serving("--teach") as url:
        _save("teach", url, (1060, 1224), _teach)


def take_report(report: Path) -> None:
    """Save the upper part of a report."""
    _save("report", report.absolute().as_uri(), (1280, 1080), lambda page: None)


@contextmanager
def _serving(*options: str) -> Iterator[str]:
    """Serve the page, and yield its URL."""
    command = [sys.executable, "-m", "harken", "serve", "--port", "0", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait(30)


def _teach(page: Any) -> Any:
    encoded = []
    for voice, rate in TAKES:
        buffer = io.BytesIO()
        soundfile.write(buffer, _spoken(PHRASE, voice, rate), RATE, format="WAV")
        encoded.append(base64.b64encode(buffer.getvalue()).decode())
    page.add_init_script(_RECORDINGS.replace("RECORDINGS", json.dumps(encoded)))
    page.reload()
    page.wait_for_selector("html[data-ready]")
    page.fill("#teach-phrase", PHRASE)
    for number in range(1, len(TAKES) + 1):
        page.click(f"[aria-label='Record, take {number}']")
        page.wait_for_function(
            "n => document.getElementById('teach-status').innerText.includes(`Take ${n} recorded`)", arg=number
        )
    page.click("#teach-start")
    page.wait_for_selector("#teach-result", timeout=120_000)
    return page.locator("#teach")


def _listen(page: Any) -> None:
    page.add_init_script(_FREEZE.replace("COUNT", str(len(WORDS))))
    page.reload()
    page.wait_for_selector("html[data-ready]")
    page.click("#listen")
    page.locator("#history li").nth(len(WORDS) - 1).wait_for(timeout=60_000)


def _save(name: str, url: str, size: tuple[int, int], prepare: Callable[[Any], Any], *options: str) -> None:
    """Open a URL in a window of `size` CSS pixels, and save what it shows, or the part that `prepare` returns."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", *options])
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, device_scale_factor=1.5, color_scheme="light"
        )
        page = context.new_page()
        page.goto(url)
        part = prepare(page) or page
        picture = Image.open(io.BytesIO(part.screenshot())).convert("RGB")
        browser.close()
    path = DOCS / f"{name}.png"
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)  # a third of the size
    print(path)


def _words() -> Any:
    """Return the words with pauses, as float samples."""
    pause = np.zeros(round(1.4 * RATE), np.float32)
    parts = [pause]
    for word in WORDS:
        parts += [_spoken(word, VOICE), pause]
    return np.concatenate(parts)


def _spoken(text: str, voice: str, rate: float = 1.0) -> Any:
    """Return a text spoken by a voice, as float samples."""
    waveform, sample_rate = find_voice(voice).speak(text, rate=rate)
    sound = load_clip(waveform, RATE, source_rate=sample_rate)
    return 0.5 * sound / np.abs(sound).max()


if __name__ == "__main__":
    main()
