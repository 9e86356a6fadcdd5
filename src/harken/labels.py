"""The ten command words of the recipes `tutorial` and `v12`, the two labels that are not words, and how words are written.

The two labels are named as in the official Speech Commands test archives.
"""

import unicodedata

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN = "_unknown_"  # speech that is not one of the model's words
SILENCE = "_silence_"  # no speech: silence or background noise
NOT_IN_FOLDER_NAMES = frozenset('/\\\0:*?"<>|')  # on some system; clips of a word are kept in a folder of its name


def normalize_word(text: str) -> str:
    """Return a text in Unicode's composed form (NFC).

    `über` can be written with four characters or, as macOS writes the names of some folders, with five. Both are the same
    word.
    """
    return unicodedata.normalize("NFC", text)
