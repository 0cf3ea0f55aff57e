"""Door 2: a function over NumPy arrays, for kernels behind ctypes, Cython, pybind11 and the like."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rnn_conformance.backend import Array, Backend, Layer, Policy
from rnn_conformance.config import LayerConfig, numpy_dtype

Forward = Callable[..., Any]


class FunctionLayer(Layer):
    """A function with the parameters that it is given at each call, and with buffers for results if it takes them."""

    def __init__(
        self, forward: Forward, config: LayerConfig, parameters: Mapping[str, Array], buffered: bool = False
    ) -> None:
        self.function = forward
        self.config = config
        self.held = {name: array.copy() for name, array in parameters.items()}
        self.buffered = buffered
        self.place: Callable[[Array], Array] | None = None

    def guard(self, place: Callable[[Array], Array]) -> None:
        """Keep parameters and buffers where `place` puts them from now on."""
        self.place = place
        self.held = {name: place(array) for name, array in self.held.items()}

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """What the function gives, or writes into its buffers."""
        named = {} if lengths is None else {"lengths": lengths}
        if not self.buffered:
            return self.function(self.config, self.held, input, hx, **named)
        out = self.buffers(input)
        self.function(self.config, self.held, input, hx, out=out, **named)
        return out

    def buffers(self, input: Any) -> tuple[Array, Any]:
        """Arrays for (output, state) as torch.nn shapes them, full of NaN: what is left unwritten deviates."""
        leading = np.shape(input)[:-1]
        batch = (leading[0 if self.config.batch_first else 1],) if len(leading) == 2 else ()

        def buffer(*shape: int) -> Array:
            array = np.full(shape, np.nan, numpy_dtype(self.config.dtype))
            return self.place(array) if self.place else array

        state = tuple(buffer(self.config.lanes, *batch, size) for size in self.config.state_sizes)
        return buffer(*leading, self.config.output_size), state if len(state) == 2 else state[0]

    def parameters(self) -> Mapping[str, Any]:
        """Those that the function will be given."""
        return self.held


class FunctionBackend(Backend):
    """A backend made of `forward(config, parameters, x, state) -> (output, state)`."""

    def __init__(
        self,
        forward: Forward,
        supports: Callable[[LayerConfig], str | None] | None = None,
        policy: Policy | None = None,
        extras: Callable[[str], Mapping[str, tuple[Any, ...]]] | None = None,
    ) -> None:
        self.function = forward
        functools.update_wrapper(self, forward)
        self.name = f"{forward.__module__}:{getattr(forward, '__name__', type(forward).__name__)}"
        self.declared = supports
        self.declared_extras = extras
        taken = inspect.signature(forward).parameters
        self.buffered = "out" in taken
        self.policy = policy or Policy(lengths="lengths" in taken)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function, which a decorator has not taken away."""
        return self.function(*arguments, **named)

    def supports(self, config: LayerConfig) -> str | None:
        """What was declared, and no dropout: a function is not told of training."""
        if config.dropout:
            return "a function has no training mode, and so no dropout"
        return self.lacks(config) or (self.declared(config) if self.declared else None)

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        """Those that were declared."""
        return self.declared_extras(cell) if self.declared_extras else {}

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """The function with copies of these parameters.

        Raises:
            NotImplementedError: for a config that `supports` refuses.
            ValueError: for one that cannot exist.
        """
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        config.parameter_shapes()
        return FunctionLayer(self.function, config, parameters, self.buffered)


def function(
    forward: Forward | None = None,
    *,
    supports: Callable[[LayerConfig], str | None] | None = None,
    policy: Policy | None = None,
    extras: Callable[[str], Mapping[str, tuple[Any, ...]]] | None = None,
) -> Any:
    """Make a backend of `forward(config, parameters, x, state) -> (output, state)` over NumPy arrays.

    A decorator, with or without arguments. Without it `--backend module:forward` takes a plain function too.

    Args:
        forward: is given the config, the parameters by torch.nn's names, the input in the layout that the config says,
            and the state or None; where it has a parameter `lengths`, also those. It returns what torch.nn's forward
            returns; or, where it has a parameter `out`, writes it into the arrays (output, state) that come as `out`.
        supports: for a config None, or why it is not offered in one sentence.
        policy: what it does where correct implementations differ.
        extras: for a cell the fields of the config that torch.nn does not have, each with the values that it offers.
    """
    if forward is None:
        return lambda given: FunctionBackend(given, supports, policy, extras)
    return FunctionBackend(forward, supports, policy, extras)
