"""Define what a network learns: classes, clips and sides. Training and evaluation both build on it.

recipe        every hyperparameter of a run, and the recipes that have a name
recipe_file   the stages of a training, described in TOML
protocol      a corpus -> classes and sides, under one of the protocols tutorial, v12, v35 and own
silence       windows of noise that stand for `_silence_` in evaluation
history       the columns of a run's history, and how to read it
"""
