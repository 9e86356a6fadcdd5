"""Judging a model: on which clips, by which figures, and the report that shows them.

examples    the clips that judge a model, as waveforms with their true classes
metrics     accuracy with its interval, precision, recall, F1, confusion, calibration
judge       a model's answers on those examples
rejection   a threshold for each word, from validation and from speech without commands
det         the curve of misses against wrong acceptances as thresholds move
robustness  accuracy under noise, shift and gain
steady      whether steady noise is heard as silence
cost        size, multiply-adds, latency and memory
shipped     all of these for one model
stream      a listener over labelled continuous audio: stream_audio makes it, stream_tuning sets thresholds by it
figures     what notebooks and the report draw
report      one self-contained HTML page, and the same as JSON; sections holds its parts; stream_report is the stream's
"""
