"""Corpora of single spoken words: where they come from, what is in them, and the packed form that training reads.

table        folders of recordings -> a table of clips (path, word, speaker)
walk         what is seen of its files without opening them
split        which side each clip is on: the official rule, the tutorial's, by speaker
decode       clips decoded by several processes
pack         the table's audio as memory-mapped int16 shards
recordings   long recordings (noise, speech) as one array to cut windows from
steady       noise that is made, where none was recorded, or to judge by
catalog, fetch, unpack    the published archives
problems, figures, page   looking at a corpus
"""
