"""flax.nnx.RNN, backwards too, and Bidirectional over LSTMCell, OptimizedLSTMCell, GRUCell and SimpleCell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx

from rnn_conformance.backends.flax import FlaxBackend, is_optimized, nested, rnn_options
from rnn_conformance.backends.jax_stack import Tree
from rnn_conformance.config import LayerConfig
from rnn_conformance.weights import CONVENTIONS, Convention, lay_out


class FlaxNnxBackend(FlaxBackend):
    """The same of Flax's current interface, whose modules hold their parameters.

    Its pages say nothing of padding; it is left as undefined as flax.linen's.
    """

    name = "flax-nnx"
    library: Any = nnx
    conventions: ClassVar[Mapping[str, Convention]] = CONVENTIONS["flax-nnx"]

    def lane_parameters(self, config: LayerConfig, parameters: Mapping[str, Any], lane: str) -> Tree:
        """The RNN of this lane, over a cell that holds these arrays."""
        name = "lstm_optimized" if is_optimized(config, lane) else config.kind
        # shapes alone: the default initializers know neither bfloat16 nor float16
        cell = nnx.eval_shape(lambda: self.initialized(config, lane))
        nnx.update(cell, nested(lay_out(self.conventions[name], parameters, lane, jnp)))
        return nnx.RNN(cell, **rnn_options(config, lane))

    def initialized(self, config: LayerConfig, lane: str) -> Any:
        """The cell of this lane, with parameters drawn by the library."""
        # SimpleCell alone computes in float32 unless it is told otherwise
        options = {"dtype": jnp.dtype(config.dtype)} if config.kind == "rnn" else {}
        return self.cell(config, lane, config.input_size, config.hidden_size, rngs=nnx.Rngs(0), **options)

    def rnn(self, tree: Tree) -> Any:
        """The RNN of one direction."""
        return tree

    def one(self, tree: Tree) -> Callable[..., Any]:
        """The RNN of one direction, which holds its parameters."""
        rnn: Callable[..., Any] = tree
        return rnn

    def both(self, forward: Tree, backward: Tree, **merging: Any) -> Callable[..., Any]:
        """Bidirectional over the RNNs of two directions."""
        layer: Callable[..., Any] = nnx.Bidirectional(forward, backward, **merging)
        return layer
