"""What JAX backends share: a stack of lanes as one jitted function, differentiated by jax.vjp."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rnn_reference.parameters import lanes

from rnn_conformance.backend import Array, Backend, Layer, Policy
from rnn_conformance.config import LayerConfig

jax.config.update("jax_enable_x64", True)  # or float64 would become float32

# configs whose functions are kept; each compiled one takes some 60 maps of memory, of which Linux allows a process
# 65,530, and XLA ends a process that has no more
KEPT = 64

Tree = Any  # the parameters of one lane, as the library holds them: arrays by name, or a module with them


class JaxLayer(Layer):
    """Parameters by lane, and the function that its config was compiled to."""

    def __init__(self, backend: JaxBackend, config: LayerConfig, parameters: Mapping[str, Array]) -> None:
        self.backend = backend
        self.config = config
        self.held = {name: jnp.array(array) for name, array in parameters.items()}

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """The compiled stack; JAX compiles it anew for each shape."""
        return self.backend.compiled(self.config)(self.held, input, hx, array_of(lengths))

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
        """The vector-Jacobian product of the stack; JAX has no gradients that accumulate."""
        if accumulate:
            raise NotImplementedError("jax.vjp gives gradients and adds to none")
        wanted = {name: array for name, array in self.held.items() if name not in frozen}
        fixed = {name: array for name, array in self.held.items() if name in frozen}
        pull = self.backend.compiled_vjp(self.config)
        (output, state), (by_parameters, by_input, by_state) = pull(
            wanted, fixed, input, hx, array_of(lengths), (output_gradient, state_gradient)
        )
        parts = by_state if isinstance(by_state, tuple) else () if by_state is None else (by_state,)
        found = {"input": by_input, **by_parameters, **dict(zip(("h_0", "c_0"), parts, strict=False))}
        return output, state, {name: gradient for name, gradient in found.items() if name not in frozen}


def array_of(lengths: Sequence[int] | None) -> Any:
    """Lengths as JAX takes them: not as a constant of what is compiled."""
    return None if lengths is None else np.array(lengths)


class JaxBackend(Backend):
    """Lanes of a JAX library, stacked. NumPy arrays go in, as JAX allows, and JAX's own come out."""

    # docs.jax.dev, "The Sharp Bits", has subnormal numbers flushed to zero on some backends; on the CPU they are
    policy = replace(Policy(), empty_sequence="state", lengths=False, flush_subnormals=True)
    max_examples = 2

    def __init__(self) -> None:
        self.compiled = lru_cache(KEPT)(self._compiled)
        self.compiled_vjp = lru_cache(KEPT)(self._compiled_vjp)

    @abstractmethod
    def lane_parameters(self, config: LayerConfig, parameters: Mapping[str, Any], lane: str) -> Tree:
        """The parameters of one lane as the library holds them, by operations that JAX can trace."""

    @abstractmethod
    def run_layer(
        self, config: LayerConfig, trees: list[Tree], x: Any, states: list[tuple[Any, ...]] | None, lengths: Any
    ) -> tuple[Any, list[tuple[Any, ...]]]:
        """One layer by the library: its output, directions side by side, and the final state of each direction.

        Args:
            x: the layer's input, in the config's own layout.
            states: the initial state of each direction; None where none was given.
        """

    def run(self, config: LayerConfig, parameters: Mapping[str, Any], input: Any, hx: Any, lengths: Any) -> Any:
        """The whole stack."""
        x, finals = input, []
        for single, trees, states in self.layers(config, parameters, hx):
            x, final = self.run_layer(single, trees, x, states, lengths)
            finals += final
        state = tuple(jnp.stack(part) for part in zip(*finals, strict=True))
        return x, state if config.kind == "lstm" else state[0]

    def layers(
        self, config: LayerConfig, parameters: Mapping[str, Any], hx: Any
    ) -> Iterator[tuple[LayerConfig, list[Tree], list[tuple[Any, ...]] | None]]:
        """The config of each layer as a stack of its own, the parameters of its lanes, and their initial states.

        Raises:
            ValueError: for a state of more or fewer parts or lanes than the config has.
        """
        parts = hx if isinstance(hx, tuple) else (hx,)
        if hx is not None and [len(part) for part in parts] != [config.lanes] * len(config.state_sizes):
            raise ValueError(f"the state must be {len(config.state_sizes)} of {config.lanes} lanes")
        names = lanes(config.num_layers, config.bidirectional)
        for layer in range(config.num_layers):
            own = range(layer * config.num_directions, (layer + 1) * config.num_directions)
            states = None if hx is None else [tuple(part[k] for part in parts) for k in own]
            single = replace(config, num_layers=1, input_size=config.input_size if layer == 0 else config.output_size)
            yield single, [self.lane_parameters(single, parameters, names[k]) for k in own], states

    def _compiled(self, config: LayerConfig) -> Callable[..., Any]:
        compiled: Callable[..., Any] = jax.jit(partial(self.run, config))
        return compiled

    def _compiled_vjp(self, config: LayerConfig) -> Callable[..., Any]:
        def pulled(wanted: Any, fixed: Any, input: Any, hx: Any, lengths: Any, upstream: Any) -> Any:
            def call(wanted: Any, input: Any, hx: Any) -> Any:
                return self.run(config, {**wanted, **fixed}, input, hx, lengths)

            results, pull = jax.vjp(call, wanted, input, hx)
            return results, pull(upstream)

        compiled: Callable[..., Any] = jax.jit(pulled)
        return compiled

    def beyond(self, config: LayerConfig) -> str | None:
        """Why a config is not offered, where a field is not as `extras` says."""
        extras = self.extras(config.cell)
        for name, values in extras.items():
            if getattr(config, name) not in values:
                return f"{name} is always {values[0]!r}"
        lacking = [name for name in config.beyond_torch() if name not in extras]
        return f"there is no {', '.join(lacking)}" if lacking else None

    def offered(self, config: LayerConfig) -> None:
        """Raise NotImplementedError for a config that `supports` refuses, ValueError for one that cannot exist."""
        if reason := self.supports(config):
            raise NotImplementedError(reason)
        config.parameter_shapes()

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A stack with copies of these parameters."""
        self.offered(config)
        return JaxLayer(self, config, parameters)

    def to_numpy(self, array: Any) -> Array:
        """The values of JAX's array, or of NumPy's."""
        if not isinstance(array, jax.Array | np.ndarray):
            raise TypeError(f"a JAX array was due, not {type(array).__name__}")
        return np.asarray(array)

    def settings(self) -> dict[str, Any]:
        """JAX's settings that decide results."""
        return {"jax_enable_x64": jax.config.jax_enable_x64}

    def restore(self, settings: Mapping[str, Any]) -> None:
        """Set them again."""
        jax.config.update("jax_enable_x64", settings["jax_enable_x64"])

    def environment(self) -> dict[str, str]:
        """JAX, and how few cases are tried."""
        return {"jax": jax.__version__, "examples of each unit at most": str(self.max_examples)}

    def __deepcopy__(self, memo: dict[int, Any]) -> JaxBackend:
        return self
