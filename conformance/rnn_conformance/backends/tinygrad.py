"""tinygrad.nn.LSTMCell, stepped and stacked by hand, on tinygrad's CPU device."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rnn_reference.parameters import lanes
from tinygrad import Tensor, dtypes
from tinygrad.helpers import DEV, PARALLEL
from tinygrad.nn import LSTMCell

from rnn_conformance.arithmetic import Arithmetic
from rnn_conformance.backend import Array, Backend, Layer, Policy, WrongUse
from rnn_conformance.config import LayerConfig
from rnn_conformance.weights import CONVENTIONS, lay_out

DTYPES = {"float64": dtypes.float64, "float32": dtypes.float32, "float16": dtypes.float16}


class TinygradLayer(Layer):
    """Cells in a loop over layers, directions and steps."""

    def __init__(self, config: LayerConfig, parameters: Mapping[str, Array]) -> None:
        self.config = config
        self.lanes = lanes(config.num_layers, config.bidirectional)
        self.cells = [self._cell(lane, parameters) for lane in self.lanes]

    def _cell(self, lane: str, parameters: Mapping[str, Array]) -> Any:
        cell = LSTMCell(1, 1, bias=self.config.bias)  # its sizes are those of its weights
        for name, array in lay_out(CONVENTIONS["tinygrad"]["lstm"], parameters, lane).items():
            setattr(cell, name, _tensor(array))
        return cell

    def __deepcopy__(self, memo: dict[int, Any]) -> TinygradLayer:
        parameters = {name: tensor.numpy() for name, tensor in self.parameters().items()}
        return TinygradLayer(self.config, parameters)

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """Step every cell over the sequence, and have tinygrad, which is lazy, compute the results."""
        if lengths is not None:
            raise NotImplementedError("tinygrad.nn.LSTMCell takes no lengths")
        output, state = self._run(input, hx)
        Tensor.realize(output, *state)
        return output, state

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
        """By Tensor.gradient, which gives gradients and adds to none."""
        if lengths is not None or accumulate:
            raise NotImplementedError("Tensor.gradient gives gradients and adds to none")
        own = self.parameters()
        given = {"input": input, **dict(zip(("h_0", "c_0"), hx or (), strict=False)), **own}
        wanted = {name: tensor for name, tensor in given.items() if name not in frozen}
        output, state = self._run(input, hx)
        pairs = zip((output, *state), (output_gradient, *state_gradient), strict=True)
        found = Tensor.usum(*((result * gradient).sum() for result, gradient in pairs)).gradient(*wanted.values())
        Tensor.realize(output, *state, *found)
        return output, state, dict(zip(wanted, found, strict=True))

    def _run(self, input: Tensor, hx: Any) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The results in the form of the arguments.

        Each step is kept apart from the next, there and back, or tinygrad would compile all steps into one kernel.
        """
        if hx is not None and [len(part) for part in hx] != [len(self.lanes)] * 2:
            raise ValueError(f"the state must be two of {len(self.lanes)} lanes")
        x = input.transpose(0, 1) if self.config.batch_first else input
        finals, outputs = [], []
        for k, (lane, cell) in enumerate(zip(self.lanes, self.cells, strict=True)):
            state, steps = None if hx is None else (hx[0][k], hx[1][k]), {}
            for t in reversed(range(len(x))) if lane.endswith("_reverse") else range(len(x)):
                state = tuple(part.contiguous().contiguous_backward() for part in cell(x[t], state))
                steps[t] = state[0]
            outputs.append(Tensor.stack(*(steps[t] for t in range(len(x)))))
            finals.append(state)  # None for no steps, of which there is no stack
            if len(outputs) == self.config.num_directions:
                x, outputs = Tensor.cat(*outputs, dim=-1), []
        output = x.transpose(0, 1) if self.config.batch_first else x
        h_n, c_n = (Tensor.stack(*parts) for parts in zip(*finals, strict=True))
        return output, (h_n, c_n)

    def parameters(self) -> Mapping[str, Any]:
        """The tensors of the cells, whose names and layout are torch.nn's."""
        names = CONVENTIONS["tinygrad"]["lstm"].fields
        cells = zip(self.lanes, self.cells, strict=True)
        held = {f"{name}_{lane}": getattr(cell, own) for lane, cell in cells for name, own in names.items()}
        return {name: tensor for name, tensor in held.items() if tensor is not None}


def _tensor(array: Array) -> Tensor:
    """A tensor of these values, in memory of its own."""
    return Tensor(np.ascontiguousarray(array)).contiguous().realize()


class TinygradBackend(Backend):
    """tinygrad on its device CPU, which compiles each kernel by clang."""

    name = "tinygrad"
    policy = replace(Policy(), lengths=False, unbatched=False)  # "gates.chunk(4, dim=1)"
    max_examples = 1

    def __init__(self) -> None:
        if shutil.which(os.environ.get("CC", "clang")) is None:
            raise WrongUse("tinygrad compiles for its device CPU by clang, which is not installed")
        DEV.value = "CPU"
        PARALLEL.value = 0  # or it compiles in processes of its own

    @property
    def version(self) -> str:
        """That of tinygrad."""
        return version("tinygrad")

    def supports(self, config: LayerConfig) -> str | None:
        """A cell of an LSTM, and no more."""
        if config.kind != "lstm":
            return "tinygrad.nn has LSTMCell, and no cell of a GRU or an RNN"
        if config.proj_size or config.dropout:
            return "tinygrad.nn.LSTMCell has no projection and no dropout"
        if config.dtype not in DTYPES:
            return "tinygrad's kernels in bfloat16 have __bf16, of which clang 14 says: not supported on this target"
        return self.lacks(config)

    def arithmetic(self, dtype: str) -> Arithmetic:
        """Tensor.tanh is 2 · sigmoid(2x) - 1, which errs by a unit next to 1 however small it is."""
        return replace(super().arithmetic(dtype), activation_error=float(np.finfo(dtype).eps) / 2)

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """Cells that hold copies of these parameters.

        Raises:
            NotImplementedError: for a config that `supports` refuses.
            ValueError: for one that cannot exist.
        """
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        config.parameter_shapes()
        return TinygradLayer(config, parameters)

    def from_numpy(self, array: Array, device: str) -> Any:
        """A tensor of these values."""
        return _tensor(array)

    def to_numpy(self, array: Any) -> Array:
        """Its values."""
        if not isinstance(array, Tensor):
            raise TypeError(f"a Tensor was due, not {type(array).__name__}")
        return np.array(array.numpy())

    def assign(self, array: Any, values: Array) -> None:
        """Write values into the tensor."""
        array.assign(_tensor(values)).realize()

    def expectations(self) -> Path | None:
        """What tinygrad is known to do otherwise."""
        return Path(__file__).with_name("tinygrad.toml")

    def environment(self) -> dict[str, str]:
        """tinygrad, its device, and how few cases are tried."""
        return {"tinygrad": self.version, "device": "CPU", "examples of each unit at most": str(self.max_examples)}
