"""keras.layers.LSTM, GRU, SimpleRNN and Bidirectional, on each of Keras's own backends."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy, deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rnn_reference.directions import MERGE_MODES
from rnn_reference.parameters import lanes

from rnn_conformance.arithmetic import Arithmetic, arithmetic_of
from rnn_conformance.backend import Array, Backend, Layer, Policy, WrongUse
from rnn_conformance.config import DROPOUTS, LayerConfig
from rnn_conformance.weights import CONVENTIONS, Convention, lay_out, take_back


def convention_of(config: LayerConfig) -> Convention:
    """How Keras lays out one lane of this config."""
    after = config.kind == "gru" and config.reset_after
    return CONVENTIONS["keras"]["gru_reset_after" if after else config.kind]


WAYS: tuple[dict[str, bool], ...] = ({}, {"unroll": True}, {"stateful": True})  # of the first layer, the second, ...
WAYS_OF_BIDIRECTIONAL: tuple[dict[str, bool], ...] = ({}, {"unroll": True, "unmerged": True}, {"apart": True})
ALONE = {  # of the last layer, where one result alone is asked for
    "output": {"return_state": False},
    "last": {"return_state": False, "return_sequences": False, "zero_output_for_mask": False},
}


OFFERED = {  # activations of each cell beside the usual ones; an LSTM's cell state has those of its candidate
    "lstm": ("hard_sigmoid hard_tanh hard_tanh", "tanh sigmoid sigmoid", "sigmoid relu relu"),
    "gru": ("hard_sigmoid hard_tanh", "tanh sigmoid", "sigmoid relu"),
    "rnn_tanh": ("hard_tanh", "sigmoid"),
    "rnn_relu": (),
}

MOST_MAPPINGS = 30_000  # of the 65,530 that Linux gives to a process: JAX keeps some for each call outside jax.jit


class Unmerged:
    """Bidirectional with merge_mode=None, which gives the outputs of both directions; here they stand side by side."""

    stateful = False

    def __init__(self, both: Any, ops: Any) -> None:
        self.both = both
        self.concatenate = ops.concatenate  # a module could not be copied

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the weights of both."""
        self.both.build(shape)

    def __call__(self, x: Any, mask: Any, initial_state: Any, training: bool) -> list[Any]:
        """Outputs side by side, and the states where they are returned."""
        forward, backward, *finals = self.both(x, mask=mask, initial_state=initial_state, training=training)
        return [self.concatenate([forward, backward], axis=-1), *finals]


class Apart:
    """A forward layer and one that goes backwards without Bidirectional; its output comes in the reversed order."""

    stateful = False

    def __init__(self, sides: list[Any], ops: Any) -> None:
        self.forward_layer, self.backward_layer = self.sides = sides
        self.concatenate, self.flip = ops.concatenate, ops.flip  # a module could not be copied

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the weights of both."""
        for side in self.sides:
            side.build(shape)

    def __call__(self, x: Any, mask: Any, initial_state: Any, training: bool) -> list[Any]:
        """Outputs side by side, and the states of the one and the other where they are returned."""
        given = initial_state or []
        parts = [given[: len(given) // 2] or None, given[len(given) // 2 :] or None]
        (y, *final), (y_reverse, *final_reverse) = (
            results_of(side(x, mask=mask, initial_state=part, training=training))
            for side, part in zip(self.sides, parts, strict=True)
        )
        if self.backward_layer.return_sequences:
            y_reverse = self.flip(y_reverse, 1)
        return [self.concatenate([y, y_reverse], axis=-1), *final, *final_reverse]


def results_of(given: Any) -> Sequence[Any]:
    """What a layer gave: its output, which may come alone, and its states."""
    return given if isinstance(given, list | tuple) else (given,)


class KerasLayer(Layer):
    """Keras layers, one on the other. Keras takes (batch, steps, features) and no other order.

    The second layer is unrolled. The third one is stateful, but in Bidirectional, which cannot be called then: its
    state is reset before each call, calls wait for one another, and for a batch of another size it is built anew, for
    "the batch size must be static". Instead a third layer of two directions is two layers, where merge_mode is concat;
    and there a second one leaves it to the adapter to put its directions side by side.

    A layer that returns one result alone takes the place of the last one, with weights of its own that are equal. In
    stacks of three layers or more it has zero_output_for_mask even where it returns its last output alone, for "this
    field is only used when `return_sequences` is `True`" (reports/README.md).
    """

    def __init__(self, backend: KerasBackend, config: LayerConfig, parameters: Mapping[str, Array]) -> None:
        self.backend = backend
        self.config = config
        self.held = {name: array.copy() for name, array in parameters.items()}
        self.ways = WAYS_OF_BIDIRECTIONAL if config.bidirectional else WAYS[: backend.ways]
        self.stateful = any("stateful" in way for way in self.ways[: config.num_layers])
        self.turn: AbstractContextManager[Any] = threading.RLock() if self.stateful else nullcontext()
        self.build(1)

    def __deepcopy__(self, memo: dict[int, Any]) -> KerasLayer:
        made = copy(self)
        made.layers, made.sides, made.last = deepcopy((self.layers, self.sides, self.last), memo)
        return made

    def build(self, rows: int) -> None:
        """Make the layers, for batches of this size where that matters."""
        self.rows = rows
        self.last: dict[str, Any] = {}  # the last layer where one result alone is asked for, by its name
        made = [self._layer(k) for k in range(self.config.num_layers)]
        self.layers = [whole for whole, _ in made]
        self.sides = [side for _, sides in made for side in sides]  # the layer of each lane

    def reset(self, input: Any) -> None:
        """Forget the states of stateful layers, and fit them to this batch."""
        if not self.stateful:
            return
        rows = input.shape[0 if self.config.batch_first else 1]
        if rows != self.rows:
            self.build(rows)
        for layer in (*self.layers, *self.last.values()):
            if layer.stateful:
                layer.reset_state()

    def _layer(self, layer: int, **returned: bool) -> tuple[Any, list[Any]]:
        """A layer with its weights, and the layer of each of its lanes."""
        config, keras = self.config, self.backend.keras
        own = lanes(config.num_layers, config.bidirectional)[
            layer * config.num_directions : (layer + 1) * config.num_directions
        ]
        features = config.input_size if layer == 0 else config.output_size
        way: dict[str, Any] = dict(self.ways[layer % len(self.ways)])
        # of its input: torch.nn's are the upper ones
        way["dropout"] = config.dropout if layer else config.input_dropout
        way["recurrent_dropout"] = config.recurrent_dropout
        apart, unmerged = (way.pop(name, False) and config.side_by_side for name in ("apart", "unmerged"))
        way |= returned
        sides = [
            self.backend.new(config, seed=layer * len(own) + k, go_backwards=lane.endswith("_reverse"), **way)
            for k, lane in enumerate(own)
        ]
        whole = sides[0]
        if apart:
            whole = Apart(sides, keras.ops)
        elif config.bidirectional:
            mode = None if unmerged else config.merge_mode
            whole = keras.layers.Bidirectional(sides[0], mode, backward_layer=sides[1], dtype=config.dtype)
            sides = [whole.forward_layer, whole.backward_layer]  # copies of those that were given
            whole = Unmerged(whole, keras.ops) if unmerged else whole
        whole.build((self.rows if whole.stateful else None, None, features))
        for side, lane in zip(sides, own, strict=True):
            laid = lay_out(convention_of(config), self.held, lane)
            for name, variable in weights_of(side).items():
                variable.assign(self.backend.from_numpy(np.ascontiguousarray(laid[name]), config.device))
        return whole, sides

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """Call the layers; lengths become a mask."""
        with self.turn:
            self.reset(input)
            return self.run(input, hx, lengths, training)

    def alone(self, name: str, input: Any, hx: Any = None, lengths: Sequence[int] | None = None) -> Any:
        """Call the layers, of which the last one returns this result alone.

        Raises:
            NotImplementedError: for a state, which Keras gives beside an output alone.
        """
        with self.turn:
            self.reset(input)
            return self.run_alone(name, input, hx, lengths)

    def run_alone(self, name: str, input: Any, hx: Any, lengths: Sequence[int] | None) -> Any:
        """The layers in turn, and as the last one that which returns this result alone."""
        if name not in ALONE:
            raise NotImplementedError("Keras gives states beside an output alone")
        if name not in self.last:
            returned = ALONE[name] | ({"zero_output_for_mask": True} if self.config.num_layers > 2 else {})
            self.last[name], _ = self._layer(self.config.num_layers - 1, **returned)
        x, _ = self._through([*self.layers[:-1], self.last[name]], input, hx, lengths, training=False)
        return x if name == "last" else self._own_form(x)

    def run(self, input: Any, hx: Any, lengths: Sequence[int] | None, training: bool) -> Any:
        """The layers in turn."""
        x, finals = self._through(self.layers, input, hx, lengths, training)
        each = len(self.config.state_sizes)
        state = tuple(self.backend.keras.ops.stack(finals[k::each]) for k in range(each))
        return self._own_form(x), state if self.config.kind == "lstm" else state[0]

    def _own_form(self, output: Any) -> Any:
        """The output in the config's own layout."""
        return output if self.config.batch_first else self.backend.keras.ops.transpose(output, (1, 0, 2))

    def _through(
        self, layers: Sequence[Any], input: Any, hx: Any, lengths: Sequence[int] | None, training: bool
    ) -> tuple[Any, list[Any]]:
        """What the last of these layers gives, and the final states that are returned."""
        config, ops = self.config, self.backend.keras.ops
        x = input if config.batch_first else ops.transpose(input, (1, 0, *range(2, input.ndim)))
        mask = None if lengths is None else self._mask(x, lengths)
        parts = None if hx is None else self._parts(hx)
        finals: list[Any] = []
        for k, layer in enumerate(layers):
            at = range(k * config.num_directions, (k + 1) * config.num_directions)
            given = None if parts is None else [part[lane] for lane in at for part in parts]
            x, *final = results_of(layer(x, mask=mask, initial_state=given, training=training))
            finals += final
        return x, finals

    def _mask(self, x: Any, lengths: Sequence[int]) -> Any:
        rows, steps = x.shape[:2]
        if len(lengths) != rows or not all(0 <= n <= steps for n in lengths):
            raise ValueError(f"no mask has the lengths {list(lengths)} in {rows} rows of {steps} steps")
        return self.backend.keras.ops.convert_to_tensor(np.arange(steps) < np.array(lengths)[:, None])

    def _parts(self, hx: Any) -> tuple[Any, ...]:
        parts = hx if isinstance(hx, tuple) else (hx,)
        if [len(part) for part in parts] != [self.config.lanes] * len(self.config.state_sizes):
            raise ValueError(f"the state must be {len(self.config.state_sizes)} of {self.config.lanes} lanes")
        return parts

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
        """By the automatic differentiation of Keras's backend; one of several biases cannot be frozen alone."""
        if accumulate or frozen:
            raise NotImplementedError("keras gives the gradients that are asked for, of whole variables")
        upstream = (output_gradient, state_gradient)
        with self.turn:
            self.reset(input)
            output, state, found, by_variable = self.backend.differentiate(self, input, hx, lengths, upstream)
        names = lanes(self.config.num_layers, self.config.bidirectional)
        numpy = self.backend.to_numpy
        for lane, side, gradients in zip(names, self.sides, by_variable, strict=True):
            arrays = dict(zip(weights_of(side), map(numpy, gradients), strict=True))
            found |= take_back(convention_of(self.config), arrays, self.config.parameter_shapes(), lane)
        return output, state, found


def weights_of(side: Any) -> dict[str, Any]:
    """The variables of one direction by Keras's names."""
    names = ("kernel", "recurrent_kernel", "bias")
    return {name: found for name in names if (found := getattr(side.cell, name, None)) is not None}


class KerasBackend(Backend):
    """Keras on one of its backends, which is fixed when it is imported."""

    # keras.layers.LSTM, Call arguments: "inputs: A 3D tensor, with shape (batch, timesteps, feature)"
    policy = replace(Policy(), unbatched=False, zero_length="state")
    drops: tuple[str, ...] = DROPOUTS
    keras_backend = ""
    ways = 3  # so many of WAYS it can be called with

    def __init__(self) -> None:
        imported = sys.modules.get("keras")
        if imported is not None and imported.backend.backend() != self.keras_backend:
            raise WrongUse("one process runs one of Keras's backends: it was imported with another")
        self.name = f"keras-{self.keras_backend}"
        self.library = self._imported(self.keras_backend)  # or Keras would be held to a backend that is not here
        os.environ["KERAS_BACKEND"] = self.keras_backend
        self.keras = self._imported("keras")

    def _imported(self, name: str) -> Any:
        """A module that the extra of this backend installs."""
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise WrongUse(f"there is no module {error.name!r} (install rnn-conformance[{self.name}])") from error

    @property
    def version(self) -> str:
        """Keras's."""
        return str(self.keras.__version__)

    def arithmetic(self, dtype: str) -> Arithmetic:
        """In float64, but for TensorFlow, that of float32: keras.ops.matmul casts what it multiplies to
        keras.backend.result_type, which "attempts to match the result of jnp.result_type" and says float32 for float64.
        """
        wide = dtype == "float64" and self.keras.backend.result_type("float64", "float64") == "float32"
        return arithmetic_of("float32" if wide else dtype, self.policy.flush_subnormals)

    def supports(self, config: LayerConfig) -> str | None:
        """No projection; dropout acts on a layer's own input, once for all steps, and not between layers."""
        if config.proj_size:
            return "keras.layers.LSTM has no projection"
        due = "all" if config.kind == "gru" and config.reset_after else "none"
        if config.recurrent_bias != due:
            return f"there is {'a' if due == 'all' else 'no'} recurrent bias"
        lacking = [name for name in config.beyond_torch() if name not in self.extras(config.cell)]
        return f"there is no {', '.join(lacking)}" if lacking else None

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """Both kinds of GRU, with a recurrent bias in one of them alone; the activations that this release has; how
        Bidirectional joins its directions.
        """
        known = [names for names in OFFERED[cell] if all(hasattr(self.keras.activations, n) for n in names.split())]
        found = {"activations": ("", *known), "merge_mode": MERGE_MODES}
        if cell == "gru":
            return {"reset_after": (True, False), "recurrent_bias": ("all", "none"), **found}
        return {"recurrent_bias": ("none",), **found}

    def new(self, config: LayerConfig, **way: Any) -> Any:
        """A layer of the config's kind; `way` holds seed, go_backwards, unroll, stateful, returns and rates."""
        layers = self.keras.layers
        options: dict[str, Any] = {
            "use_bias": config.bias,
            "return_sequences": True,
            "return_state": True,
            "zero_output_for_mask": True,
            **way,
            "kernel_initializer": "zeros",  # those that are random draw a seed from Python's generator
            "recurrent_initializer": "zeros",  # the default one, orthogonal, fails in bfloat16 (reports/README.md)
            "dtype": config.dtype,
        }
        if config.kind == "rnn":
            return layers.SimpleRNN(config.hidden_size, activation=config.activations or config.nonlinearity, **options)
        if config.activations:
            gate, candidate, *_ = config.activations.split()
            options |= {"recurrent_activation": gate, "activation": candidate}
        if config.kind == "lstm":
            return layers.LSTM(config.hidden_size, **options)
        return layers.GRU(config.hidden_size, reset_after=config.reset_after, **options)

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """Keras layers with copies of these parameters.

        Raises:
            NotImplementedError: for a config that `supports` refuses.
            ValueError: for one that cannot exist.
        """
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        config.parameter_shapes()
        return KerasLayer(self, config, parameters)

    def differentiate(
        self, layer: KerasLayer, input: Any, hx: Any, lengths: Any, upstream: tuple[Any, Any]
    ) -> tuple[Any, Any, dict[str, Any], list[list[Any]]]:
        """Output, state, the gradients by input and states, and those by the variables of each lane."""
        raise NotImplementedError

    def from_numpy(self, array: Array, device: str) -> Any:
        """A tensor of Keras's backend."""
        return self.keras.ops.convert_to_tensor(np.ascontiguousarray(array))

    def to_numpy(self, array: Any) -> Array:
        """Its values."""
        return np.asarray(self.keras.ops.convert_to_numpy(array))

    def expectations(self) -> Path | None:
        """What Keras is known to do otherwise."""
        return Path(__file__).with_name(f"keras_{self.keras_backend}.toml")

    def environment(self) -> dict[str, str]:
        """Keras and what it runs on."""
        return {"keras": self.version, self.keras_backend: str(self.library.__version__)}

    def __deepcopy__(self, memo: dict[int, Any]) -> KerasBackend:
        return self


class KerasTorchBackend(KerasBackend):
    """Keras on PyTorch."""

    keras_backend = "torch"

    def __init__(self) -> None:
        super().__init__()
        from rnn_conformance.backends.torch import TorchBackend

        self.arrays = TorchBackend()

    def from_numpy(self, array: Array, device: str) -> Any:
        """A tensor over the same memory."""
        return self.arrays.from_numpy(array, device)

    def to_numpy(self, array: Any) -> Array:
        """Its values."""
        return array if isinstance(array, np.ndarray) else self.arrays.to_numpy(array)

    def assign(self, array: Any, values: Array) -> None:
        """Copy values into the tensor."""
        self.arrays.assign(array, values)

    def settings(self) -> dict[str, Any]:
        """Torch's."""
        return self.arrays.settings()

    def restore(self, settings: Mapping[str, Any]) -> None:
        """Set torch's settings again."""
        self.arrays.restore(settings)

    def differentiate(
        self, layer: KerasLayer, input: Any, hx: Any, lengths: Any, upstream: tuple[Any, Any]
    ) -> tuple[Any, Any, dict[str, Any], list[list[Any]]]:
        """By torch.autograd."""
        from rnn_conformance.backends.drop_in import taped

        own = {
            f"{k} {name}": variable.value
            for k, side in enumerate(layer.sides)
            for name, variable in weights_of(side).items()
        }
        output, state, differentiate = taped(partial(layer.run, training=True), own, input, hx, lengths)
        found = differentiate(*upstream)
        by_variable = [[found[f"{k} {name}"] for name in weights_of(side)] for k, side in enumerate(layer.sides)]
        return output, state, {n: g for n, g in found.items() if n not in own}, by_variable


class KerasJaxBackend(KerasBackend):
    """Keras on JAX."""

    keras_backend = "jax"
    policy = replace(KerasBackend.policy, flush_subnormals=True)  # as JAX does on the CPU
    max_examples = 1

    def __init__(self) -> None:
        super().__init__()
        self.library.config.update("jax_enable_x64", True)

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A stack; before it, JAX lets go of what it keeps of calls, where that is so much that the process may end."""
        if mappings() > MOST_MAPPINGS:
            self.library.clear_caches()
        return super().layer(config, parameters)

    def from_numpy(self, array: Array, device: str) -> Any:
        """NumPy arrays go in as they are."""
        return array

    def differentiate(
        self, layer: KerasLayer, input: Any, hx: Any, lengths: Any, upstream: tuple[Any, Any]
    ) -> tuple[Any, Any, dict[str, Any], list[list[Any]]]:
        """By jax.vjp over keras.StatelessScope, which gives variables their values."""
        variables = [list(weights_of(side).values()) for side in layer.sides]

        def call(own: Any, leaf: Any, parts: Any) -> Any:
            values = [pair for lane in zip(variables, own, strict=True) for pair in zip(*lane, strict=True)]
            with self.keras.StatelessScope(state_mapping=values):
                return layer.run(leaf, parts or None, lengths, training=True)

        tensors = partial(self.library.tree.map, self.keras.ops.convert_to_tensor)
        parts = () if hx is None else tensors(hx if isinstance(hx, tuple) else (hx,))
        own = [[v.value for v in lane] for lane in variables]
        (output, state), pull = self.library.vjp(call, own, tensors(input), parts)
        by_variable, by_input, by_parts = pull(tensors(upstream))
        return output, state, {"input": by_input, **dict(zip(("h_0", "c_0"), by_parts, strict=False))}, by_variable


def mappings() -> int:
    """The memory mappings of this process; 0 where the system does not tell."""
    file = Path("/proc/self/maps")
    return file.read_bytes().count(b"\n") if file.exists() else 0


class KerasTensorFlowBackend(KerasBackend):
    """Keras on TensorFlow."""

    keras_backend = "tensorflow"
    policy = replace(KerasBackend.policy, flush_subnormals=True)

    def __init__(self) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        super().__init__()

    def from_numpy(self, array: Array, device: str) -> Any:
        """NumPy arrays go in as they are."""
        return array

    def differentiate(
        self, layer: KerasLayer, input: Any, hx: Any, lengths: Any, upstream: tuple[Any, Any]
    ) -> tuple[Any, Any, dict[str, Any], list[list[Any]]]:
        """By tensorflow.GradientTape."""
        tensor = self.keras.ops.convert_to_tensor
        parts = () if hx is None else tuple(map(tensor, hx if isinstance(hx, tuple) else (hx,)))
        leaf, own = tensor(input), [[v.value for v in weights_of(side).values()] for side in layer.sides]
        with self.library.GradientTape() as tape:
            tape.watch([leaf, *parts])
            output, state = layer.run(leaf, parts or None, lengths, training=True)
        states = state if isinstance(state, tuple) else (state,)
        d_states = upstream[1] if isinstance(upstream[1], tuple) else (upstream[1],)
        zero = self.library.UnconnectedGradients.ZERO
        by_input, by_parts, by_variable = tape.gradient(
            [output, *states],
            [leaf, list(parts), own],
            output_gradients=[tensor(g) for g in (upstream[0], *d_states)],
            unconnected_gradients=zero,
        )
        return output, state, {"input": by_input, **dict(zip(("h_0", "c_0"), by_parts, strict=False))}, by_variable
