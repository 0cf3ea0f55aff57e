"""ncnn's layers LSTM, GRU and RNN on the CPU, one on the other, from its own param and bin files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ncnn
import numpy as np
from rnn_reference.parameters import lanes

from rnn_conformance.arithmetic import Arithmetic
from rnn_conformance.backend import Array, Backend, Layer, Policy
from rnn_conformance.config import LayerConfig
from rnn_conformance.weights import CONVENTIONS, lay_out

REDUCED = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_packed", "use_bf16_storage")
WEIGHTS = ("weight_xc", "bias_c", "weight_hc", "weight_hr")  # in the order of the bin file


class NcnnLayer(Layer):
    """A network of one ncnn layer for each layer. ncnn takes one sequence at a time: rows of a batch go in singly."""

    def __init__(self, config: LayerConfig, parameters: Mapping[str, Array]) -> None:
        self.config = config
        self.held = {name: array.copy() for name, array in parameters.items()}
        self.nets = {given: _net(config, parameters, given) for given in (False, True)}  # without and with states

    def __deepcopy__(self, memo: dict[int, Any]) -> NcnnLayer:
        return NcnnLayer(self.config, self.held)

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """Run the network for each row."""
        if lengths is not None:
            raise NotImplementedError("ncnn's layers take no lengths")
        config, parts = self.config, () if hx is None else hx if isinstance(hx, tuple) else (hx,)
        if parts and [len(part) for part in parts] != [config.lanes] * len(config.state_sizes):
            raise ValueError(f"the state must be {len(config.state_sizes)} of {config.lanes} lanes")
        if input.ndim == 2:
            output, *states = self._row(input, parts)
            return self._shaped(output, states)
        axis = 0 if config.batch_first else 1
        rows = [self._row(*row) for row in _rows(input, parts, axis)]
        if not rows:
            raise ValueError("there is no row to run")
        outputs, *finals = zip(*rows, strict=True)
        return self._shaped(np.stack(outputs, axis), [np.stack(part, 1) for part in finals])

    def _shaped(self, output: Array, states: list[Array]) -> tuple[Array, Any]:
        return output, tuple(states) if self.config.kind == "lstm" else states[0]

    def _row(self, input: Array, parts: tuple[Array, ...]) -> list[Array]:
        """Output (steps, features) and final states (lanes, features) of one sequence."""
        config = self.config
        given = {"x": input}
        for name, part in zip("hc", parts, strict=False):
            for k in range(config.num_layers):
                given[f"{name}{k}"] = part[k * config.num_directions : (k + 1) * config.num_directions]
        # Mat sees neither an array's strides nor its owner
        copies = {name: np.array(array, order="C") for name, array in given.items()}
        extractor = self.nets[bool(parts)].create_extractor()
        for name, array in copies.items():
            _checked(extractor.input(name, ncnn.Mat(array)), f"input {name}")
        states = [[_extract(extractor, f"{name}_n{k}") for k in range(config.num_layers)] for name in self._states()]
        return [_extract(extractor, f"y{config.num_layers - 1}"), *map(np.concatenate, states)]

    def _states(self) -> str:
        return "hc"[: len(self.config.state_sizes)]


def _rows(input: Array, parts: tuple[Array, ...], axis: int) -> list[tuple[Array, tuple[Array, ...]]]:
    """Each row of a batch, with its states."""
    count = input.shape[axis]
    if any(part.shape[1] != count for part in parts):
        raise ValueError(f"states of {count} rows were due")
    return [(input.take(k, axis), tuple(part[:, k] for part in parts)) for k in range(count)]


def _extract(extractor: Any, name: str) -> Array:
    code, mat = extractor.extract(name)
    _checked(code, f"extract {name}")
    return np.array(mat)


def _checked(code: int, what: str) -> None:
    if code:
        raise RuntimeError(f"ncnn: {what} gave {code}")


def _net(config: LayerConfig, parameters: Mapping[str, Array], given: bool) -> Any:
    """The network of this config; layers that are given states have as many more inputs."""
    states = "hc"[: len(config.state_sizes)]
    inputs = ["x", *(f"{name}{k}" for k in range(config.num_layers) for name in states if given)]
    kind, numbers = config.kind, []
    lines = [f"Input {name} 0 1 {name}" for name in inputs]
    for k in range(config.num_layers):
        at = slice(k * config.num_directions, (k + 1) * config.num_directions)
        own = lanes(config.num_layers, config.bidirectional)[at]
        laid = [lay_out(CONVENTIONS["ncnn"][kind], parameters, lane) for lane in own]
        arrays = {name: np.concatenate([one[name] for one in laid]) for name in WEIGHTS if name in laid[0]}
        numbers += list(arrays.values())
        ends = ["x" if k == 0 else f"y{k - 1}", *(f"{name}{k}" for name in states if given)]
        starts = [f"y{k}", *(f"{name}_n{k}" for name in states)]
        options = {0: config.state_sizes[0], 1: arrays["weight_xc"].size, 2: 2 if config.bidirectional else 0}
        options |= {3: config.hidden_size} if config.proj_size else {}
        written = " ".join(f"{key}={value}" for key, value in options.items())
        lines.append(f"{kind.upper()} layer{k} {len(ends)} {len(starts)} {' '.join(ends + starts)} {written}")
    blobs = len(inputs) + config.num_layers * (1 + len(states))
    net = ncnn.Net()
    for name in REDUCED:
        setattr(net.opt, name, False)
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        param, weights = Path(folder, "model.param"), Path(folder, "model.bin")
        param.write_text("\n".join(["7767517", f"{len(lines)} {blobs}", *lines, ""]))
        tag = bytes(4)  # float32
        weights.write_bytes(b"".join(tag + np.ascontiguousarray(array).tobytes() for array in numbers))
        _checked(net.load_param(str(param)), "load_param")
        _checked(net.load_model(str(weights)), "load_model")
    return net


class NcnnBackend(Backend):
    """ncnn on the CPU, in float32 throughout: what it stores in fewer bits by default is switched off."""

    name = "ncnn"
    policy = replace(Policy(), lengths=False, empty_batch="refused")

    @property
    def version(self) -> str:
        """That of ncnn."""
        return str(ncnn.__version__)

    def arithmetic(self, dtype: str) -> Arithmetic:
        """LSTM's tanh, 2 / (1 + e^-2x) - 1 from four units on, errs by some 2^-24 however small it is."""
        return replace(super().arithmetic(dtype), activation_error=2.0**-24)

    def supports(self, config: LayerConfig) -> str | None:
        """float32, with biases, without dropout; tanh alone in the RNN."""
        if config.dtype != "float32":
            return "ncnn.Mat is float32, and lower precision a way to store it"
        if not config.bias:
            return "ncnn's layers load bias_c always"
        if config.dropout:
            return "ncnn is for inference"
        if config.nonlinearity == "relu":
            return "ncnn's layer RNN has tanh alone"
        return self.lacks(config)

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """One bias for both products, and in the GRU a second one for the candidate."""
        return {"recurrent_bias": (CONVENTIONS["ncnn"][cell.partition("_")[0]].recurrent_bias,)}

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """Networks with copies of these parameters.

        Raises:
            NotImplementedError: for a config that `supports` refuses.
            ValueError: for one that cannot exist.
        """
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        config.parameter_shapes()
        return NcnnLayer(config, parameters)

    def expectations(self) -> Path | None:
        """What ncnn is known to do otherwise."""
        return Path(__file__).with_name("ncnn.toml")

    def environment(self) -> dict[str, str]:
        """The version of ncnn."""
        return {"ncnn": self.version}
