"""flax.linen.RNN, backwards too, and Bidirectional over LSTMCell, OptimizedLSTMCell, GRUCell and SimpleCell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from rnn_reference.directions import MERGE_MODES

from rnn_conformance.backend import Array, Layer
from rnn_conformance.backends.jax_stack import KEPT, JaxBackend, JaxLayer, Tree, array_of
from rnn_conformance.config import LayerConfig
from rnn_conformance.weights import CONVENTIONS, Convention, lay_out

CELLS = {"lstm": "LSTMCell", "gru": "GRUCell", "rnn": "SimpleCell"}
MERGING = {"sum": jnp.add, "mul": jnp.multiply, "ave": lambda forward, backward: (forward + backward) / 2}
FIRST = "l0"  # the lane that every stack has

OFFERED = {  # activations of each cell beside the usual ones; an LSTM's cell state has those of its candidate
    "lstm": ("hard_sigmoid hard_tanh hard_tanh", "tanh sigmoid sigmoid", "sigmoid relu relu"),
    "gru": ("hard_sigmoid hard_tanh", "tanh sigmoid", "sigmoid relu"),
    "rnn_tanh": ("hard_tanh", "sigmoid"),
    "rnn_relu": (),
}


class FlaxLayer(JaxLayer):
    """Parameters by lane, and the functions that their config was compiled to."""

    backend: FlaxBackend

    def alone(self, name: str, input: Any, hx: Any = None, lengths: Sequence[int] | None = None) -> Any:
        """The output of a stack whose layers do not return their carry.

        Raises:
            NotImplementedError: for another result, which Flax gives beside the output alone.
        """
        if name != "output":
            raise NotImplementedError("Flax gives a carry beside the output alone")
        return self.backend.compiled_alone(self.config)(self.held, input, hx, array_of(lengths))


class FlaxBackend(JaxBackend):
    """Flax's own RNN, which scans a cell over a sequence.

    Every lane but the first is unrolled, two steps at a time, and an LSTM there is an OptimizedLSTMCell. Above the
    first layer, the two directions are two RNNs where their outputs are concatenated, and Bidirectional otherwise.
    """

    name = "flax"
    library: Any = nn
    conventions: ClassVar[Mapping[str, Convention]] = CONVENTIONS["flax"]
    # flax.linen.RNN: "The output elements corresponding to padding elements are NOT zeroed out"
    policy = replace(JaxBackend.policy, lengths=True, padding="undefined")

    def __init__(self) -> None:
        super().__init__()
        self.compiled_alone = lru_cache(KEPT)(self._compiled_alone)

    @property
    def version(self) -> str:
        """Flax's."""
        return str(flax.__version__)

    def supports(self, config: LayerConfig) -> str | None:
        """Cells with biases, without projections and dropout."""
        module = self.library.__name__
        if not config.bias:
            return f"{module}'s cells have no option to leave out their biases"
        if config.proj_size:
            return f"{module}.LSTMCell has no projection"
        if config.dropout:
            return f"{module}.RNN has no dropout"
        return self.beyond(config)

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """One bias for both products, and in linen's GRU a second one for the candidate; activations; merge_fn; of
        SimpleCell residual.
        """
        kind = cell.partition("_")[0]
        bias = self.conventions[kind].recurrent_bias
        found = {"recurrent_bias": (bias,), "activations": ("", *OFFERED[cell]), "merge_mode": MERGE_MODES}
        return found | ({"residual": (False, True)} if kind == "rnn" else {})

    def lane_parameters(self, config: LayerConfig, parameters: Mapping[str, Any], lane: str) -> Tree:
        """The RNN of this lane, and its cell's kernels and biases by gate."""
        tree = nested(lay_out(self.conventions[config.kind], parameters, lane, jnp))
        return nn.RNN(self.cell(config, lane, config.hidden_size), **rnn_options(config, lane)), {"cell": tree}

    def run_layer(
        self, config: LayerConfig, trees: list[Tree], x: Any, states: list[tuple[Any, ...]] | None, lengths: Any
    ) -> tuple[Any, list[tuple[Any, ...]]]:
        """One RNN or two, or Bidirectional over two."""
        carry, output = self.called(config, trees, x, states, lengths, return_carry=True)
        carries = [carry] if len(trees) == 1 else carry
        return output, [tuple(reversed(part)) if isinstance(part, tuple) else (part,) for part in carries]

    def called(
        self,
        config: LayerConfig,
        trees: list[Tree],
        x: Any,
        states: list[tuple[Any, ...]] | None,
        lengths: Any,
        return_carry: bool,
    ) -> Any:
        """What a layer returns. The carry is zero unless one is given, and holds c before h."""
        given: Any = None if states is None else tuple(tuple(reversed(s)) if len(s) == 2 else s[0] for s in states)
        time_major = x.ndim == 2 or not config.batch_first
        options = {"seq_lengths": lengths, "return_carry": return_carry, "time_major": time_major}
        if len(trees) == 1:
            return self.one(*trees)(x, initial_carry=None if given is None else given[0], **options)
        if self.rnn(trees[1]).reverse:
            return self.apart(trees, x, (None, None) if given is None else given, **options)
        merging = {"merge_fn": MERGING[config.merge_mode]} if config.merge_mode != "concat" else {}
        return self.both(*trees, **merging)(x, initial_carry=given, **options)

    def apart(self, trees: list[Tree], x: Any, given: tuple[Any, Any], **options: Any) -> Any:
        """What two RNNs return, of which the second goes backwards. It is made to keep the order of its input; without
        lengths it is told not to, and its steps are put in order here.
        """
        forward, backward = (partial(self.one(tree), initial_carry=g) for tree, g in zip(trees, given, strict=True))
        results = [forward(x, **options)]
        if options["seq_lengths"] is None:
            results.append(in_order(backward(x, keep_order=False, **options), **options))
        else:
            results.append(backward(x, **options))
        if not options["return_carry"]:
            return jnp.concatenate(results, axis=-1)
        carries, outputs = zip(*results, strict=True)
        return carries, jnp.concatenate(outputs, axis=-1)

    def run_alone(self, config: LayerConfig, parameters: Mapping[str, Any], input: Any, hx: Any, lengths: Any) -> Any:
        """The output of the whole stack, whose layers do not return their carry."""
        x = input
        for single, trees, states in self.layers(config, parameters, hx):
            x = self.called(single, trees, x, states, lengths, return_carry=False)
        return x

    def _compiled_alone(self, config: LayerConfig) -> Callable[..., Any]:
        compiled: Callable[..., Any] = jax.jit(partial(self.run_alone, config))
        return compiled

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A stack with copies of these parameters."""
        self.offered(config)
        return FlaxLayer(self, config, parameters)

    def rnn(self, tree: Tree) -> Any:
        """The RNN of one direction."""
        return tree[0]

    def one(self, tree: Tree) -> Callable[..., Any]:
        """The RNN of one direction, with its parameters."""
        rnn, parameters = tree
        applied: Callable[..., Any] = partial(rnn.apply, {"params": parameters})
        return applied

    def both(self, forward: Tree, backward: Tree, **merging: Any) -> Callable[..., Any]:
        """Bidirectional over the RNNs of two directions; its merge_fn is given where it is not the usual one."""
        parameters = {"forward_rnn": forward[1], "backward_rnn": backward[1]}
        layer = nn.Bidirectional(forward[0], backward[0], **merging)
        applied: Callable[..., Any] = partial(layer.apply, {"params": parameters})
        return applied

    def cell(self, config: LayerConfig, lane: str, *sizes: int, **options: Any) -> Any:
        """The cell of this lane, by the library's names."""
        options["param_dtype"] = jnp.dtype(config.dtype)
        if config.kind == "rnn":
            options["activation_fn"] = getattr(self.library, config.activations or config.nonlinearity)
            options["residual"] = config.residual
        elif config.activations:
            gate, candidate, *_ = config.activations.split()
            options |= {"gate_fn": getattr(self.library, gate), "activation_fn": getattr(self.library, candidate)}
        name = "OptimizedLSTMCell" if is_optimized(config, lane) else CELLS[config.kind]
        return getattr(self.library, name)(*sizes, **options)

    def expectations(self) -> Path | None:
        """What Flax is known to do otherwise, in both of its interfaces."""
        return Path(__file__).with_name("flax.toml")

    def environment(self) -> dict[str, str]:
        """Flax and JAX."""
        return {"flax": self.version, **super().environment()}


def is_optimized(config: LayerConfig, lane: str) -> bool:
    """Whether this lane has the OptimizedLSTMCell."""
    return config.kind == "lstm" and lane != FIRST


def rnn_options(config: LayerConfig, lane: str) -> dict[str, Any]:
    """Of every lane but the first two steps are unrolled, so that one is left over where their number is odd; backward
    lanes that no Bidirectional tells so go backwards by themselves.
    """
    options: dict[str, Any] = {} if lane == FIRST else {"unroll": 2}
    if lane.endswith("_reverse") and not lane.startswith(FIRST) and config.merge_mode == "concat":
        options |= {"reverse": True, "keep_order": True}
    return options


def in_order(result: Any, return_carry: bool, time_major: bool, **_: Any) -> Any:
    """What an RNN that goes backwards returned in the order of its steps, in the order of its input."""
    carry, output = result if return_carry else (None, result)
    output = jnp.flip(output, axis=0 if time_major else 1)
    return (carry, output) if return_carry else output


def nested(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Arrays by the name of their dense layer, then by their own: {"hn": {"bias": ...}} of "hn/bias"."""
    tree: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        dense, _, part = name.partition("/")
        tree.setdefault(dense, {})[part] = array
    return tree
