"""The oracle itself, in the dtype asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from rnn_reference.directions import MERGE_MODES, join

from rnn_conformance.backend import Array, Backend, Layer, Policy
from rnn_conformance.config import LayerConfig
from rnn_conformance.oracle import STATES, reference, reference_gradients


class Rounded(np.ndarray[Any, Any]):
    """float32 whose operations round to bfloat16, and matrix products to float32: how bfloat16 kernels compute."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Round the result of `ufunc`, unless it is a matrix product."""
        plain = [x.view(np.ndarray) if isinstance(x, Rounded) else x for x in inputs]
        result = getattr(ufunc, method)(*plain, **kwargs)
        if ufunc is not np.matmul:
            result = result.astype(ml_dtypes.bfloat16).astype(np.float32)
        return result.view(Rounded)


def _inward(array: Array) -> Array:
    return array.astype(np.float32).view(Rounded) if array.dtype == ml_dtypes.bfloat16 else array


class OracleLayer(Layer):
    """The oracle with its parameters."""

    def __init__(self, config: LayerConfig, parameters: Mapping[str, Array]) -> None:
        self.config = config
        self.summed: dict[str, Array] = {}
        self.held = {name: array.copy() for name, array in parameters.items()}

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """The oracle's results, rounded to the input's dtype."""
        state = tuple(_inward(part) for part in hx) if isinstance(hx, tuple) else hx if hx is None else _inward(hx)
        parameters = {name: _inward(array) for name, array in self.held.items()}
        output, final = reference(self.config, parameters, _inward(input), state, lengths=lengths)

        def outward(array: Array) -> Array:
            return np.asarray(array).astype(input.dtype, copy=False)

        return outward(output), tuple(map(outward, final)) if isinstance(final, tuple) else outward(final)

    def alone(self, name: str, input: Any, hx: Any = None, lengths: Sequence[int] | None = None) -> Any:
        """One of the oracle's results."""
        output, final = self.forward(input, hx, lengths)
        found = dict(zip(STATES, final if isinstance(final, tuple) else (final,), strict=False))
        own = [_inward(lane) for lane in found["h_n"][-self.config.num_directions :]]
        found |= {"output": output, "last": np.asarray(join(own, self.config.merge_mode)).astype(input.dtype)}
        return found[name]

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
        """The oracle's backpropagation through time."""
        output, final = self.forward(input, hx, lengths)
        wide = np.float64 if input.dtype == np.float64 else np.float32

        def inward(arrays: Any) -> Any:
            return arrays and tuple(map(inward, arrays)) if isinstance(arrays, tuple | None) else arrays.astype(wide)

        found = reference_gradients(
            self.config,
            {name: inward(array) for name, array in self.held.items()},
            inward(input),
            inward(hx),
            inward(output_gradient),
            inward(state_gradient),
            lengths=lengths,
        )
        for name, gradient in found.items():
            summed = gradient + self.summed.get(name, 0.0) if accumulate and name in self.held else gradient
            found[name] = summed.astype(input.dtype)
        self.summed = {name: found[name].astype(wide) for name in self.held}
        lacking = {*frozen, *(() if hx is not None else ("h_0", "c_0"))}
        return output, final, {name: array for name, array in found.items() if name not in lacking}

    def parameters(self) -> Mapping[str, Any]:
        """What it holds."""
        return self.held


ACTIVATIONS = {  # beside the usual ones
    "lstm": ("hard_sigmoid scaled_tanh hard_tanh", "tanh sigmoid sigmoid", "softsign affine elu"),
    "gru": ("hard_sigmoid scaled_tanh", "tanh sigmoid", "sigmoid softplus"),
    "rnn_tanh": ("hard_tanh", "scaled_tanh", "softsign"),
    "rnn_relu": ("leaky_relu", "thresholded_relu"),
}


class NumPyBackend(Backend):
    """The oracle as a backend."""

    name = "numpy"
    # In float16 e^12 overflows, and 1 / (1 + e^12) is 0, not the subnormal number that is due.
    policy = replace(Policy(), empty_sequence="state", zero_length="state", flush_subnormals=True)

    @property
    def version(self) -> str:
        """NumPy's."""
        return np.__version__

    def supports(self, config: LayerConfig) -> str | None:
        """It draws no dropout masks."""
        return "the oracle takes dropout masks as an argument and draws none" if config.dropout else None

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """All that the oracle knows."""
        found: dict[str, tuple[Any, ...]] = {"recurrent_bias": ("all", "none"), "clip": (0.0, 1.5)}
        if cell == "gru":
            found |= {"reset_after": (True, False), "recurrent_bias": ("all", "none", "candidate")}
        if cell == "lstm":
            found |= {"peepholes": (False, True), "input_forget": (False, True), "forget_bias": (0.0, 1.0)}
        if cell.startswith("rnn"):
            found |= {"residual": (False, True)}
        return found | {"activations": ("", *ACTIVATIONS[cell]), "merge_mode": MERGE_MODES}

    def expectations(self) -> Path | None:
        """Where the budget errs."""
        return Path(__file__).with_name("numpy.toml")

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A layer that holds copies of these parameters.

        Raises:
            NotImplementedError: for a config that `supports` refuses.
            ValueError: for one that cannot exist.
        """
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        config.parameter_shapes()
        return OracleLayer(config, parameters)
