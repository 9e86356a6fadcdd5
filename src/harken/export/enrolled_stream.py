"""Export a model of enrolled phrases as a streaming model (onnx-stream). This needs no training framework.

write_enrolled_stream   write it, and compare it with the model
"""

import os
from pathlib import Path

import numpy as np

from harken.enrollment.existing import read_enrolled
from harken.enrollment.learn import streaming_content
from harken.errors import HarkenError
from harken.export.stream_report import CHECKED_STEPS, StreamReport, generated_stream, make_report
from harken.files import replacing_all, require_writable
from harken.runtime.modelfile import ModelFile
from harken.runtime.streamfile import StreamFile

_TOLERANCE = 1e-4  # largest accepted difference of a probability


def write_enrolled_stream(model: str | os.PathLike[str], path: Path) -> StreamReport:
    """Export a model of enrolled phrases as a streaming model, and write the result of the check beside it as PATH.json.

    Parameters
    ----------
    model
        Model file that `enroll` wrote.
    path
        The file to write.

    Returns
    -------
    StreamReport
        The result of the check.

    Raises
    ------
    HarkenError
        If the model was not written by `enroll`, a file cannot be read or written, or the streaming file does not agree
        with the model. Nothing is written then.
    """
    source = ModelFile(model)
    check = path.with_name(f"{path.name}.json")
    require_writable(path, check)
    content = streaming_content(read_enrolled(source.path))
    with replacing_all(path, check) as (temporary, beside):
        temporary.write_bytes(content)
        stream_file = StreamFile(temporary)
        difference = _difference(source, stream_file)
        if not difference <= _TOLERANCE:
            raise HarkenError(
                f"{path} was not written: its probabilities differ from those of {source.path} by {difference:.2g}"
            )
        report = make_report(stream_file, source, path, largest_difference=difference)
        beside.write_text(report.to_json(), encoding="utf-8")
    return report


def _difference(source: ModelFile, stream_file: StreamFile) -> float:
    """Return the largest difference in probability between the file, run step by step, and the model's windows."""
    step, window = stream_file.step, source.card.window
    sound = generated_stream(CHECKED_STEPS * step)
    padded = np.pad(sound, (window, 0))  # before the stream, there is silence
    state, worst = stream_file.start(), 0.0
    for end in range(step, sound.size + 1, step):
        probabilities, state = stream_file.advance(sound[None, end - step : end], state)
        wanted = source.probabilities(padded[None, end : end + window])
        worst = max(worst, float(np.abs(probabilities - wanted).max()))
    return worst
