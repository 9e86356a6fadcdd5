"""The networks, by name. Each takes features [N, bands, frames] and returns logits [N, classes].

registry           the names of all networks, and how to build them
bc_resnet, ds_cnn, res15, matchboxnet, att_rnn, tutorial_cnn, tutorial_lstm, embedding_head    one architecture each
frontend           waveform -> features
speech_mel         the front-end of the speech embedding
mel_filters        the matrix of mel filters
speech_embedding   the speech embeddings: their front-end, and their layers as ONNX nodes
harken_embedding, google_embedding    the weights and layers of each
encoders           the speech embeddings by name
onnx_bytes         read and write ONNX files without the package onnx
spectrum           the power spectrum as matrix products
spotter            a front-end and a network together
summary            layers, parameters and multiply-adds
onnx_writer        write a model file
graph_builder      build an ONNX graph node by node
frontend_graph     the log-mel front-end as such a graph
widen              copy weights into a wider network
dropout            a faster dropout
keras_init         initial weights as in Keras
"""

from harken.models.registry import NETWORKS, Network, build_network, find_network

__all__ = ["NETWORKS", "Network", "build_network", "find_network"]
