"""flax.linen.RNN and Bidirectional over LSTMCell, GRUCell and SimpleCell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import flax
import flax.linen as nn
import jax.numpy as jnp

from rnn_conformance.backends.jax_stack import JaxBackend, Tree
from rnn_conformance.config import LayerConfig
from rnn_conformance.weights import CONVENTIONS, lay_out

OFFERED = {  # activations of each cell beside the usual ones; an LSTM's cell state has those of its candidate
    "lstm": ("hard_sigmoid hard_tanh hard_tanh", "tanh sigmoid sigmoid"),
    "gru": ("hard_sigmoid hard_tanh", "tanh sigmoid"),
    "rnn_tanh": ("hard_tanh", "sigmoid"),
    "rnn_relu": (),
}


class FlaxBackend(JaxBackend):
    """Flax's own RNN, which scans a cell over a sequence."""

    name = "flax"
    # flax.linen.RNN: "The output elements corresponding to padding elements are NOT zeroed out"
    policy = replace(JaxBackend.policy, lengths=True, padding="undefined")

    @property
    def version(self) -> str:
        """Flax's."""
        return str(flax.__version__)

    def supports(self, config: LayerConfig) -> str | None:
        """Cells with biases, without projections and dropout."""
        if not config.bias:
            return "flax.linen's cells have no option to leave out their biases"
        if config.proj_size:
            return "flax.linen.LSTMCell has no projection"
        if config.dropout:
            return "flax.linen.RNN has no dropout"
        return self.beyond(config)

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """One bias for both products, and in the GRU a second one for the candidate; other activations."""
        bias = CONVENTIONS["flax"][cell.partition("_")[0]].recurrent_bias
        return {"recurrent_bias": (bias,), "activations": ("", *OFFERED[cell])}

    def lane_parameters(self, config: LayerConfig, parameters: Mapping[str, Any], lane: str) -> Tree:
        """Kernels and biases by gate."""
        tree: dict[str, dict[str, Any]] = {}
        for name, array in lay_out(CONVENTIONS["flax"][config.kind], parameters, lane, jnp).items():
            dense, _, part = name.partition("/")
            tree.setdefault(dense, {})[part] = array
        return tree

    def run_layer(
        self, config: LayerConfig, trees: list[Tree], x: Any, states: list[tuple[Any, ...]] | None, lengths: Any
    ) -> tuple[Any, list[tuple[Any, ...]]]:
        """RNN, or Bidirectional over two."""
        carries = None if states is None else [tuple(reversed(s)) if len(s) == 2 else s[0] for s in states]
        sides = [nn.RNN(self.cell(config), reverse=False) for _ in trees]
        options = {"seq_lengths": lengths, "return_carry": True, "time_major": x.ndim == 2 or not config.batch_first}
        if len(sides) == 1:
            given = None if carries is None else carries[0]
            final, output = sides[0].apply({"params": {"cell": trees[0]}}, x, initial_carry=given, **options)
            finals = [final]
        else:
            both = nn.Bidirectional(*sides)
            tree = {"forward_rnn": {"cell": trees[0]}, "backward_rnn": {"cell": trees[1]}}
            given = None if carries is None else tuple(carries)
            finals, output = both.apply({"params": tree}, x, initial_carry=given, **options)
        return output, [tuple(reversed(final)) if isinstance(final, tuple) else (final,) for final in finals]

    def cell(self, config: LayerConfig) -> nn.RNNCellBase:
        """The cell of this kind; its carry is zero unless one is given."""
        dtype = jnp.dtype(config.dtype)
        if config.kind == "rnn":
            activation = getattr(nn, config.activations or config.nonlinearity)
            return nn.SimpleCell(config.hidden_size, activation_fn=activation, param_dtype=dtype)
        options: dict[str, Any] = {"param_dtype": dtype}
        if config.activations:
            gate, candidate, *_ = config.activations.split()
            options |= {"gate_fn": getattr(nn, gate), "activation_fn": getattr(nn, candidate)}
        kind = nn.LSTMCell if config.kind == "lstm" else nn.GRUCell
        return kind(config.hidden_size, **options)

    def expectations(self) -> Path | None:
        """What Flax is known to do otherwise."""
        return Path(__file__).with_name("flax.toml")

    def environment(self) -> dict[str, str]:
        """Flax and JAX."""
        return {"flax": self.version, **super().environment()}
