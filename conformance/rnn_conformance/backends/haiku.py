"""haiku.LSTM, GRU and VanillaRNN under haiku.dynamic_unroll and static_unroll."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import haiku
import jax
import jax.numpy as jnp

from rnn_conformance.backends.jax_stack import JaxBackend, Tree
from rnn_conformance.config import LayerConfig
from rnn_conformance.weights import CONVENTIONS, lay_out

CORES = {"lstm": haiku.LSTM, "gru": haiku.GRU, "rnn": haiku.VanillaRNN}
MODULES = {"lstm": "lstm/linear", "gru": "gru", "rnn": "vanilla_rnn"}


def unrolled(core: Any, x: Any, state: Any, lane: str, time_major: bool) -> Any:
    """The first layer step by step; the second by static_unroll forward, and backward two steps of the loop at once, as
    all layers above it. Lanes that `returns_all_states` names are asked for the states of all steps.
    """
    name, _, direction = lane.partition("_")
    if lane == "l1":
        return haiku.static_unroll(core, x, state, time_major=time_major)
    # of no steps there are no states; the final one, which the same function offers, is then the initial one
    several = returns_all_states(lane) and x.shape[0 if time_major else 1] > 0
    options = {"reverse": bool(direction), "unroll": 1 if name == "l0" else 2, "return_all_states": several}
    output, states = haiku.dynamic_unroll(core, x, state, time_major=time_major, **options)
    return output, last_state(states, bool(direction), time_major) if several else states


def returns_all_states(lane: str) -> bool:
    """Whether this lane is asked for all states: backward in the first layer, both ways in the third and above."""
    return lane == "l0_reverse" or lane.partition("_")[0] not in ("l0", "l1")


def last_state(states: Any, reverse: bool, time_major: bool) -> Any:
    """Of the states of all steps, in the order of the input, that of the step computed last."""
    step = 0 if reverse else -1
    return jax.tree.map(lambda part: part[step] if time_major else part[:, step], states)


class HaikuBackend(JaxBackend):
    """Haiku's cores, unrolled."""

    name = "haiku"

    @property
    def version(self) -> str:
        """Haiku's."""
        return str(haiku.__version__)

    def supports(self, config: LayerConfig) -> str | None:
        """Cores with biases, without projections and dropout; of the RNNs the one with ReLU."""
        if config.nonlinearity == "tanh":
            return "haiku.VanillaRNN computes ReLU(...) and nothing else"
        if not config.bias:
            return "haiku's cores have no option to leave out their biases"
        if config.proj_size:
            return "haiku.LSTM has no projection"
        return "haiku's cores have no dropout" if config.dropout else self.beyond(config)

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """The LSTM adds 1 to what enters its forget gate; the GRU resets before the product; both have one bias, and an
        RNN two, or one without double_bias.
        """
        return {
            "lstm": {"recurrent_bias": ("none",), "forget_bias": (1.0,)},
            "gru": {"recurrent_bias": ("none",), "reset_after": (False,)},
        }.get(cell, {"recurrent_bias": ("all", "none")})

    def lane_parameters(self, config: LayerConfig, parameters: Mapping[str, Any], lane: str) -> Tree:
        """The lane, and its parameters by module and name."""
        tree: dict[str, dict[str, Any]] = {}
        single = config.kind == "rnn" and config.recurrent_bias == "none"
        convention = CONVENTIONS["haiku"]["rnn_single_bias" if single else config.kind]
        for name, array in lay_out(convention, parameters, lane, jnp).items():
            module, _, part = f"{MODULES[config.kind]}/{name}".rpartition("/")
            tree.setdefault(module, {})[part] = array
        return lane, tree

    def run_layer(
        self, config: LayerConfig, trees: list[Tree], x: Any, states: list[tuple[Any, ...]] | None, lengths: Any
    ) -> tuple[Any, list[tuple[Any, ...]]]:
        """Each direction unrolled."""
        time_major = x.ndim == 2 or not config.batch_first
        batch = x.shape[:-1][1 if time_major else 0] if x.ndim == 3 else None
        outputs, finals = [], []
        options = {"double_bias": config.recurrent_bias == "all"} if config.kind == "rnn" else {}
        for direction, (lane, tree) in enumerate(trees):

            def unroll(x: Any, state: Any, lane: str = lane) -> Any:
                core = CORES[config.kind](config.hidden_size, **options)
                if state is None:  # Haiku makes it in JAX's default dtype, whatever the input's is
                    state = jax.tree.map(lambda part: part.astype(x.dtype), core.initial_state(batch))
                return unrolled(core, x, state, lane, time_major)

            state: Any = None
            if states is not None:
                state = haiku.LSTMState(*states[direction]) if config.kind == "lstm" else states[direction][0]
            output, final = haiku.without_apply_rng(haiku.transform(unroll)).apply(tree, x, state)
            outputs.append(output)
            finals.append(tuple(final) if config.kind == "lstm" else (final,))
        return jnp.concatenate(outputs, axis=-1), finals

    def expectations(self) -> Path | None:
        """What Haiku and JAX are known to do otherwise."""
        return Path(__file__).with_name("haiku.toml")

    def environment(self) -> dict[str, str]:
        """Haiku and JAX."""
        return {"haiku": self.version, **super().environment()}
