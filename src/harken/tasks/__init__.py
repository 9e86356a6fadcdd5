"""What is to be learnt: the room between a corpus, and the training and judging that both build on it.

recipe      every hyperparameter of a run, frozen; the named recipes
protocol    tutorial, v12, v35, own: a corpus -> classes and sides
silence     the windows of noise that stand for `_silence_` where a model is judged
"""
