"""torch.nn.LSTM, GRU and RNN."""

from __future__ import annotations

import torch

from rnn_conformance.backends.drop_in import DropInBackend


class TorchBackend(DropInBackend):
    """PyTorch's own modules."""

    def __init__(self) -> None:
        super().__init__(torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN, name="torch")

    @property
    def version(self) -> str:
        """Torch's."""
        return str(torch.__version__)
