"""The adapter: what the suite calls a layer, in terms of `gru`."""

from __future__ import annotations

from typing import Any

import numpy as np
import tiny_gru
from rnn_conformance import Backend, Layer, Policy


class TinyLayer(Layer):
    """The kernel with its weights."""

    def __init__(self, config: Any, parameters: Any) -> None:
        self.config = config
        self.weights = {name: array.copy() for name, array in parameters.items()}

    def forward(self, input: Any, hx: Any = None, lengths: Any = None, training: bool = False) -> Any:
        """torch.nn.GRU's output and h_n."""
        x = input.swapaxes(0, 1) if self.config.batch_first else input
        if hx is None:
            hx = np.zeros((1, x.shape[1], self.config.hidden_size), np.float32)
        if hx.ndim != 3 or hx.shape[0] != 1:
            raise ValueError(f"h_0 must be (1, B, H), not {hx.shape}")
        output, state = tiny_gru.gru(x, self.weights, hx[0])
        return (output.swapaxes(0, 1) if self.config.batch_first else output), state[np.newaxis]

    def parameters(self) -> Any:
        """The weights as it holds them."""
        return self.weights


class TinyGRU(Backend):
    """`tiny_gru.gru`, which is one layer and one direction in float32."""

    name = "tiny-gru"
    version = tiny_gru.__version__
    policy = Policy(lengths=False, unbatched=False)

    def supports(self, config: Any) -> str | None:
        """None, or what is lacking."""
        if config.cell != "gru" or config.dtype != "float32":
            return "only a GRU in float32"
        if config.num_layers > 1 or config.bidirectional or config.dropout:
            return "only one layer and one direction, without dropout"
        return None

    def layer(self, config: Any, parameters: Any) -> Layer:
        """A layer, where it is offered."""
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        config.parameter_shapes()
        return TinyLayer(config, parameters)
