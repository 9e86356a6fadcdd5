"""The ten command words of the recipes `tutorial` and `v12`, and the two labels that are not words.

The two labels are named as in the official Speech Commands test archives.
"""

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN = "_unknown_"  # speech that is not one of the model's words
SILENCE = "_silence_"  # no speech: silence or background noise
