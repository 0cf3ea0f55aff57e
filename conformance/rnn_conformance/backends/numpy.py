"""The oracle itself, in the dtype asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from rnn_conformance.backend import Array, Backend, Layer, Policy
from rnn_conformance.config import LayerConfig
from rnn_conformance.oracle import reference


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
        self.held = {name: array.copy() for name, array in parameters.items()}

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """The oracle's results, rounded to the input's dtype."""
        state = tuple(_inward(part) for part in hx) if isinstance(hx, tuple) else hx if hx is None else _inward(hx)
        parameters = {name: _inward(array) for name, array in self.held.items()}
        output, final = reference(self.config, parameters, _inward(input), state, lengths=lengths)

        def outward(array: Array) -> Array:
            return np.asarray(array).astype(input.dtype, copy=False)

        return outward(output), tuple(map(outward, final)) if isinstance(final, tuple) else outward(final)

    def parameters(self) -> Mapping[str, Any]:
        """What it holds."""
        return self.held


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

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A layer that holds copies of these parameters."""
        return OracleLayer(config, parameters)
