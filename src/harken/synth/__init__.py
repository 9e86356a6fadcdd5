"""Synthetic speech: words and sentences spoken by the offline voices of the extra `synth`.

voices               the installed voices (espeak-ng, Hibari, Piper, Kokoro)
synthesize_corpus    words -> corpus folders in the layout of Speech Commands, with some voices held out
synthesize_speech    hours of sentences that do not contain given words

Importing this package raises HarkenError if no voice is installed.
"""

from harken.synth.corpus import SynthesizedCorpus, synthesize_corpus
from harken.synth.speech import synthesize_speech
from harken.synth.voices import Voice, voices

__all__ = ["SynthesizedCorpus", "Voice", "synthesize_corpus", "synthesize_speech", "voices"]

voices()
