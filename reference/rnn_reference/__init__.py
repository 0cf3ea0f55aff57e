"""The oracle: LSTM, GRU and RNN stacks in NumPy, as close to their equations as code can be."""

from rnn_reference.gradients import gru_gradients, lstm_gradients, rnn_gradients
from rnn_reference.parameters import parameter_shapes
from rnn_reference.stack import gru, lstm, rnn

__all__ = ["gru", "gru_gradients", "lstm", "lstm_gradients", "parameter_shapes", "rnn", "rnn_gradients"]
