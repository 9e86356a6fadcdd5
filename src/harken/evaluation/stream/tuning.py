"""Choose thresholds for a wanted rate of false alarms, from one run over a stream.

tune_listener   choose the thresholds, to be stored in a copy of the model file
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.evaluation.metrics import logit
from harken.evaluation.stream.audio import DETECTION_DEADLINE_S
from harken.evaluation.stream.listener_run import ListenerRun
from harken.runtime.listener_settings import ListenerSettings

_LOGITS = np.arange(-3.0, 12.01, 0.1)  # thresholds to choose from: 0.05 to 0.999994
_BUDGET = 1000  # units in which the allowed rate is divided among the words
_TAIL_PEAKS = 10  # highest peaks of a word in background, which its tail is fitted to
_PRIOR_PEAKS = 5  # weight, in peaks, of the tail of all words together
_UNSEEN_ALARMS = 0.5  # false alarms that each word is assumed to have had in addition to those seen


def tune_listener(listener_run: ListenerRun, *, false_alarms_per_hour: float) -> ListenerSettings:
    """Choose thresholds that stay within a rate of false alarms and miss as few words as possible.

    The rate is divided among the words so that the geometric mean of their hit rates is highest (a multiple-choice
    knapsack). In this way no word is given up for the others.

    The false alarms per hour at a threshold are counted where the background has many. Above the ten highest peaks of a
    word they follow an exponential distribution fitted to these peaks (peaks over threshold: Pickands, Annals of
    Statistics, 1975). Counting alone would not do: a threshold just above the highest peak of some minutes is exceeded
    again within as many minutes. Each word has a distribution of its own, since speech contains near misses of some words
    and not of others. As ten peaks are few, its scale is pulled toward that of all words together, with the weight of five
    more peaks.

    Parameters
    ----------
    listener_run
        The run.
    false_alarms_per_hour
        The allowed rate of all words together.

    Returns
    -------
    ListenerSettings
        The settings of the run with the chosen thresholds.

    Raises
    ------
    HarkenError
        The rate is not above 0 or cannot be reached, a word is not in the stream, or the stream has no background
        without words.
    """
    if not false_alarms_per_hour > 0:
        raise HarkenError(f"{false_alarms_per_hour:g} false alarms per hour: give a rate above 0")
    if not listener_run.hours:
        raise HarkenError(
            "the stream has no background without words: add some to tune thresholds on, the longer the better"
        )
    words = tuple(listener_run.settings.thresholds)
    best = {word: _best_logits(listener_run, word) for word in words}
    absent = [word for word in words if not best[word].size]
    if absent:
        raise HarkenError(f"the stream contains no {', '.join(absent)}: add clips of every word of the model")
    rates = _alarm_rates(listener_run, words)
    # Half a clip is added, so that a threshold at which nothing is found still has a finite loss.
    found = [((best[word][:, None] >= _LOGITS).sum(axis=0) + 0.5) / (best[word].size + 0.5) for word in words]
    chosen = _divide_rate([-np.log(share) for share in found], [rates[word] / false_alarms_per_hour for word in words])
    if chosen is None:
        raise HarkenError(
            f"no thresholds stay within {false_alarms_per_hour:g} false alarms per hour: train longer, or allow more"
        )
    thresholds = {
        word: float(np.round(1 / (1 + np.exp(-_LOGITS[index])), 6)) for word, index in zip(words, chosen, strict=True)
    }
    return replace(listener_run.settings, thresholds=thresholds)


def _divide_rate(losses: list[NDArray[np.float64]], shares: list[NDArray[np.float64]]) -> list[int] | None:
    """Return the grid index of a threshold for each word, so that the total loss is lowest.

    losses : loss of each word at each threshold. shares : fraction of the allowed rate that it uses there; the shares of
    the chosen thresholds add up to at most 1. None if there is no such choice.

    This is dynamic programming over the units spent. A fixed cost per false alarm would be simpler, but it can only reach
    points on the convex hull of the trade-off, and skips the thresholds between them.
    """
    lowest = np.zeros(_BUDGET + 1)
    taken = []
    for of_word, share in zip(losses, shares, strict=True):
        sums, choice = np.full(_BUDGET + 1, np.inf), np.full(_BUDGET + 1, -1)
        # From high to low, so that of two thresholds with equal loss the higher one is kept.
        for index in range(_LOGITS.size - 1, -1, -1):
            if share[index] > 1:
                break
            cost = int(np.ceil(share[index] * _BUDGET))
            now = lowest[: _BUDGET + 1 - cost] + of_word[index]
            better = now < sums[cost:]
            sums[cost:][better], choice[cost:][better] = now[better], index
        lowest = sums
        taken.append((choice, share))
    if not np.isfinite(lowest[-1]):
        return None
    left = _BUDGET
    chosen = []
    for choice, share in reversed(taken):
        chosen.append(int(choice[left]))
        left -= int(np.ceil(share[chosen[-1]] * _BUDGET))
    return chosen[::-1]


def _best_logits(listener_run: ListenerRun, word: str) -> NDArray[np.float64]:
    """Return the highest logit of a word, as the most probable class, around each of its utterances."""
    of_word = listener_run.top == listener_run.labels.index(word)
    logits = np.where(of_word, logit(listener_run.scores), -np.inf)
    best = []
    for utterance in listener_run.utterances:
        if utterance.word == word:
            first, last = (
                int(time / listener_run.hop_s) for time in (utterance.start_s, utterance.end_s + DETECTION_DEADLINE_S)
            )
            best.append(logits[first:last].max(initial=-np.inf))
    return np.array(best, dtype=np.float64)


def _alarm_rates(listener_run: ListenerRun, words: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """Return the false alarms per hour of each word at each threshold of the grid."""
    peaks = {word: np.sort(_peaks(listener_run, word))[::-1] for word in words}
    starts = {
        word: max(logits[min(_TAIL_PEAKS, logits.size) - 1], _LOGITS[0]) if logits.size else _LOGITS[0]
        for word, logits in peaks.items()
    }
    # The peak at which a tail starts is not part of the tail.
    tails = {word: logits[logits > starts[word]] - starts[word] for word, logits in peaks.items()}
    together = np.concatenate(list(tails.values()))
    common = float(together.mean()) if together.size else 1.0
    rates = {}
    for word in words:
        scale = (tails[word].sum() + _PRIOR_PEAKS * common) / (tails[word].size + _PRIOR_PEAKS)
        seen = _UNSEEN_ALARMS + (peaks[word][:, None] >= np.minimum(_LOGITS, starts[word])).sum(axis=0)
        rates[word] = seen * np.exp(-np.maximum(0.0, _LOGITS - starts[word]) / scale) / listener_run.hours
    return rates


def _peaks(listener_run: ListenerRun, word: str) -> NDArray[np.float64]:
    """Return the peak logits of a word in background without words, at most one within a refractory time."""
    hops = np.flatnonzero(listener_run.top == listener_run.labels.index(word))
    times = (hops + 1) * listener_run.hop_s
    in_background = np.zeros(hops.size, bool)
    for section in listener_run.background_sections:
        in_background |= (times > section.start_s) & (times <= section.end_s + DETECTION_DEADLINE_S)
    hops = hops[in_background]
    if not hops.size:
        return np.zeros(0)
    gaps = np.flatnonzero(np.diff(hops) > max(1, listener_run.refractory_hops)) + 1
    return np.array([logit(listener_run.scores[near]).max() for near in np.split(hops, gaps)])
