"""Mistakes in the gates and in the equations of a cell."""

from __future__ import annotations

from torch import Tensor

from .base import LSTM
from .zoo import fault


@fault("values.cell", source="huggingface/candle#2351")
class GatesOrderedIFOG(LSTM):
    """The gates are read in the order i, f, o, g."""

    def gates(self, gx: Tensor, gh: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        i, f, o, g = (gx + gh).chunk(4, -1)
        return self.sigmoid(i), self.sigmoid(f), self.tanh(g), self.sigmoid(o)
