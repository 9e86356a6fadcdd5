"""Find an engine by the name and phrase that `--peer` gives.

find_peer    `ENGINE:PHRASE` -> the engine with its phrase
PEERS        the engines, by name
"""

from collections.abc import Callable

from harken.errors import HarkenError
from harken.evaluation.peers.engine import Peer
from harken.evaluation.peers.micro_wake_word import micro_wake_word
from harken.evaluation.peers.open_wake_word import open_wake_word
from harken.evaluation.peers.pocketsphinx import pocketsphinx
from harken.evaluation.peers.porcupine import porcupine

PEERS: dict[str, Callable[[str], Peer]] = {
    "porcupine": porcupine,
    "openwakeword": open_wake_word,
    "microwakeword": micro_wake_word,
    "pocketsphinx": pocketsphinx,
}


def find_peer(text: str) -> Peer:
    """Return an engine with its phrase.

    Parameters
    ----------
    text
        `ENGINE:PHRASE`, for example `porcupine:view glass`. Instead of a phrase, Porcupine, openWakeWord and microWakeWord
        also take a model file.

    Raises
    ------
    HarkenError
        There is no such engine, its package is missing, or it does not know the phrase.
    """
    engine, _, phrase = text.partition(":")
    if engine not in PEERS:
        raise HarkenError(f"--peer {text}: give ENGINE:PHRASE, where ENGINE is one of {', '.join(PEERS)}")
    if not phrase.strip():
        raise HarkenError(f"--peer {text} lacks the phrase: give it after a colon, as in porcupine:view glass")
    return PEERS[engine](phrase.strip())
