"""Training, from a task (harken.tasks) to a model file.

batches     which clips an epoch draws, and their samples
augment/    one transform a file, each on whole batches
listening   rows of a batch -> what the network hears
module      network, loss and optimiser as a LightningModule
history     one CSV line an epoch
run         train a recipe on folders, into a folder that can be resumed
folder      what a run's folder holds
earlier     what another run or a model file has learnt, to begin with or to learn from
reopen      the weights of a model file in a network that trains
memory      what the C library is told, so that it keeps freed memory
finish      the best weights -> the model file, with its thresholds and figures
"""
