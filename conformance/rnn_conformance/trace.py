"""What is done with a backend, noted down, so that it can be done again without the suite."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnn_conformance.backend import Array, Backend, Layer
from rnn_conformance.config import LayerConfig


@dataclass
class Made:
    """A layer was made."""

    config: LayerConfig
    parameters: dict[str, Array]
    raised: bool = False


@dataclass
class Called:
    """A layer was called, in the form in which it takes its arguments."""

    layer: int
    weights: Mapping[str, Array]  # those that it had by then
    input: Array | None
    hx: Any  # an array, a tuple of them, or None
    lengths: tuple[int, ...] | None
    training: bool
    given_by: int | None = None  # the earlier event whose final state hx is
    output: Any = None
    state: Any = None
    raised: bool = True  # until it gave a result


@dataclass
class Differentiated(Called):
    """A layer was differentiated through."""

    d_output: Any = None
    d_state: Any = None
    frozen: tuple[str, ...] = ()
    accumulate: bool = False
    gradients: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Wrote:
    """A parameter was written to in place."""

    layer: int
    name: str
    values: Array


@dataclass
class Copied:
    """A layer was copied; the copy has the next number."""

    layer: int


Event = Made | Called | Wrote | Copied


class Trace:
    """The events of one use of a backend, in order. `backend` is the double to use."""

    def __init__(self, backend: Backend) -> None:
        self.real = backend
        self.events: list[Event] = []
        self.weights: list[dict[str, Array]] = []  # of each layer
        self.configs: list[LayerConfig] = []
        self.views: list[tuple[Any, int, str]] = []
        self.states: list[tuple[Any, int]] = []  # final states by identity, and the event that gave each
        self.backend = copy(backend)
        self.backend.layer = self.layer  # type: ignore[method-assign]
        self.backend.assign = self.assign  # type: ignore[method-assign]

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A layer that notes what is done with it."""
        event = Made(config, {name: np.array(array) for name, array in parameters.items()}, raised=True)
        self.events.append(event)
        real = self.real.layer(config, parameters)
        event.raised = False
        return self.known(real, config, event.parameters) if isinstance(real, Layer) else real

    def known(self, real: Layer, config: LayerConfig, weights: Mapping[str, Array]) -> Layer:
        """The double of a layer."""
        self.weights.append(dict(weights))
        self.configs.append(config)
        return TracedLayer(self, real, len(self.weights) - 1)

    def assign(self, array: Any, values: Array) -> None:
        """Note which parameter is written to, and write."""
        for view, layer, name in self.views:
            if view is array:
                self.events.append(Wrote(layer, name, np.array(values)))
                self.weights[layer] = self.weights[layer] | {name: np.array(values, self.weights[layer][name].dtype)}
                break
        self.real.assign(array, values)

    def read(self, native: Any) -> Any:
        """The numbers of a backend's array, of a tuple of them, or of nothing."""
        if isinstance(native, tuple):
            return tuple(map(self.read, native))
        return None if native is None else np.array(self.real.to_numpy(native))

    def arguments(self, layer: int, input: Any, hx: Any, lengths: Any, training: bool) -> dict[str, Any]:
        """The fields of an event."""
        return {
            "layer": layer,
            "weights": self.weights[layer],
            "input": self.read(input),
            "hx": self.read(hx),
            "lengths": None if lengths is None else tuple(lengths),
            "training": training,
            "given_by": next((at for state, at in self.states if state is hx), None) if hx is not None else None,
        }


class TracedLayer(Layer):
    """The double of a layer."""

    def __init__(self, trace: Trace, real: Layer, number: int) -> None:
        self.trace = trace
        self.real = real
        self.number = number

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """Note the call, and make it."""
        event = Called(**self.trace.arguments(self.number, input, hx, lengths, training))
        self.trace.events.append(event)
        given = self.real.forward(input, hx, lengths=lengths, training=training)
        event.raised = False
        if isinstance(given, tuple) and len(given) == 2:
            self.trace.states.append((given[1], len(self.trace.events) - 1))
            event.output, event.state = self.trace.read(given[0]), self.trace.read(given[1])
        return given

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
        """Note the call, and make it."""
        trace = self.trace
        event = Differentiated(
            **trace.arguments(self.number, input, hx, lengths, True),
            d_output=trace.read(output_gradient),
            d_state=trace.read(state_gradient),
            frozen=tuple(frozen),
            accumulate=accumulate,
        )
        trace.events.append(event)
        given = self.real.gradients(input, hx, output_gradient, state_gradient, lengths, frozen, accumulate)
        event.raised = False
        event.gradients = {name: trace.read(array) for name, array in given[2].items()}
        return given

    def alone(self, name: str, input: Any, hx: Any = None, lengths: Sequence[int] | None = None) -> Any:
        """The layer's own; that a result was asked for alone is not noted."""
        return self.real.alone(name, input, hx, lengths)

    def taped(self, input: Any, hx: Any, lengths: Sequence[int] | None = None, training: bool = True) -> Any:
        """Differentiating later is not noted."""
        return self.real.taped(input, hx, lengths, training)

    def save(self) -> Any:
        """The layer's own."""
        return self.real.save()

    def load(self, saved: Any) -> None:
        """The layer's own; weights that come this way are not noted."""
        self.real.load(saved)

    def parameters(self) -> Mapping[str, Any]:
        """The layer's own, remembered so that writing to one is noticed."""
        views = self.real.parameters()
        self.trace.views += [(view, self.number, name) for name, view in views.items()]
        return views

    def __deepcopy__(self, memo: dict[int, Any]) -> Layer:
        copied = deepcopy(self.real, memo)
        self.trace.events.append(Copied(self.number))
        return self.trace.known(copied, self.trace.configs[self.number], self.trace.weights[self.number])
