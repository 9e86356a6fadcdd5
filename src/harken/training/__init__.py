"""Train a task of `harken.tasks`, and write the model file.

batches             the clips of each epoch, and their samples on the device
augment/            the augmentations, one transform in each module, applied to whole batches
waveforms           rows of a batch -> waveforms, augmented for training
bank_windows        windows of the speech bank, for networks on the speech embedding
hard_negatives      the speech that a listener would take for a word, found anew as the network learns
module              network, loss and optimizer as a LightningModule
cuda_graphs         forward and backward passes recorded and replayed on a GPU
memory              settings of the C library that keep freed memory for the next step
history             writes one CSV line for each epoch
clip_record         the clips of a run, kept in its checkpoints
run                 train and resume
stages              train and resume the stages of a recipe file
stages_file         the list of these stages
run_folder          the files in the folder of a run
finish              the weights of a run -> the model file, with its thresholds and figures
initial_weights     start a run with the weights of an earlier one
trained_networks    open a run or a model file as a network or a teacher
restore             the weights of a model file -> a network that can be trained
teachers            the models that a network is distilled from
"""
