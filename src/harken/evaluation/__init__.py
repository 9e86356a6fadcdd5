"""Evaluate models: accuracy on clips, and misses and false alarms on continuous audio.

metrics                  accuracy with its interval, precision, recall, F1, confusion matrix, calibration

clips/examples           the clips to evaluate on, as waveforms with their true classes
clips/evaluate           a model's answers on these clips, and the figures that follow
clips/rejection          a threshold for each word, from validation clips and speech without the words
clips/tuning             a threshold for clips, from validation clips
clips/side_by_side       several models on the same clips
clips/det                the trade-off of misses against false acceptances as thresholds move
clips/robustness         accuracy with noise, shift and gain
clips/steady_noise       how often steady noise is recognized as silence
clips/cost               file size, multiply-adds, latency and memory
clips/full_evaluation    all of these measurements for one model
clips/figures            the plots of notebooks and of the report
clips/sections           the sections of the report
clips/report             the report as one HTML page, and as JSON

stream/audio             labeled continuous audio, with words placed in background recordings
stream/listener_run      a listener's confidence at each hop of such audio
stream/evaluate          its misses, false alarms and latency
stream/tuning            thresholds for a wanted rate of false alarms
stream/wake              misses and false alarms of a wake phrase followed by words
stream/report            the report on a stream as one HTML page

peers                    other people's wake-word engines on the same audio
"""
