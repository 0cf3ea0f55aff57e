"""paddle.nn.RNN and BiRNN over LSTMCell, GRUCell and SimpleRNNCell, stacked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import paddle

from rnn_conformance.backends.paddle import PaddleBackend, PaddleLayer, options
from rnn_conformance.config import LayerConfig

CELLS = {"lstm": paddle.nn.LSTMCell, "gru": paddle.nn.GRUCell, "rnn": paddle.nn.SimpleRNNCell}


class PaddleCellLayer(PaddleLayer):
    """Layers that are an RNN, a BiRNN, or two RNNs of which one is_reverse, each run on what the one below gives."""

    def run(self, input: Any, hx: Any, lengths: Sequence[int] | None) -> Any:
        """Call each layer with its lanes of the state.

        Raises:
            ValueError: for a state of more or fewer parts or lanes than the config has.
        """
        config, x, finals = self.config, input, []
        given = None if hx is None else hx if isinstance(hx, tuple) else (hx,)
        if given is not None and [len(part) for part in given] != [config.lanes] * len(config.state_sizes):
            raise ValueError(f"the state must be {len(config.state_sizes)} of {config.lanes} lanes")
        ends = None if lengths is None else paddle.to_tensor(np.array(lengths, np.int64))
        for k, layer in enumerate(self.module):
            own = range(k * config.num_directions, (k + 1) * config.num_directions)
            if given is not None:
                states = [joined([part[lane] for part in given]) for lane in own]
            else:
                states = [self._initial(x, k, reverse) for reverse in (False, True)[: config.num_directions]]
            if isinstance(layer, paddle.nn.BiRNN):
                x, final = layer(x, None if states[0] is None else tuple(states), ends)
            elif isinstance(layer, paddle.nn.RNN):
                x, *final = layer(x, states[0], ends)
            else:
                outputs, final = zip(*(rnn(x, s, ends) for rnn, s in zip(layer, states, strict=True)), strict=True)
                x = paddle.concat(outputs, -1)
            finals += [state if isinstance(state, tuple) else (state,) for state in final]
        return x, joined([paddle.stack(part) for part in zip(*finals, strict=True)])

    def _initial(self, x: Any, layer: int, reverse: bool) -> Any:
        """None, which stands for zeros of the default dtype; zeros from the cell where the layer has another dtype.

        paddle.nn.RNN, Inputs: "If not provided, `cell.get_initial_states` would be called".
        """
        if self.config.dtype == paddle.get_default_dtype():
            return None
        rows = 0 if self.config.batch_first else 1
        return self.cell(layer, reverse).get_initial_states(x, dtype=self.config.dtype, batch_dim_idx=rows)

    def cell(self, layer: int, reverse: bool) -> Any:
        """The cell of one direction of a layer."""
        own = self.module[layer]
        return own[int(reverse)].cell if isinstance(own, paddle.nn.LayerList) else super().cell(layer, reverse)


def joined(parts: Sequence[Any]) -> Any:
    """A state as Paddle has it: a tensor, or a tuple of those of an LSTM."""
    return tuple(parts) if len(parts) > 1 else parts[0]


class PaddleCellBackend(PaddleBackend):
    """PaddlePaddle's cells on the CPU."""

    name = "paddle-cell"
    kind: ClassVar[type[PaddleLayer]] = PaddleCellLayer

    def supports(self, config: LayerConfig) -> str | None:
        """float32 and float64, without dropout."""
        if config.dtype not in ("float32", "float64"):
            return f"paddle: The kernel with key (CPU, ..., {config.dtype}) of kernel `matmul` is not registered"
        return "paddle.nn.RNN and BiRNN have no dropout" if config.dropout else self.lacks(config)

    def module(self, config: LayerConfig) -> Any:
        """The layers, in Paddle's default dtype: with two directions in turn a BiRNN and two RNNs."""
        layers, make, time_major = [], CELLS[config.kind], not config.batch_first
        for k in range(config.num_layers):
            size = config.output_size if k else config.input_size
            cells = [make(size, config.hidden_size, **options(config)) for _ in range(config.num_directions)]
            if config.bidirectional and k % 2 == 0:
                layers.append(paddle.nn.BiRNN(*cells, time_major=time_major))
            else:
                runs = [paddle.nn.RNN(cell, cell is not cells[0], time_major) for cell in cells]
                layers.append(paddle.nn.LayerList(runs) if config.bidirectional else runs[0])
        return paddle.nn.LayerList(layers)

    def expectations(self) -> Path | None:
        """What the cells are known to do otherwise."""
        return Path(__file__).with_name("paddle_cell.toml")
