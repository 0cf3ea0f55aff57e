"""torch.nn.LSTMCell, GRUCell and RNNCell, stepped and stacked by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rnn_reference.parameters import lanes
from torch import Tensor

from rnn_conformance.backend import Array, Differentiate, Layer, Policy
from rnn_conformance.backends.drop_in import taped
from rnn_conformance.backends.torch import TorchBackend
from rnn_conformance.config import LayerConfig

CELLS = {"lstm": torch.nn.LSTMCell, "gru": torch.nn.GRUCell, "rnn": torch.nn.RNNCell}


class CellStack(Layer):
    """Cells in a loop over layers, directions and steps."""

    def __init__(self, config: LayerConfig, tensors: Mapping[str, Tensor]) -> None:
        self.config = config
        self.lanes = lanes(config.num_layers, config.bidirectional)
        self.cells = [self._cell(lane, tensors) for lane in self.lanes]

    def _cell(self, lane: str, tensors: Mapping[str, Tensor]) -> torch.nn.Module:
        config, weight = self.config, tensors[f"weight_ih_{lane}"]
        extra = {"nonlinearity": config.nonlinearity} if config.kind == "rnn" else {}
        cell: torch.nn.Module = CELLS[config.kind](
            weight.shape[1], config.hidden_size, bias=config.bias, device=weight.device, dtype=weight.dtype, **extra
        )
        with torch.no_grad():
            for name, parameter in cell.named_parameters():
                parameter.copy_(tensors[f"{name}_{lane}"])
        return cell

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """Step every cell over the sequence."""
        with torch.no_grad():
            return self.run(input, hx, lengths)

    def run(self, input: Any, hx: Any, lengths: Sequence[int] | None) -> Any:
        """The results in the form of the arguments."""
        unbatched = input.dim() == 2
        swap = self.config.batch_first and not unbatched
        x = input.unsqueeze(1) if unbatched else input.transpose(0, 1) if swap else input
        output, state = self._layers(x, self._state(x, hx, unbatched), self._running(x, lengths))
        if unbatched:
            output, state = output.squeeze(1), tuple(part.squeeze(1) for part in state)
        result = state if self.config.kind == "lstm" else state[0]
        return (output.transpose(0, 1) if swap else output), result

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
        """The loop, and autograd's backward through it."""
        output, state, differentiate = self._taped(input, hx, lengths, frozen, accumulate)
        return output, state, differentiate(output_gradient, state_gradient)

    def taped(
        self, input: Any, hx: Any, lengths: Sequence[int] | None = None, training: bool = True
    ) -> tuple[Any, Any, Differentiate]:
        """The loop, and autograd's backward for later; cells have no dropout, and so no modes."""
        return self._taped(input, hx, lengths)

    def _taped(
        self,
        input: Any,
        hx: Any,
        lengths: Sequence[int] | None,
        frozen: Collection[str] = (),
        accumulate: bool = False,
    ) -> tuple[Any, Any, Differentiate]:
        own = self.parameters()
        for name, parameter in own.items():
            parameter.requires_grad_(name not in frozen)
        with torch.enable_grad():
            return taped(self.run, own, input, hx, lengths, frozen, accumulate)

    def _state(self, x: Tensor, hx: Any, unbatched: bool) -> tuple[Tensor, ...]:
        if hx is None:
            sizes = self.config.state_sizes
            return tuple(x.new_zeros(len(self.lanes), x.shape[1], size) for size in sizes)
        parts = hx if isinstance(hx, tuple) else (hx,)
        for part, size in zip(parts, self.config.state_sizes, strict=True):
            due = (len(self.lanes), size) if unbatched else (len(self.lanes), x.shape[1], size)
            if tuple(part.shape) != due or part.dtype != x.dtype:
                raise ValueError(f"the state is {part.dtype} {tuple(part.shape)}, but {x.dtype} {due} was due")
        return tuple(part.unsqueeze(1) for part in parts) if unbatched else parts

    def _running(self, x: Tensor, lengths: Sequence[int] | None) -> Tensor:
        """Whether each row still runs at each step: (T, B, 1)."""
        if lengths is not None and (len(lengths) != x.shape[1] or not all(0 <= n <= len(x) for n in lengths)):
            raise ValueError(f"lengths are {list(lengths)}, but {x.shape[1]} numbers from 0 to {len(x)} were due")
        ends = torch.tensor([len(x)] * x.shape[1] if lengths is None else list(lengths), device=x.device)
        return (torch.arange(len(x), device=x.device)[:, None] < ends).unsqueeze(-1)

    def _layers(self, x: Tensor, state: tuple[Tensor, ...], running: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        finals = []
        for layer in range(self.config.num_layers):
            outputs = []
            for k in range(self.config.num_directions):
                lane = layer * self.config.num_directions + k
                steps = range(len(x) - 1, -1, -1) if k else range(len(x))
                output, final = self._lane(x, tuple(part[lane] for part in state), self.cells[lane], steps, running)
                outputs.append(output)
                finals.append(final)
            x = torch.cat(outputs, -1)
        return x, tuple(torch.stack(parts) for parts in zip(*finals, strict=True))

    def _lane(
        self, x: Tensor, state: tuple[Tensor, ...], cell: Any, steps: range, running: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        outputs = [x] * len(x)
        for t in steps:
            new = cell(x[t], state if len(state) == 2 else state[0])
            new = new if isinstance(new, tuple) else (new,)
            state = tuple(torch.where(running[t], a, b) for a, b in zip(new, state, strict=True))
            outputs[t] = torch.where(running[t], state[0], 0)
        return torch.stack(outputs) if outputs else x.new_zeros(0, x.shape[1], self.config.hidden_size), state

    def parameters(self) -> Mapping[str, Any]:
        """The cells' parameters."""
        cells = zip(self.lanes, self.cells, strict=True)
        return {f"{name}_{lane}": own for lane, cell in cells for name, own in cell.named_parameters()}


class TorchCellBackend(TorchBackend):
    """PyTorch's cells."""

    policy = replace(Policy(), empty_sequence="state", zero_length="state")

    def __init__(self) -> None:
        super().__init__()
        self.name = "torch-cell"

    def expectations(self) -> Path | None:
        """What the cells are known to do otherwise."""
        return Path(__file__).with_name("torch_cell.toml")

    def supports(self, config: LayerConfig) -> str | None:
        """A cell has no projection and no dropout."""
        if config.proj_size:
            return "torch.nn.LSTMCell has no proj_size"
        return "torch's cells have no dropout" if config.dropout else None

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """Cells that hold copies of these parameters.

        Raises:
            NotImplementedError: for a config that `supports` refuses.
            ValueError: for one that cannot exist.
        """
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        config.parameter_shapes()
        return CellStack(config, {name: self.from_numpy(a, config.device) for name, a in parameters.items()})
