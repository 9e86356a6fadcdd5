"""Corpora of single spoken words: download, list, split, inspect and pack them.

catalog            the published corpora that can be downloaded
fetch              download a published corpus
unpack             unpack its archive safely
table              folders of recordings -> a table of clips (path, word, speaker)
walk               the audio files below a folder, with size and time of change
split              assign clips to the training, validation and test side
decode             decode clips in several processes
pack               the clips of a table as memory-mapped int16 shards, for training
recordings         recordings of noise or speech, to cut windows from
synthetic_noise    generated noise, where none was recorded
problems           find damaged, silent, clipped, short and duplicate clips
figures, page      plots of a corpus, and its HTML page
"""
