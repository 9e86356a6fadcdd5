"""Made-up runs of a listener, to test evaluation and tuning on."""

from pathlib import Path

import numpy as np

from harken.evaluation.stream.audio import BackgroundSection, Utterance
from harken.evaluation.stream.listener_run import ListenerRun
from harken.runtime.listener_settings import ListenerSettings

LABELS = ("low", "high", "_unknown_", "_silence_")


def make_run(events, utterances=(), background_sections=(), seconds=60, refractory_hops=0):
    """Return a run with the events (time, word, score), and silence elsewhere."""
    top = np.full(seconds * 10, 3, np.int16)
    scores = np.full(top.size, 0.9, np.float32)
    for time, word, score in events:
        hop = round(time * 10) - 1
        top[hop], scores[hop] = LABELS.index(word), score
    settings = ListenerSettings(thresholds={"low": 0.5, "high": 0.5}, refractory_ms=100 * refractory_hops)
    return ListenerRun(
        LABELS,
        settings,
        0.1,
        refractory_hops,
        top,
        scores,
        tuple(utterances),
        tuple(background_sections),
        (),
        seconds,
        1.0,
        0,
    )


def make_utterance(word, start_s, end_s, snr_db=10.0):
    return Utterance(word, f"{word}/clip", "room", snr_db, start_s, end_s)


def random_run(seed, *, hours=10.0, peaks_per_hour=60.0, scale=1.2):
    """Return a run with exponentially distributed logits of false alarms, and normal ones with mean 5 of words."""
    rng = np.random.default_rng(seed)
    hops = round(hours * 36_000)
    top, scores = np.full(hops + 4_000, 3, np.int16), np.full(hops + 4_000, 0.9, np.float32)
    for hop in rng.choice(hops // 20, round(hours * peaks_per_hour), replace=False) * 20:
        top[hop], scores[hop] = rng.integers(2), 1 / (1 + np.exp(-rng.exponential(scale)))
    utterances = []
    for index in range(200):
        word = LABELS[index % 2]
        hop = hops + 20 * index + 15
        top[hop], scores[hop] = index % 2, 1 / (1 + np.exp(-rng.normal(5.0, 1.0)))
        utterances.append(make_utterance(word, (hop - 3) / 10, hop / 10))
    settings = ListenerSettings(thresholds={"low": 0.5, "high": 0.5}, refractory_ms=1000)
    background_sections = (BackgroundSection("room", Path("a.wav"), 0.0, hops / 10),)
    return ListenerRun(
        LABELS, settings, 0.1, 10, top, scores, tuple(utterances), background_sections, (), top.size / 10, 1.0, 0
    )
