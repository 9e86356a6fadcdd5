"""A model file as a LiteRT (TFLite) flatbuffer, in float32 or 8 bits, with its front-end inside or without it.

write.py     write_litert: the door of this package; checks what it writes and says what it costs
convert.py   a spotter as a flatbuffer in float32
int8.py      the same in 8 bits, by calibration
run.py       a .tflite file at work on one thread
quiet.py     the converters' talk to their own developers, held back

The file takes one clip at a time: `waveform` [1, samples] or `features` [1, bands, frames], and gives `probabilities`
[1, classes]. It carries no metadata: what a model file says of itself stands beside it, in PATH.json.
"""

from harken.export.litert.run import LitertFile
from harken.export.litert.write import write_litert

__all__ = ["LitertFile", "write_litert"]
