"""The keyphrase search of pocketsphinx, with its US English model (https://github.com/cmusphinx/pocketsphinx)."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harken.errors import HarkenError
from harken.evaluation.peers.engine import Detector, Peer, import_package, plain_phrase

_INSTALL = "pip install pocketsphinx"
_STEP = 1280  # samples
_THRESHOLDS = (1e-1, 1e-5, 1e-10, 1e-20, 1e-30, 1e-40)
_DEFAULT = 1e-30  # pocketsphinx's own


def pocketsphinx(phrase: str) -> Peer:
    """Return pocketsphinx with a phrase of words that are in its dictionary.

    Raises
    ------
    HarkenError
        The package is missing, or a word is not in the dictionary.
    """
    package = import_package("pocketsphinx", _INSTALL)
    name = plain_phrase(phrase)
    package.set_loglevel("FATAL")
    probe = package.Decoder(lm=None, loglevel="FATAL")
    for word in name.split():
        if probe.lookup_word(word) is None:
            raise HarkenError(f"pocketsphinx does not know the word {word!r}: {_advice(package, probe, name, word)}")

    def make(threshold: float) -> Detector:
        decoder = package.Decoder(keyphrase=name, kws_threshold=threshold, lm=None, loglevel="FATAL")
        decoder.start_utt()

        def detect(samples: NDArray[np.int16]) -> float:
            decoder.process_raw(samples.tobytes(), no_search=False, full_utt=False)
            if decoder.hyp() is None:
                return 0.0
            decoder.end_utt()  # A detection stays in the hypothesis until the utterance ends.
            decoder.start_utt()
            return 1.0

        return detect

    return Peer("pocketsphinx", name, _STEP, "kws_threshold", _DEFAULT, _THRESHOLDS, make)


def _advice(package: Any, decoder: Any, phrase: str, word: str) -> str:
    """Return what to write instead: two words that make up the word, or the closest ones in the dictionary."""
    for cut in range(2, len(word) - 1):
        if decoder.lookup_word(word[:cut]) and decoder.lookup_word(word[cut:]):
            return (
                f"write it as words that it knows, for example {phrase.replace(word, f'{word[:cut]} {word[cut:]}')!r}"
            )
    with Path(package.get_model_path("en-us/cmudict-en-us.dict")).open(encoding="utf-8") as file:
        known = {line.split(maxsplit=1)[0] for line in file if "(" not in line}
    return f"the closest of its {len(known):,} words are {', '.join(get_close_matches(word, known, 5, 0.0))}"
