"""Export a model file to LiteRT (TFLite), in float32 or 8 bits, with or without the front-end.

write      write_litert: export a model file, check the result and measure its cost
convert    convert a spotter to a float32 flatbuffer
int8       quantize a flatbuffer to 8 bits, by calibration
run        run a .tflite file on one thread
quiet      suppress the output of converters

The file takes one clip at a time, `waveform` [1, samples] or `features` [1, bands, frames], and returns `probabilities`
[1, classes]. It has no metadata: these are beside it in PATH.json.
"""

from harken.export.litert.run import LitertFile
from harken.export.litert.write import write_litert

__all__ = ["LitertFile", "write_litert"]
