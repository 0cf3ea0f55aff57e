"""The examples that torch.nn's pages print, as cases that always run."""

from __future__ import annotations

from rnn_conformance.case import Case
from rnn_conformance.config import LayerConfig
from rnn_conformance.strategies import Unit


def two_layers(unit: Unit) -> list[Case]:
    """`rnn = nn.LSTM(10, 20, 2)` on input (5, 3, 10), h0 and c0 (2, 3, 20); GRU and RNN the same."""
    config = LayerConfig(unit.cell, 10, 20, num_layers=2, dtype=unit.dtype, device=unit.device)
    return [Case(config, seq_len=5, batch_size=3, values="normal", seed=unit.entropy)]


def five_steps(unit: Unit) -> list[Case]:
    """`lstm = nn.LSTM(3, 3)` fed five (1, 1, 3) steps one at a time, of PyTorch's tutorial on sequence models."""
    config = LayerConfig(unit.cell, 3, 3, dtype=unit.dtype, device=unit.device)
    return [Case(config, seq_len=5, batch_size=1, values="normal", seed=unit.entropy)]


def two_directions(unit: Unit) -> list[Case]:
    """A bidirectional stack, whose `output.view(seq_len, batch, num_directions, hidden_size)` separates directions."""
    config = LayerConfig(unit.cell, 10, 20, num_layers=2, bidirectional=True, dtype=unit.dtype, device=unit.device)
    return [Case(config, seq_len=5, batch_size=3, values="normal", seed=unit.entropy)]


def packed(unit: Unit) -> list[Case]:
    """Packed input, which gives packed output."""
    config = LayerConfig(unit.cell, 10, 20, num_layers=2, dtype=unit.dtype, device=unit.device)
    return [Case(config, seq_len=5, batch_size=3, lengths=(5, 2, 3), values="normal", seed=unit.entropy)]
