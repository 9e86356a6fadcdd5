"""Initial weights as in Keras.

initialize_like_keras         convolutions and dense layers
initialize_lstm_like_keras    LSTMs
"""

import torch
from torch import nn


def initialize_like_keras(network: nn.Module) -> None:
    """Initialize all convolutions and dense layers of a network as Keras does: Glorot uniform weights, zero biases."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def initialize_lstm_like_keras(lstm: nn.LSTM) -> None:
    """Initialize an LSTM as Keras does.

    Input weights are Glorot uniform, recurrent weights orthogonal, and biases zero. Only the bias of the forget gate is one
    (Jozefowicz et al. 2015), so that an untrained network does not forget its state.
    """
    for name, parameter in lstm.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(parameter)
        elif name.startswith("weight_hh"):
            nn.init.orthogonal_(parameter)
        else:
            nn.init.zeros_(parameter)
            if name.startswith("bias_ih"):  # torch adds two biases to each gate; only one of them is set to one
                with torch.no_grad():
                    parameter[lstm.hidden_size : 2 * lstm.hidden_size] = 1.0
