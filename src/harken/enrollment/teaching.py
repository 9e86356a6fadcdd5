"""What harken's page needs to learn a phrase in the browser: three files, which serve/page/enroll.js reads.

teaching_files   the content of the files
MAX_TAKES        number of takes that the page can learn from
TAKE_SAMPLES     length of a take in samples

All takes have the same length, so the noise in which they are learned can be generated here. The page then learns exactly
what `enroll` learns from the same takes.
"""

import numpy as np

from harken.enrollment.bank import load_bank
from harken.enrollment.calibration import REFERENCE_PER_HOUR, Calibration
from harken.enrollment.graph import enrolled_model
from harken.enrollment.metadata import enrolled_metadata
from harken.enrollment.takes import noises_of
from harken.enrollment.templates import KINDS, Templates
from harken.models.encoders import DEFAULT, load_embedding
from harken.models.speech_embedding import DIMENSIONS, SAMPLE_RATE

MAX_TAKES = 6
TAKE_SAMPLES = 3 * SAMPLE_RATE


def teaching_files() -> dict[str, bytes]:
    """Return the files, by name.

    `template.onnx` is a model of enrolled phrases with two templates of one step. The page takes the speech embedding
    and the scorer from it, and writes its models by replacing the template, the calibration and the metadata.

    `bank.bin` contains the embeddings of two hours of speech: the scale of each of the 96 dimensions as float32, then the
    embeddings in 8 bits, without the mean of speech, which the template contains.

    `noise.bin` contains the noise [takes, kinds of noise, samples] in 16 bits. All numbers are little-endian.

    Raises
    ------
    HarkenError
        If a file of harken is missing or damaged.
    """
    embedding, bank = load_embedding(), load_bank()
    empty = Templates.of([np.zeros((1, DIMENSIONS), np.float32)] * KINDS, range(KINDS))
    calibration = Calibration(start=0.0, scale=1.0, per_hour=REFERENCE_PER_HOUR)
    metadata = enrolled_metadata(["phrase"], empty, {}, [], DEFAULT)
    noise = np.array([noises_of(take, TAKE_SAMPLES) for take in range(MAX_TAKES)])
    loudest = np.abs(noise).max(axis=-1, keepdims=True)
    return {
        "template.onnx": enrolled_model(embedding, bank.speech, empty, [[calibration] * KINDS], metadata),
        "bank.bin": bank.scale.astype("<f4").tobytes() + bank.quantized.tobytes(),
        "noise.bin": np.rint(32767 * noise / loudest).astype("<i2").tobytes(),
    }
