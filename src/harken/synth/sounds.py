"""Find the sound of words in texts, by espeak-ng's pronunciations.

SoundCheck    finds words in texts by their sound, in several accents
"""

from collections.abc import Iterable, Sequence

from harken.errors import HarkenError
from harken.synth.espeak import phonemes

# Differences that many speakers do not make: a flapped t ("writing"), and the vowels of "cot" and "caught", which are the
# same in American accents ("on" in "dawn"). Length marks are ignored in all accents.
_MERGED = {"ɾ": "t"}
_MERGED_IN_AMERICA = {"ɔ": "ɑ", "ɒ": "ɑ"}


class SoundCheck:
    """The sounds of words in some accents.

    Parameters
    ----------
    words
        The words to find.
    accents
        Accents of espeak-ng, such as `en-us`.

    Raises
    ------
    HarkenError
        If there is no such accent, or a word has no sound.
    """

    def __init__(self, words: Sequence[str], accents: Iterable[str]) -> None:
        self._sounds = {
            accent: list(
                zip(words, (_merge(symbols, accent) for symbols in phonemes(words, accent=accent)), strict=True)
            )
            for accent in accents
        }
        for word, sound in (pair for pairs in self._sounds.values() for pair in pairs):
            if sound == _merge((), ""):  # every text would contain it
                raise HarkenError(f"{word!r} has no sound: leave it out, or write it as it is spoken")

    def find_words(self, texts: Sequence[str]) -> list[str]:
        """Return one of the words that each text contains by sound, in any accent, or "" if there is none.

        A text contains a word if its phonemes follow one another, also across the boundaries of words. For example, "know",
        "piano" and "in old" contain "no".
        """
        found = [""] * len(texts)
        for accent, sounds in self._sounds.items():
            for index, symbols in enumerate(phonemes(texts, accent=accent)):
                merged = _merge(symbols, accent)
                for word, sound in sounds:
                    if sound in merged:
                        found[index] = found[index] or word
        return found


def _merge(symbols: Sequence[str], accent: str) -> str:
    merged = []
    for symbol in symbols:
        plain = symbol.replace("ː", "")
        plain = _MERGED.get(plain, plain)
        merged.append(_MERGED_IN_AMERICA.get(plain, plain) if accent.startswith("en-us") else plain)
    # A separator after each symbol, so that a vowel is not found inside a diphthong.
    return "_" + "".join(f"{symbol}_" for symbol in merged)
