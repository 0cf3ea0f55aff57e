"""torch.func: torch.nn.LSTM, GRU and RNN as functions of their parameters, differentiated by torch.func.vjp."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.func import functional_call, vjp

from rnn_conformance.backend import Array, Layer
from rnn_conformance.backends.drop_in import ModuleLayer
from rnn_conformance.backends.torch import TorchBackend
from rnn_conformance.config import LayerConfig


class FunctionalLayer(ModuleLayer):
    """A module on the device meta, which has no numbers of its own, and the parameters that are given to it."""

    def __init__(self, module: torch.nn.Module, config: LayerConfig, held: Mapping[str, torch.Tensor]) -> None:
        super().__init__(module, config)
        self.held = held

    def _call(self, input: Any, hx: Any) -> Any:
        return functional_call(self.module, dict(self.held), (input, hx))

    def gradients(
        self,
        input: Any,
        hx: Any,
        output_gradient: Any,
        state_gradient: Any,
        lengths: Sequence[int] | None = None,
        frozen: Collection[str] = (),
        accumulate: bool = False,
    ) -> tuple[Any, Any, Mapping[str, Any]]:
        """The vector-Jacobian product of the call; torch.func has no gradients that accumulate."""
        if accumulate:
            raise NotImplementedError("torch.func.vjp gives gradients and adds to none")
        self.module.train()
        wanted = {name: tensor for name, tensor in self.held.items() if name not in frozen}

        def call(parameters: Any, input: Any, hx: Any = None) -> Any:
            given = FunctionalLayer(self.module, self.config, {**self.held, **parameters})
            return given.run(input, hx, lengths)

        given = (wanted, input) if hx is None else (wanted, input, hx)
        (output, state), pull = vjp(call, *given)[:2]
        by_parameters, by_input, *by_state = pull((output_gradient, state_gradient))
        parts = by_state[0] if by_state and isinstance(by_state[0], tuple) else by_state
        found = {"input": by_input, **by_parameters, **dict(zip(("h_0", "c_0"), parts, strict=False))}
        return output, state, {name: gradient for name, gradient in found.items() if name not in frozen}

    def taped(self, input: Any, hx: Any, lengths: Sequence[int] | None = None, training: bool = True) -> Any:
        """Not here: this is about torch.func, and autograd's tape is not."""
        raise NotImplementedError

    def save(self) -> Any:
        """There is nothing to save but the caller's own tensors."""
        raise NotImplementedError

    def parameters(self) -> Mapping[str, Any]:
        """The tensors that stand for the parameters."""
        return self.held


class TorchFunctionalBackend(TorchBackend):
    """PyTorch's modules through torch.func.functional_call."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "torch-functional"

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A module without numbers, and copies of these parameters."""
        module = self.filled(self.module(config), config, parameters)
        held = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
        return FunctionalLayer(module.to("meta"), config, held)

    def expectations(self) -> Path | None:
        """What torch.nn and torch.func are known to do otherwise."""
        return Path(__file__).with_name("torch_functional.toml")
