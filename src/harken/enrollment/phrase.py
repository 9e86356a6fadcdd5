"""A phrase as it was learned: its templates and their calibration.

LearnedPhrase   templates of takes, calibrated on the speech bank
logits_of       the scores of the two groups of templates -> logits
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harken.enrollment.bank import Bank
from harken.enrollment.calibration import Calibration, fit_tail, peaks_of, stricter
from harken.enrollment.takes import Take, sequences_of, talk_sequences_of, whole_embeddings
from harken.enrollment.templates import KINDS, Templates, TemplateScorer
from harken.models.speech_embedding import SpeechEmbedding

# Subtracted from the logit of each group: the templates with talk behind the phrase get the smaller part of the false alarms.
# 0, 1, 2 and 3 were compared on seven phrases, with speech by the speakers for thresholds: 0 missed fewest in talk, and 1 hardly
# more in noise than the quiet templates alone. 0.5 lies between the two.
_HANDICAPS = (0.0, 0.5)


class LearnedPhrase:
    """The templates of a phrase, and their calibration on the speech bank.

    A phrase has two groups of templates: for quiet places and noise, and for talk behind the phrase. The score of a group is
    the mean of its templates' scores. The two scores become logits, and the higher one counts.

    Parameters
    ----------
    takes
        Takes of the phrase.
    embedding
        The speech embedding.
    bank
        Its speech bank.

    Attributes
    ----------
    templates : Templates
        The templates of all takes.
    calibrations : tuple of Calibration
        The calibration of each group.
    """

    def __init__(self, takes: Sequence[Take], embedding: SpeechEmbedding, bank: Bank) -> None:
        self._takes, self._embedding, self._bank = takes, embedding, bank
        sequences: list[NDArray[np.float32]] = []
        groups: list[int] = []  # of each template: which take, and which kind
        for number, take in enumerate(takes):
            for kind, of_kind in enumerate(
                (sequences_of(take, embedding, seed=number), talk_sequences_of(take, embedding))
            ):
                sequences += [bank.speech.normalized(sequence) for sequence in of_kind]
                groups += len(of_kind) * [number * KINDS + kind]
        self._group_of = np.array(groups)
        self.templates = Templates.of(sequences, [group % KINDS for group in groups])
        self._scorer = TemplateScorer(self.templates, bank.speech)
        self._talk = self._means(bank.talk)
        self.calibrations = self._calibrate(self._talk.mean(axis=0))

    def _means(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean score [takes, kinds, steps] of each take's templates of a kind."""
        sums = self._scorer.sums(embeddings, self._group_of)
        counts = np.bincount(self._group_of).astype(np.float32)
        return (sums / counts[:, None]).reshape(len(self._takes), KINDS, -1)

    def _calibrate(self, scores: NDArray[np.float32]) -> tuple[Calibration, ...]:
        """Return the calibration of each group from its scores [kinds, steps] in the bank.

        First, each is calibrated alone. Then both are changed alike, so that the rates of their false alarms add up to those
        that are promised.
        """
        alone = [
            stricter(fit_tail(peaks_of(of_kind), self._bank.hours), handicap)
            for of_kind, handicap in zip(scores, _HANDICAPS, strict=True)
        ]
        both = fit_tail(peaks_of(logits_of(scores, alone)), self._bank.hours, usual_scale=1.0)
        return tuple(
            Calibration((both.start - fit.offset) * fit.scale, both.scale * fit.scale, both.per_hour) for fit in alone
        )

    def logits(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logit [steps] of the phrase at each step of embeddings [steps, 96]."""
        return logits_of(self._means(embeddings).mean(axis=0), self.calibrations)

    def bank_logits(self) -> NDArray[np.float32]:
        """Return the logit [steps] of the phrase at each step of the speech in the bank."""
        return logits_of(self._talk.mean(axis=0), self.calibrations)

    def logit_without(self, number: int) -> float:
        """Return the highest logit of a take, in a phrase that was learned from the other takes."""
        others = np.arange(len(self._takes)) != number
        calibrations = self._calibrate(self._talk[others].mean(axis=0))
        found = self._means(whole_embeddings(self._takes[number], self._embedding))
        return float(logits_of(found[others].mean(axis=0), calibrations).max())

    def raise_by(self, logits: float) -> None:
        """Make the phrase stricter: its logits become lower by this much."""
        self.calibrations = tuple(stricter(fit, logits) for fit in self.calibrations)


def logits_of(scores: NDArray[np.float32], calibrations: Sequence[Calibration]) -> NDArray[np.float32]:
    """Return the highest logit [steps] of the groups, from their scores [kinds, steps]."""
    slopes = np.array([[fit.slope] for fit in calibrations], np.float32)
    offsets = np.array([[fit.offset] for fit in calibrations], np.float32)
    highest: NDArray[np.float32] = (slopes * scores + offsets).max(axis=0)
    return highest
