"""Backends and classes that are wrong in ways a user's first attempt is, and small right ones."""

from __future__ import annotations

from typing import Any

import torch
from rnn_conformance import Backend, Layer
from rnn_conformance.backends.numpy import NumPyBackend
from rnn_conformance.oracle import reference


class NoLayer(Backend):
    """It lacks the one method that it needs."""


class NeedsAnArgument(Backend):
    def __init__(self, path: str) -> None:
        self.path = path

    def layer(self, config: Any, parameters: Any) -> Any:
        raise NotImplementedError


class GivesNone(Backend):
    name = "gives-none"

    def layer(self, config: Any, parameters: Any) -> Any:
        return None


class DevicesAreText(GivesNone):
    def devices(self) -> Any:
        return "cpu"


class PolicyIsADict(GivesNone):
    policy: Any = ("lengths", True)


class NotABackend:
    pass


class NoForward(torch.nn.Module):
    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__()


class NoModule:
    def forward(self, input: Any, hx: Any = None) -> Any:
        return input, hx


class Right(NumPyBackend):
    """The oracle under another name."""

    name = "right"


class SwappedLayer(Layer):
    def __init__(self, config: Any, parameters: Any) -> None:
        self.config = config
        self.held = {name: array.copy() for name, array in parameters.items()}

    def forward(self, input: Any, hx: Any = None, lengths: Any = None, training: bool = False) -> Any:
        size = self.config.hidden_size
        swapped = {}
        for name, array in self.held.items():
            swapped[name] = array.copy()
            swapped[name][:size], swapped[name][size : 2 * size] = array[size : 2 * size], array[:size]
        return reference(self.config, swapped, input, hx, lengths=lengths)


class SwappedGates(NumPyBackend):
    """The input and forget gates of the LSTM in each other's place; no other cell, and float64 alone."""

    name = "swapped-gates"

    def supports(self, config: Any) -> str | None:
        return None if config.cell == "lstm" and config.dtype == "float64" and not config.dropout else "not offered"

    def layer(self, config: Any, parameters: Any) -> Layer:
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        return SwappedLayer(config, parameters)


class WrongWhenWideLayer(SwappedLayer):
    def forward(self, input: Any, hx: Any = None, lengths: Any = None, training: bool = False) -> Any:
        output, state = reference(self.config, self.held, input, hx, lengths=lengths)
        if self.config.hidden_size >= 3 or self.config.bidirectional:
            output = output + 1
        return output, state


class WrongWhenWide(SwappedGates):
    """Wrong in two regions: from three hidden units on, and in both directions."""

    name = "wrong-when-wide"

    def layer(self, config: Any, parameters: Any) -> Layer:
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        return WrongWhenWideLayer(config, parameters)


class SwappedLSTM(torch.nn.LSTM):
    """torch's, with the input and forget gates in each other's place."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        size = self.hidden_size
        order = torch.cat([torch.arange(size, 2 * size), torch.arange(size), torch.arange(2 * size, 4 * size)])
        right = {name: p for name, p in self.named_parameters() if "weight_hr" not in name}
        swapped = {name: p[order] for name, p in right.items()}
        return torch.func.functional_call(_Plain(self), swapped, (input, hx)) if swapped else None


class _Plain(torch.nn.LSTM):
    def __init__(self, like: torch.nn.LSTM) -> None:
        super().__init__(
            like.input_size,
            like.hidden_size,
            like.num_layers,
            like.bias,
            like.batch_first,
            like.dropout,
            like.bidirectional,
            like.proj_size,
        )
        self.to(next(like.parameters()).dtype)
        for name, parameter in like.named_parameters():
            if "weight_hr" in name:
                getattr(self, name).data.copy_(parameter.data)
        self.train(like.training)
