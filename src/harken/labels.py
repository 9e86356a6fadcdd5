"""The ten words of the tutorial and of v12, and the two classes that are no words, as the official test archives name them."""

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN = "_unknown_"  # a word that is none of those asked for
SILENCE = "_silence_"  # no word at all: silence, or noise alone
