"""Export a causal BC-ResNet to one C99 source file and a header: front-end and network, without memory allocation.

write      write_c: export a model file, check the result and measure its cost
graph      read the network from a model file, with batch norms folded
tables     arrange its weights as the C code reads them, in float32
int8       the same in 8 bits, by calibration
source     make the C text from templates/ and the tables
literals   write Python values as C text
compiled   compile the C code, measure it and call it from Python

NAME.h has these functions: `NAME_push(samples, count)` takes 16-bit samples of a stream in pieces of any size,
`NAME_listen(samples, confidence)` takes samples and decides, `NAME_probabilities(out)` returns the current probabilities,
`NAME_reset()` starts a new stream, and `NAME_run(window, out)` evaluates one clip.

Clips and streams differ. Every convolution over time has zeros before its first frame (zeros after the input norm, which
are the mean of the training clips). `run` starts from there for each clip and answers as the model file does. `push` has
a continuous history: each frame of the network is computed once, from the state that all audio since the reset has left,
and the answer averages the logits of the frames of the last window. This is the network run over the whole history and
averaged over its end. It is not the model file run over the last second, whose first frames see zeros instead of the
earlier audio. The two agree in the first window after a reset.
"""

from harken.export.c.compiled import CompiledModel, Sizes, compile_c
from harken.export.c.write import CReport, write_c

__all__ = ["CReport", "CompiledModel", "Sizes", "compile_c", "write_c"]
