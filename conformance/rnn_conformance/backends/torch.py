"""torch.nn.LSTM, GRU and RNN."""

from __future__ import annotations

from pathlib import Path

import torch

from rnn_conformance.backends.drop_in import DropInBackend


class TorchBackend(DropInBackend):
    """PyTorch's own modules."""

    def __init__(self) -> None:
        super().__init__(torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN, name="torch")

    def expectations(self) -> Path | None:
        """What torch.nn is known to do otherwise."""
        return Path(__file__).with_name("torch.toml") if type(self) is TorchBackend else None

    @property
    def version(self) -> str:
        """Torch's."""
        return str(torch.__version__)
