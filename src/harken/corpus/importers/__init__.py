"""Convert published corpora and exports of other tools into harken's layout.

The entry point is `harken.corpus.importers.convert.import_corpus`. Each layout has a module of its own, with

recognize   whether a folder has this layout
read        yield the recordings of the folder
"""
