"""Write recordings as audio files.

save_audio   write samples as a 16-bit file
"""

import io
from pathlib import Path
from typing import Any

import soundfile
from numpy.typing import NDArray

from harken.files import replacing


def save_audio(path: Path, samples: NDArray[Any], sample_rate: int) -> None:
    """Write samples as a 16-bit audio file, with `replacing`.

    Parameters
    ----------
    path
        File to write. Its suffix is the format, such as `.wav` or `.flac`.
    samples
        Floats within ±1, [samples].
    sample_rate
        Sample rate in Hz.

    Raises
    ------
    HarkenError
        If the file cannot be written.
    OSError
        If the disk is full. The error names the file.
    """
    # In memory, so that Python writes the file: libsndfile does not say that a disk is full.
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, sample_rate, format=path.suffix[1:].upper(), subtype="PCM_16")
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.getvalue())
