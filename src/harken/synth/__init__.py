"""Speech without a microphone: words and sentences spoken by the offline voices of the extra `synth`.

voices               the voices that are there (espeak-ng, Hibari, Piper, Kokoro)
synthesize_corpus    words -> a corpus folder in the Speech Commands layout, some voices held out whole
synthesize_speech    hours of sentences in which the given words do not occur

Importing this package raises HarkenError where none of the voices is installed.
"""

from harken.synth.corpus import SynthesizedCorpus, synthesize_corpus
from harken.synth.speech import synthesize_speech
from harken.synth.voices import Voice, voices

__all__ = ["SynthesizedCorpus", "Voice", "synthesize_corpus", "synthesize_speech", "voices"]

voices()
