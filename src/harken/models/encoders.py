"""The speech embeddings by name.

ENCODERS         their names
DEFAULT          the name of the one that is used unless another is asked for
load_embedding   a name -> SpeechEmbedding
"""

from harken.errors import HarkenError
from harken.models.google_embedding import load_google_embedding
from harken.models.harken_embedding import load_harken_embedding
from harken.models.speech_embedding import SpeechEmbedding

ENCODERS = ("harken", "google")
DEFAULT = "harken"


def load_embedding(name: str = DEFAULT) -> SpeechEmbedding:
    """Return a speech embedding: `harken`, which harken ships, or `google`, which needs the extra `own`.

    Raises
    ------
    HarkenError
        If there is no such embedding, or its weights cannot be read.
    """
    if name == "harken":
        return load_harken_embedding()
    if name == "google":
        return load_google_embedding()
    raise HarkenError(f"there is no encoder {name!r}: choose {' or '.join(ENCODERS)}")
