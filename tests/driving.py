"""Helpers for the tests of the page: press its buttons, and read what it shows."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from harken.runtime.recognizer import Recognizer
from serving import synthesize, write_clip

RATE = 16_000
WORDS = ("stop", "left", "yes")
NO_KEYWORD = "no keyword"  # what the page shows when it rejects a file


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
