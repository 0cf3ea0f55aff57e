"""A kernel in miniature: torch.nn.LSTM with one matrix product for all steps' inputs, where that is possible."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__version__ = "1.0"


class FusedLSTM(torch.nn.LSTM):
    """Drop-in for torch.nn.LSTM. One direction of plain tensors takes the fast path, and all else torch's own."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Output and (h_n, c_n), as torch.nn.LSTM gives them."""
        if not self._fast(input, hx):
            return super().forward(input, hx)
        x = input.transpose(0, 1) if self.batch_first else input
        self.check_input(x, None)
        if hx is None:
            zeros = x.new_zeros(self.num_layers, x.shape[1], self.hidden_size)
            hx = (zeros, zeros)
        self.check_hidden_size(hx[0], (self.num_layers, x.shape[1], self.hidden_size))
        self.check_hidden_size(hx[1], (self.num_layers, x.shape[1], self.hidden_size))
        finals = []
        for layer in range(self.num_layers):
            x, h, c = self._layer(x, hx[0][layer], hx[1][layer], layer)
            finals.append((h, c))
        h_n, c_n = (torch.stack(part) for part in zip(*finals, strict=True))
        return (x.transpose(0, 1) if self.batch_first else x), (h_n, c_n)

    def _fast(self, input: Any, hx: Any) -> bool:
        tensors = [input, *(hx if isinstance(hx, tuple) and len(hx) == 2 else () if hx is None else (None,))]
        return (
            all(isinstance(t, Tensor) and t.dim() == 3 and t.dtype == self.weight_ih_l0.dtype for t in tensors)
            and input.numel() > 0
            and not (self.bidirectional or self.proj_size or (self.training and self.dropout))
        )

    def _layer(self, x: Tensor, h: Tensor, c: Tensor, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        w_ih, w_hh = getattr(self, f"weight_ih_l{layer}"), getattr(self, f"weight_hh_l{layer}")
        products = x @ w_ih.T  # of all steps at once
        if self.bias:
            products = products + (getattr(self, f"bias_ih_l{layer}") + getattr(self, f"bias_hh_l{layer}"))
        outputs = []
        for product in products.unbind():
            i, f, g, o = (product + h @ w_hh.T).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), h, c
