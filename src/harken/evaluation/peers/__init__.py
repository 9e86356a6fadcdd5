"""Other people's wake-word engines, to evaluate on the same streams as harken's models.

engine             an engine with the phrase that it detects
registry           `ENGINE:PHRASE` -> engine
porcupine          Porcupine 1.9.5
open_wake_word     openWakeWord
micro_wake_word    microWakeWord
pocketsphinx       the keyphrase search of pocketsphinx
run                run an engine over a stream, and evaluate it

None of the engines is a dependency of harken. Each is imported when it is used.
"""
