"""Thresholds for a wanted rate of false alarms, from a stream that was heard once.

tune_listener   a listener_run -> ListenerSettings, to be stored in a copy of the model file
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.evaluation.stream.audio import LATEST_S
from harken.evaluation.stream.evaluate import ListenerRun
from harken.runtime.listener import ListenerSettings

_LOGITS = np.arange(-3.0, 12.01, 0.1)  # thresholds to choose from: 0.05 to 0.999994
_UNITS = 1000  # that the allowed rate is dealt out in
_TAIL = 10  # of a word's highest peaks in background: what its tail is fitted to
_COMMON = 5  # peaks that the tail of all words together counts for beside them
_UNSEEN = 0.5  # false alarms that any word is taken to have had beside those seen
_SURE = 1e-7  # posteriors nearer to 0 or 1 are float32's rounding


def tune_listener(listener_run: ListenerRun, *, false_alarms_per_hour: float) -> ListenerSettings:
    """Return the listener_run's settings with thresholds that keep to a rate of false alarms and miss as few words as it permits.

    The rate is dealt out to the words so that the geometric mean of their hit rates is greatest: no word is given up for
    the others (a multiple-choice knapsack). False alarms per hour at a threshold are counted where the background has many;
    beyond the ten highest peaks of a word they follow the exponential law fitted to these (peaks over threshold: Pickands,
    Annals of Statistics, 1975), since a threshold just above the highest peak of some minutes would be passed again in as
    many minutes. Each word has a law of its own, since speech holds near misses of some words and not of others: ten
    peaks say little, so that its scale is drawn towards that of all words together, as by five peaks more.

    Raises HarkenError when the rate is not above 0 or cannot be kept to, a word was not in the stream, or there was no
    background on its own.
    """
    if not false_alarms_per_hour > 0:
        raise HarkenError(f"{false_alarms_per_hour:g} false alarms an hour: ask for more than 0")
    if not listener_run.hours:
        raise HarkenError("no background was heard on its own: thresholds need some, the longer the better")
    words = tuple(listener_run.settings.thresholds)
    best = {word: _best_of_utterances(listener_run, word) for word in words}
    absent = [word for word in words if not best[word].size]
    if absent:
        raise HarkenError(f"the stream holds no {', '.join(absent)}: add clips of every word of the model")
    rates = _alarm_rates(listener_run, words)
    # Half a clip more, so that a word of which none is found can be told from a worse one.
    found = [((best[word][:, None] >= _LOGITS).sum(axis=0) + 0.5) / (best[word].size + 0.5) for word in words]
    chosen = _deal_out([-np.log(share) for share in found], [rates[word] / false_alarms_per_hour for word in words])
    if chosen is None:
        raise HarkenError(
            f"no thresholds keep to {false_alarms_per_hour:g} false alarms an hour: train longer, or allow more of them"
        )
    thresholds = {
        word: float(np.round(1 / (1 + np.exp(-_LOGITS[index])), 6)) for word, index in zip(words, chosen, strict=True)
    }
    return replace(listener_run.settings, thresholds=thresholds)


def _deal_out(losses: list[NDArray[np.float64]], shares: list[NDArray[np.float64]]) -> list[int] | None:
    """Return for each word the threshold of the grid at which the words together lose least, their shares at most 1.

    None where there is no such choice. The least loss is kept for every number of units spent: a price for a false alarm
    would not do, since at one price the best choice leaps over those thresholds where losses rise ever faster.
    """
    least = np.zeros(_UNITS + 1)
    taken = []
    for of_word, share in zip(losses, shares, strict=True):
        sums, choice = np.full(_UNITS + 1, np.inf), np.full(_UNITS + 1, -1)
        # Downwards, so that of two thresholds that miss the same the higher one is kept.
        for index in range(_LOGITS.size - 1, -1, -1):
            if share[index] > 1:
                break
            cost = int(np.ceil(share[index] * _UNITS))
            now = least[: _UNITS + 1 - cost] + of_word[index]
            better = now < sums[cost:]
            sums[cost:][better], choice[cost:][better] = now[better], index
        least = sums
        taken.append((choice, share))
    if not np.isfinite(least[-1]):
        return None
    left = _UNITS
    chosen = []
    for choice, share in reversed(taken):
        chosen.append(int(choice[left]))
        left -= int(np.ceil(share[chosen[-1]] * _UNITS))
    return chosen[::-1]


def _best_of_utterances(listener_run: ListenerRun, word: str) -> NDArray[np.float64]:
    """Return the highest logit of a word, as the most probable class, while each of its utterances may be found."""
    of_word = listener_run.top == listener_run.labels.index(word)
    logits = np.where(of_word, _logit(listener_run.scores), -np.inf)
    best = []
    for utterance in listener_run.utterances:
        if utterance.word == word:
            first, last = (int(time / listener_run.hop_s) for time in (utterance.start_s, utterance.end_s + LATEST_S))
            best.append(logits[first:last].max(initial=-np.inf))
    return np.array(best, dtype=np.float64)


def _alarm_rates(listener_run: ListenerRun, words: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """Return the false alarms per hour of each word at each threshold of the grid."""
    peaks = {word: np.sort(_peaks(listener_run, word))[::-1] for word in words}
    starts = {
        word: max(of[min(_TAIL, of.size) - 1], _LOGITS[0]) if of.size else _LOGITS[0] for word, of in peaks.items()
    }
    # The peak that a tail starts at is none that lies beyond the start.
    beyond = {word: of[of > starts[word]] - starts[word] for word, of in peaks.items()}
    together = np.concatenate(list(beyond.values()))
    common = float(together.mean()) if together.size else 1.0
    rates = {}
    for word in words:
        scale = (beyond[word].sum() + _COMMON * common) / (beyond[word].size + _COMMON)
        seen = _UNSEEN + (peaks[word][:, None] >= np.minimum(_LOGITS, starts[word])).sum(axis=0)
        rates[word] = seen * np.exp(-np.maximum(0.0, _LOGITS - starts[word]) / scale) / listener_run.hours
    return rates


def _peaks(listener_run: ListenerRun, word: str) -> NDArray[np.float64]:
    """Return the logits at which a word peaks in the background on its own: one peak in a refractory time."""
    hops = np.flatnonzero(listener_run.top == listener_run.labels.index(word))
    times = (hops + 1) * listener_run.hop_s
    alone = np.zeros(hops.size, bool)
    for stretch in listener_run.stretches:
        alone |= (times > stretch.start_s) & (times <= stretch.end_s + LATEST_S)
    hops = hops[alone]
    if not hops.size:
        return np.zeros(0)
    gaps = np.flatnonzero(np.diff(hops) > max(1, listener_run.refractory_hops)) + 1
    return np.array([_logit(listener_run.scores[near]).max() for near in np.split(hops, gaps)])


def _logit(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    inside = np.clip(probabilities.astype(np.float64), _SURE, 1 - _SURE)
    logits: NDArray[np.float64] = np.log(inside / (1 - inside))
    return logits
