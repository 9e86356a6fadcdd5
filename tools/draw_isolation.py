"""Draw docs/isolation.png: a listener's confidence with and without isolation, in a sentence and for a command.

    python tools/draw_isolation.py docs/isolation.png

The speech is synthetic: run pip install 'harken[train,synth]' first.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harken.audio.clip import load_clip
from harken.pages.drawing import FONT_PT, new_figure, style_axes
from harken.pages.html import COLORS
from harken.runtime.listener import Event, Listener
from harken.runtime.recognizer import Recognizer
from harken.synth.voices import find_voice

_SENTENCE = "Is the door on the left? Yes, on the left."
_COMMAND = "stop"
_PAUSES_S = (1.0, 1.8, 1.2)
_NOISE = 0.001
_THRESHOLD = 0.9  # of every word
_RATE = 16_000


def main() -> None:
    """Synthesize the speech, run the listener twice, and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="image file to write")
    parser.add_argument("--voice", default="hibari-heart", help="voice to use")
    options = parser.parse_args()
    sound = _speak(options.voice)
    recognizer = Recognizer()
    figure = new_figure(760, 300)
    figure.set_facecolor(COLORS["paper"][0])
    waveform, confidence = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.3))
    seconds = np.arange(sound.size) / _RATE
    waveform.plot(seconds, sound, color=COLORS["soft"][0], linewidth=0.4)
    waveform.set_ylim(-1, 1)
    waveform.set_yticks([])
    waveform.set_title(f"“{_SENTENCE}” … “{_COMMAND}”", fontsize=FONT_PT, color=COLORS["ink"][0], loc="left")
    confidence.axhline(_THRESHOLD, color=COLORS["second"][0], linewidth=0.8)
    confidence.text(0, _THRESHOLD - 0.03, "threshold", color=COLORS["second"][0], fontsize=FONT_PT, va="top")
    for isolation, color, width, name in (
        (0.0, "soft", 1.2, "without isolation"),
        (5.0, "accent", 1.8, "with isolation"),
    ):
        times, scores, events = _run_listener(recognizer, sound, isolation)
        confidence.plot(times, scores, color=COLORS[color][0], linewidth=width, label=name)
        for event in events:
            position = (event.end_s, event.confidence)
            confidence.plot(*position, "o", color=COLORS[color][0], markersize=5)
            confidence.annotate(
                event.word,
                position,
                (0, 6),
                textcoords="offset points",
                ha="center",
                fontsize=FONT_PT,
                color=COLORS["ink"][0],
            )
    confidence.set_ylim(0, 1.25)
    confidence.set_yticks([0, 0.5, 1])
    confidence.set_ylabel("confidence")
    confidence.set_xlabel("time (s)")
    confidence.legend(
        frameon=False, fontsize=FONT_PT, labelcolor=COLORS["ink"][0], loc="center left", bbox_to_anchor=(0, 0.4)
    )
    for axes in (waveform, confidence):
        style_axes(axes, grid=axes is confidence)
    waveform.spines[:].set_visible(False)
    waveform.tick_params(bottom=False)
    figure.savefig(options.picture)


def _speak(voice: str) -> NDArray[np.float32]:
    speaker = find_voice(voice)
    before, between, after = (np.zeros(round(seconds * _RATE), np.float32) for seconds in _PAUSES_S)
    parts = []
    for text in (_SENTENCE, _COMMAND):
        waveform, rate = speaker.speak(text)
        part = load_clip(waveform, _RATE, source_rate=rate)
        parts.append(0.7 * part / np.abs(part).max())
    sound = np.concatenate([before, parts[0], between, parts[1], after])
    return (sound + _NOISE * np.random.default_rng(0).standard_normal(sound.size)).astype(np.float32)


def _run_listener(
    recognizer: Recognizer, sound: NDArray[np.float32], isolation: float
) -> tuple[list[float], list[float], list[Event]]:
    """Return the times of the hops, the confidence at each (0 if it is not in a word), and the events."""
    thresholds = dict.fromkeys(recognizer.card.words, _THRESHOLD)
    listener = Listener(recognizer, source_rate=_RATE, thresholds=thresholds, isolation=isolation)
    times, scores, events = [], [], []
    for start in range(0, sound.size - listener.hop + 1, listener.hop):
        events += listener.push(sound[start : start + listener.hop])
        of_word = listener.labels[int(listener.posteriors.argmax())] in listener.settings.thresholds
        times.append(listener.seconds)
        scores.append(listener.confidence if of_word else 0.0)
    return times, scores, events


if __name__ == "__main__":
    main()
