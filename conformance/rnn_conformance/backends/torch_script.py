"""torch.jit.script: torch.nn.LSTM, GRU and RNN compiled by TorchScript."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnn_conformance.backend import Array, Layer
from rnn_conformance.backends.drop_in import ModuleLayer
from rnn_conformance.backends.torch import TorchBackend
from rnn_conformance.config import LayerConfig


class LSTMHolder(torch.nn.Module):
    """An LSTM within a module: its own forward is overloaded, and TorchScript compiles no such method by itself."""

    def __init__(self, rnn: torch.nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(
        self,
        input: Tensor,
        hx: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Forward on a tensor."""
        return self.rnn(input, hx)  # type: ignore[no-any-return]

    @torch.jit.export
    def packed(
        self,
        input: PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[PackedSequence, tuple[Tensor, Tensor]]:
        """Forward on a packed sequence."""
        return self.rnn(input, hx)  # type: ignore[no-any-return]


class Holder(torch.nn.Module):
    """A GRU or RNN within a module."""

    def __init__(self, rnn: torch.nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Forward on a tensor."""
        return self.rnn(input, hx)  # type: ignore[no-any-return]

    @torch.jit.export
    def packed(self, input: PackedSequence, hx: Tensor | None = None) -> tuple[PackedSequence, Tensor]:
        """Forward on a packed sequence."""
        return self.rnn(input, hx)  # type: ignore[no-any-return]


class ScriptLayer(ModuleLayer):
    """A scripted module."""

    module: Any

    def _call(self, input: Any, hx: Any) -> Any:
        if input is None:  # or no module of this class would ever run again in this process: see reports/README.md
            raise TypeError("TorchScript takes None for a Tensor, and compiles what follows for None")
        if not isinstance(input, PackedSequence):
            return self.module(input, hx)
        output, state = self.module.packed(input, hx)
        return PackedSequence(*output), state  # TorchScript's is a class of its own

    def parameters(self) -> Mapping[str, Any]:
        """The scripted module's named parameters."""
        return dict(self.module.rnn.named_parameters())


class TorchScriptBackend(TorchBackend):
    """PyTorch's modules, scripted once for each config."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "torch-script"
        self.scripted = cache(self._scripted)

    def _scripted(self, config: LayerConfig) -> Any:
        holder = LSTMHolder if config.kind == "lstm" else Holder
        return torch.jit.script(holder(self.module(config)))

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A copy of the scripted module, with these parameters copied in."""
        with torch.no_grad():  # where gradients are recorded, the copy's parameters are no leaves
            made = deepcopy(self.scripted(config))
        self.filled(made.rnn, config, parameters)
        return ScriptLayer(made, config)

    def expectations(self) -> Path | None:
        """What torch.nn is known to do otherwise: this is the same Python."""
        return Path(__file__).with_name("torch.toml")
