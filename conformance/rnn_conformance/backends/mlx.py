"""mlx.nn.LSTM, GRU and RNN, one layer on the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ml_dtypes
import mlx.core as mx
import mlx.nn as nn
import numpy as np
from rnn_reference.parameters import lanes

from rnn_conformance.arithmetic import Arithmetic
from rnn_conformance.backend import Array, Backend, Layer, Policy
from rnn_conformance.config import LayerConfig
from rnn_conformance.weights import CONVENTIONS, lay_out

Given = dict[str, Any]  # arrays by name: parameters, "input", "h_0" and "c_0"


class MlxLayer(Layer):
    """MLX layers, each in one direction: they have neither a reverse direction nor lengths."""

    def __init__(self, config: LayerConfig, parameters: Given) -> None:
        self.config = config
        self.held = parameters

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """Run the layers, and have MLX, which is lazy, compute their results."""
        if lengths is not None:
            raise NotImplementedError("mlx.nn's layers take no lengths")
        results = self._run({**self.held, **_named(input, hx)})
        mx.eval(results)
        return self._shaped(results)

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
        """The vector-Jacobian product; MLX has no gradients that accumulate."""
        if lengths is not None or accumulate:
            raise NotImplementedError("mlx.vjp gives gradients and adds to none")
        given = {**self.held, **_named(input, hx)}
        names = [name for name in given if name not in frozen]

        def call(*arrays: Any) -> list[Any]:
            return self._run({**given, **dict(zip(names, arrays, strict=True))})

        upstream = [output_gradient, *(state_gradient if isinstance(state_gradient, tuple) else (state_gradient,))]
        results, found = mx.vjp(call, [given[name] for name in names], upstream)
        mx.eval(results, found)
        output, state = self._shaped(results)
        return output, state, dict(zip(names, found, strict=True))

    def _shaped(self, results: list[Any]) -> tuple[Any, Any]:
        output, *state = results
        return output, tuple(state) if self.config.kind == "lstm" else state[0]

    def _run(self, given: Given) -> list[Any]:
        """Output and final states; MLX takes (batch, steps, features), or (steps, features)."""
        config, x = self.config, given["input"]
        swap = x.ndim == 3 and not config.batch_first
        x = x.swapaxes(0, 1) if swap else x
        initial = [given[name] for name in ("h_0", "c_0") if name in given]
        if initial and [len(part) for part in initial] != [config.lanes] * len(config.state_sizes):
            raise ValueError(f"the state must be {len(config.state_sizes)} of {config.lanes} lanes")
        finals, outputs = [], []
        for k, lane in enumerate(lanes(config.num_layers, config.bidirectional)):
            flip = slice(None, None, -1 if lane.endswith("_reverse") else 1)
            states = self._layer(given, lane)(x[..., flip, :], *(part[k] for part in initial))
            states = states if isinstance(states, tuple) else (states,)
            outputs.append(states[0][..., flip, :])
            finals.append([part[..., -1, :] for part in states])
            if len(outputs) == config.num_directions:
                x, outputs = mx.concatenate(outputs, axis=-1), []
        return [x.swapaxes(0, 1) if swap else x, *(mx.stack(list(part)) for part in zip(*finals, strict=True))]

    def _layer(self, given: Given, lane: str) -> Any:
        """An MLX layer that holds these parameters."""
        config = self.config
        arrays = {name: given[name] for name in config.parameter_shapes()}
        laid = lay_out(CONVENTIONS["mlx"][config.kind], arrays, lane, mx)
        layer = copy(blank(config.cell, config.activations))
        layer.hidden_size = config.hidden_size
        for name in ("Wx", "Wh", "Wxh", "Whh", "bias", "b", "bhn"):
            if hasattr(layer, name):
                setattr(layer, name, laid.get(name))
        return layer


@cache
def blank(cell: str, activation: str) -> Any:
    """A layer whose parameters are to be replaced.

    Each that is made takes a random number, and MLX, which is lazy, keeps what led to the next one.
    """
    if cell.startswith("rnn"):
        name = activation or ("relu" if cell == "rnn_relu" else "")
        return nn.RNN(1, 1, nonlinearity=getattr(nn, name) if name else None)
    return (nn.LSTM if cell == "lstm" else nn.GRU)(1, 1)


def _named(input: Any, hx: Any) -> Given:
    parts = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
    return {"input": input, **dict(zip(("h_0", "c_0"), parts, strict=False))}


class MlxBackend(Backend):
    """MLX on its default device, which on Linux is the CPU."""

    name = "mlx"
    policy = replace(Policy(), lengths=False)

    @property
    def version(self) -> str:
        """MLX's."""
        return version("mlx")

    def arithmetic(self, dtype: str) -> Arithmetic:
        """In float64 sigmoid is as good as float32's, 2^29 units in the last place: reports/README.md shows it."""
        usual = super().arithmetic(dtype)
        return replace(usual, activation_ulps=usual.activation_ulps * 2.0**29) if dtype == "float64" else usual

    def supports(self, config: LayerConfig) -> str | None:
        """Neither projections nor dropout."""
        if config.proj_size or config.dropout:
            return "mlx.nn.LSTM, GRU and RNN have no projection and no dropout"
        extras = self.extras(config.cell)
        if config.recurrent_bias not in extras["recurrent_bias"]:
            return f"recurrent_bias is always {extras['recurrent_bias'][0]!r}"
        lacking = [name for name in config.beyond_torch() if name not in extras]
        return f"there is no {', '.join(lacking)}" if lacking else None

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """One bias for both products, and in the GRU a second one for the candidate; an RNN's nonlinearity."""
        bias = {"recurrent_bias": (CONVENTIONS["mlx"][cell.partition("_")[0]].recurrent_bias,)}
        return bias | ({"activations": ("", "sigmoid", "softsign")} if cell == "rnn_tanh" else {})

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """MLX layers with copies of these parameters.

        Raises:
            NotImplementedError: for a config that `supports` refuses.
            ValueError: for one that cannot exist.
        """
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        config.parameter_shapes()
        return MlxLayer(config, {name: self.from_numpy(array, "cpu") for name, array in parameters.items()})

    def from_numpy(self, array: Array, device: str) -> Any:
        """An MLX array of these values."""
        if array.dtype == ml_dtypes.bfloat16:
            found = mx.array(np.ascontiguousarray(array).view(np.uint16)).view(mx.bfloat16)
            mx.eval(found)  # lazy as it is, it could be computed in this thread alone
            return found
        return mx.array(array, dtype=getattr(mx, array.dtype.name))

    def to_numpy(self, array: Any) -> Array:
        """Its values."""
        if not isinstance(array, mx.array):
            raise TypeError(f"an MLX array was due, not {type(array).__name__}")
        if array.dtype == mx.bfloat16:
            return np.array(array.view(mx.uint16)).view(ml_dtypes.bfloat16)
        return np.array(array)

    def assign(self, array: Any, values: Array) -> None:
        """Write values into an MLX array."""
        wide = np.float64 if array.dtype == mx.float64 else np.float32
        array[...] = self.from_numpy(np.ascontiguousarray(values, wide), "cpu").astype(array.dtype)

    def expectations(self) -> Path | None:
        """What MLX is known to do otherwise."""
        return Path(__file__).with_name("mlx.toml")

    def environment(self) -> dict[str, str]:
        """MLX and its device."""
        return {"mlx": self.version, "device": str(mx.default_device())}
