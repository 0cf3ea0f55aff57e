"""ONNX models of a config, and what backends share that run them.

A layer is one node: operator LSTM, GRU or RNN. The directions of every second layer are two nodes, one forward and one
reverse, so that each value of the attribute `direction` is driven. Optional inputs are left out where the call has
none: B without bias, sequence_lens without lengths, initial_h and initial_c without a state, P without peepholes.
Optional outputs are left out where one result is asked for alone: Y of the last layer, which no other layer reads, and
those of Y_h and Y_c that the result has no part of.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from rnn_reference.parameters import lanes

from rnn_conformance.backend import Array, Backend, Layer, Policy
from rnn_conformance.config import LayerConfig, numpy_dtype
from rnn_conformance.weights import CONVENTIONS, lay_out

Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]

OPSET, IR_VERSION = 14, 8  # the operators' own version: `layout` came with it; releases since 2021 read it
ACTIVATIONS: dict[str, tuple[str, list[float], list[float]]] = {  # ONNX's name, its alpha and its beta
    "sigmoid": ("Sigmoid", [], []),
    "tanh": ("Tanh", [], []),
    "relu": ("Relu", [], []),
    "leaky_relu": ("LeakyRelu", [0.25], []),
    "hard_sigmoid": ("HardSigmoid", [1 / 6], [0.5]),
    "elu": ("Elu", [1.0], []),
    "softplus": ("Softplus", [], []),
    "softsign": ("Softsign", [], []),
    "scaled_tanh": ("ScaledTanh", [0.75], [0.5]),
    "affine": ("Affine", [0.75], [0.5]),
    "thresholded_relu": ("ThresholdedRelu", [0.3125], []),
}
OFFERED = {  # those of each cell beside the usual ones; every function, and for each cell such as every runtime knows
    "lstm": (
        "hard_sigmoid scaled_tanh tanh",
        "tanh sigmoid sigmoid",
        "softsign affine elu",
        "sigmoid elu thresholded_relu",
        "sigmoid relu relu",
    ),
    "gru": ("hard_sigmoid scaled_tanh", "tanh sigmoid", "softsign elu", "sigmoid relu"),
    "rnn_tanh": ("scaled_tanh", "sigmoid", "affine", "softsign"),
    "rnn_relu": ("leaky_relu", "thresholded_relu", "softplus"),
}
BFLOAT16_OPSET = 22  # in which the operators take bfloat16


class Graph:
    """A model that grows by a layer at a time."""

    def __init__(
        self, config: LayerConfig, parameters: Mapping[str, Array], hx: bool, lengths: bool, alone: str = ""
    ) -> None:
        self.config = config
        self.parameters = parameters
        self.alone = alone
        self.element = helper.np_dtype_to_tensor_dtype(numpy_dtype(config.dtype))
        self.states = ("h", "c")[: len(config.state_sizes)]
        self.hx = hx
        self.lengths = "lengths" if lengths else ""
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        axes = ["batch", "steps"] if config.batch_first else ["steps", "batch"]
        self.inputs = [self.value("input", [*axes, config.input_size])]
        self.outputs = [self.value("output", [*axes, config.output_size])] if self.wanted("output") else []
        if lengths:
            self.inputs.append(helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, ["batch"]))

    def wanted(self, result: str) -> bool:
        """Whether this result is asked for."""
        return self.alone in ("", result)

    def value(self, name: str, shape: Sequence[str | int]) -> Any:
        """An input or output of the model."""
        return helper.make_tensor_value_info(name, self.element, shape)

    def state_value(self, name: str, size: int) -> Any:
        """A state of one layer as an input or output of the model."""
        D = self.config.num_directions
        return self.value(name, ["batch", D, size] if self.config.batch_first else [D, "batch", size])

    def constant(self, name: str, array: Array) -> str:
        """A weight's name, once it is in the model."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Add a node."""
        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))

    def layer(self, layer: int, below: str, above: str) -> None:
        """Add a layer from the value `below` to the value `above`, which the last one has where it is wanted."""
        config = self.config
        for state, size in zip(self.states, config.state_sizes, strict=True):
            if self.wanted(f"{state}_n"):
                self.outputs.append(self.state_value(f"{state}_n_{layer}", size))
            if self.hx:
                self.inputs.append(self.state_value(f"{state}_0_{layer}", size))
        first = layer * config.num_directions
        own = lanes(config.num_layers, config.bidirectional)[first : first + config.num_directions]
        given = [f"{state}_0_{layer}" if self.hx else "" for state in self.states]
        left = [f"{state}_n_{layer}" if self.wanted(f"{state}_n") else "" for state in self.states]
        y = f"y_{layer}" if above != "output" or self.wanted("output") else ""
        if config.bidirectional and layer % 2:
            self.two_nodes(layer, own, below, given, left, y)
        else:
            direction = "bidirectional" if config.bidirectional else "forward"
            self.recurrent(f"{layer}", own, direction, below, given, [y, *left])
        if not y:
            return
        if not config.batch_first:  # from (steps, directions, batch, hidden) to (steps, batch, directions, hidden)
            self.node("Transpose", [y], [y + "_turned"], perm=[0, 2, 1, 3])
            y += "_turned"
        width = self.constant(f"width_{layer}", np.array([0, 0, config.output_size]))
        self.node("Reshape", [y, width], [above])

    def two_nodes(self, layer: int, own: list[str], below: str, given: list[str], left: list[str], y: str) -> None:
        """Each direction as a node of its own, side by side."""
        axis = 1 if self.config.batch_first else 0
        halves = [[f"{name}_{k}" for name in given] if self.hx else given for k in range(2)]
        for name, parts in zip(given, zip(*halves, strict=True), strict=True):
            if name:
                self.node("Split", [name], parts, axis=axis)
        results = [[f"{name}_{k}" if name else "" for name in (y, *left)] for k in range(2)]
        for k, direction in enumerate(("forward", "reverse")):
            self.recurrent(f"{layer}_{direction}", own[k : k + 1], direction, below, halves[k], results[k])
        axes = [2 if self.config.batch_first else 1, *[axis] * len(left)]
        for name, parts, along in zip((y, *left), zip(*results, strict=True), axes, strict=True):
            if name:
                self.node("Concat", parts, [name], axis=along)

    def recurrent(
        self, name: str, own: list[str], direction: str, below: str, given: list[str], results: list[str]
    ) -> None:
        """The operator itself, over these lanes."""
        config = self.config
        laid = [lay_out(CONVENTIONS["onnx"][config.kind], self.parameters, lane) for lane in own]
        weights = {n: self.constant(f"{n}_{name}", np.stack([arrays[n] for arrays in laid])) for n in laid[0]}
        inputs = [below, weights["W"], weights["R"], weights.get("B", ""), self.lengths, *given]
        inputs += [weights["P"]] if "P" in weights else []
        outputs = list(results)
        for names in (inputs, outputs):
            while not names[-1]:
                names.pop()
        attributes: dict[str, Any] = {"hidden_size": config.hidden_size}
        attributes |= {"direction": direction} if direction != "forward" else {}
        attributes |= {"layout": 1} if config.batch_first else {}
        attributes |= {"clip": config.clip} if config.clip else {}
        attributes |= {"input_forget": 1} if config.input_forget else {}
        attributes |= {"linear_before_reset": 1} if config.kind == "gru" and config.reset_after else {}
        attributes |= activation_attributes(config, len(own))
        self.node(config.kind.upper(), inputs, outputs, **attributes)


def activation_attributes(config: LayerConfig, directions: int) -> dict[str, Any]:
    """The attributes `activations`, and `activation_alpha` and `activation_beta` of those that take them: they "are
    consumed in the order of activation functions".
    """
    names = config.activations or ("relu" if config.nonlinearity == "relu" else "")
    functions = [ACTIVATIONS[name] for name in names.split()] * directions
    attributes = {
        "activations": [name for name, _, _ in functions],
        "activation_alpha": [number for _, alpha, _ in functions for number in alpha],
        "activation_beta": [number for _, _, beta in functions for number in beta],
    }
    return {name: values for name, values in attributes.items() if values}


def model_of(config: LayerConfig, parameters: Mapping[str, Array], hx: bool, lengths: bool, alone: str = "") -> Any:
    """The model of a stack whose inputs are `input`, and where asked for `lengths` and h_0_0, c_0_0, h_0_1, ...

    Its outputs are `output`, and h_n_0, c_n_0, h_n_1, ..., the states of each layer.

    Args:
        alone: output, h_n or c_n, where no other result is asked for.
    """
    graph = Graph(config, parameters, hx, lengths, alone)
    for layer in range(config.num_layers):
        below = f"x_{layer}" if layer else "input"
        graph.layer(layer, below, f"x_{layer + 1}" if layer + 1 < config.num_layers else "output")
    made = helper.make_graph(graph.nodes, "stack", graph.inputs, graph.outputs, graph.constants)
    opset = helper.make_opsetid("", BFLOAT16_OPSET if config.dtype == "bfloat16" else OPSET)
    return helper.make_model(made, opset_imports=[opset], ir_version=10 if config.dtype == "bfloat16" else IR_VERSION)


class OnnxLayer(Layer):
    """A stack as a model, compiled once for each choice of optional inputs and outputs."""

    def __init__(self, backend: OnnxBackend, config: LayerConfig, parameters: Mapping[str, Array]) -> None:
        self.backend = backend
        self.config = config
        self.held = {name: array.copy() for name, array in parameters.items()}
        self.compiled: dict[tuple[bool, bool, str], Run] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxLayer:
        return type(self)(self.backend, self.config, self.held)

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """Run the model.

        Raises:
            ValueError: for a state of more or fewer parts than the model has inputs for.
        """
        found = self.run(hx is not None, lengths is not None)(self.feeds(input, hx, lengths))
        state = tuple(self.stacked(f"{name}_n", found) for name in self.states)
        return found["output"], state if self.config.kind == "lstm" else state[0]

    def alone(self, name: str, input: Any, hx: Any = None, lengths: Sequence[int] | None = None) -> Any:
        """Run the model that has no other outputs.

        Raises:
            NotImplementedError: for a result that `refuses_alone` names.
        """
        if reason := self.backend.refuses_alone(self.config, name):
            raise NotImplementedError(reason)
        found = self.run(hx is not None, lengths is not None, name)(self.feeds(input, hx, lengths))
        return found["output"] if name == "output" else self.stacked(name, found)

    @property
    def states(self) -> tuple[str, ...]:
        """The parts of the state."""
        return ("h", "c")[: len(self.config.state_sizes)]

    def feeds(self, input: Any, hx: Any, lengths: Sequence[int] | None) -> dict[str, Array]:
        """What the model takes, by name."""
        feeds = {"input": input}
        if hx is not None:
            for name, part in zip(self.states, hx if isinstance(hx, tuple) else (hx,), strict=True):
                feeds |= self.by_layer(f"{name}_0", part)
        if lengths is not None:
            feeds["lengths"] = np.array(lengths, np.int32)
        return feeds

    def run(self, hx: bool, lengths: bool, alone: str = "") -> Run:
        """The compiled model that has these inputs, and this result alone."""
        if (hx, lengths, alone) not in self.compiled:
            model = model_of(self.config, self.held, hx, lengths, alone)
            self.compiled[hx, lengths, alone] = self.backend.compile(model)
        return self.compiled[hx, lengths, alone]

    def by_layer(self, name: str, part: Array) -> dict[str, Array]:
        """A state cut into those of the layers, and whatever is too much left to the last."""
        D, L = self.config.num_directions, self.config.num_layers
        parts = np.split(part, range(D, D * L, D)) if part.ndim else [part] * L
        turn = self.config.batch_first
        return {f"{name}_{k}": p.swapaxes(0, 1) if turn and p.ndim > 1 else p for k, p in enumerate(parts)}

    def stacked(self, name: str, found: Mapping[str, Array]) -> Array:
        """A state of all layers, one after the other."""
        parts = [found[f"{name}_{k}"] for k in range(self.config.num_layers)]
        return np.concatenate([part.swapaxes(0, 1) for part in parts] if self.config.batch_first else parts)


class OnnxBackend(Backend):
    """What runs ONNX models."""

    policy = replace(Policy(), unbatched=False)

    @abstractmethod
    def compile(self, model: Any) -> Run:
        """A function from a model's inputs to its outputs, both by name."""

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """The attributes `clip`, `activations`, `linear_before_reset` and `input_forget`, and the input P."""
        found: dict[str, tuple[Any, ...]] = {"clip": (0.0, 1.5), "activations": ("", *OFFERED[cell])}
        if cell == "gru":
            return found | {"reset_after": (True, False)}
        return found | ({"peepholes": (False, True), "input_forget": (False, True)} if cell == "lstm" else {})

    def supports(self, config: LayerConfig) -> str | None:
        """The operators have neither projection nor dropout."""
        if config.proj_size:
            return "ONNX's operator LSTM has no projection"
        if config.dtype == "float64" and "hard_sigmoid" in config.activations:
            return "ONNX's attribute activation_alpha is a float32, and so not as near to 1/6 as a float64 is"
        return "ONNX's recurrent operators have no dropout" if config.dropout else self.lacks(config)

    def refuses_alone(self, config: LayerConfig, name: str) -> str | None:
        """Why a result cannot be asked for alone; None where it can."""
        return "ONNX's recurrent operators give the output of every step" if name == "last" else None

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A model with these parameters.

        Raises:
            NotImplementedError: for a config that `supports` refuses.
            ValueError: for one that cannot exist.
        """
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        config.parameter_shapes()
        return OnnxLayer(self, config, parameters)
