"""equinox.nn.LSTMCell and GRUCell under jax.lax.scan, as their pages show it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox
import jax
import jax.numpy as jnp

from rnn_conformance.backends.jax_stack import JaxBackend, Tree
from rnn_conformance.config import LayerConfig
from rnn_conformance.weights import CONVENTIONS, lay_out

CELLS = {"lstm": equinox.nn.LSTMCell, "gru": equinox.nn.GRUCell}


class EquinoxBackend(JaxBackend):
    """Equinox's cells: of one sequence, under jax.vmap for a batch."""

    name = "equinox"

    @property
    def version(self) -> str:
        """Equinox's."""
        return str(equinox.__version__)

    def supports(self, config: LayerConfig) -> str | None:
        """LSTMs and GRUs without projections and dropout."""
        if config.kind == "rnn":
            return "equinox.nn has no RNN cell"
        if config.proj_size:
            return "equinox.nn.LSTMCell has no projection"
        return "equinox's cells have no dropout" if config.dropout else self.beyond(config)

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """One bias for both products, and in the GRU a second one for the candidate."""
        kind = cell.partition("_")[0]
        return {"recurrent_bias": (CONVENTIONS["equinox"][kind].recurrent_bias,)} if kind in CELLS else {}

    def lane_parameters(self, config: LayerConfig, parameters: Mapping[str, Any], lane: str) -> Tree:
        """A cell whose leaves are these arrays."""
        laid = lay_out(CONVENTIONS["equinox"][config.kind], parameters, lane, jnp)
        names = sorted(laid)
        cell = equinox.filter_eval_shape(
            CELLS[config.kind],
            config.input_size,
            config.hidden_size,
            config.bias,
            jnp.dtype(config.dtype),
            key=jax.random.key(0),
        )
        return equinox.tree_at(lambda c: [getattr(c, name) for name in names], cell, [laid[name] for name in names])

    def run_layer(
        self, config: LayerConfig, trees: list[Tree], x: Any, states: list[tuple[Any, ...]] | None, lengths: Any
    ) -> tuple[Any, list[tuple[Any, ...]]]:
        """jax.lax.scan over each direction."""
        swap = config.batch_first and x.ndim == 3
        x = x.swapaxes(0, 1) if swap else x
        outputs, finals = [], []
        for direction, cell in enumerate(trees):
            step = cell if x.ndim == 2 else jax.vmap(cell)
            zeros = tuple(jnp.zeros((*x.shape[1:-1], size), x.dtype) for size in config.state_sizes)
            state = zeros if states is None else states[direction]

            def body(state: Any, input: Any, step: Any = step) -> tuple[Any, Any]:
                new = step(input, state if len(state) == 2 else state[0])
                new = new if isinstance(new, tuple) else (new,)
                return new, new[0]

            final, output = jax.lax.scan(body, tuple(state), x, reverse=bool(direction))
            outputs.append(output)
            finals.append(final)
        output = jnp.concatenate(outputs, axis=-1)
        return output.swapaxes(0, 1) if swap else output, finals

    def expectations(self) -> Path | None:
        """What Equinox and JAX are known to do otherwise."""
        return Path(__file__).with_name("equinox.toml")

    def environment(self) -> dict[str, str]:
        """Equinox and JAX."""
        return {"equinox": self.version, **super().environment()}
