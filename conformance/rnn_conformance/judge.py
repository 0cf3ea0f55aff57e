"""One call of a layer held to the oracle on its own arguments: what in its results is not what was due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnn_conformance.arithmetic import Arithmetic
from rnn_conformance.backend import Array, Policy
from rnn_conformance.budget import LAMBDA, Budget
from rnn_conformance.config import LayerConfig, numpy_dtype
from rnn_conformance.oracle import STATES, Inputs, Upstream, gradient_truth, truth_of, zero_beyond
from rnn_conformance.trace import Called, Differentiated


@dataclass(frozen=True)
class Wrong:
    """What is not as it was due."""

    array: str  # output, h_n, c_n, or what a gradient is by
    index: tuple[int, ...] = ()
    due: float = 0.0
    allowed: float = 0.0  # how far from it correct arithmetic may stray
    form: tuple[str, str] | None = None  # what is wrong in place of a number (shape, dtype, absence), and what was due


@dataclass(frozen=True)
class Judge:
    """Holds calls to the oracle, within the arithmetic that is declared or a house rule."""

    arithmetic: Arithmetic
    policy: Policy
    rtol: float | None = None
    atol: float | None = None

    def wrong(self, config: LayerConfig, call: Called) -> Wrong | None:
        """The first thing that is wrong with a call, if anything is that this can tell."""
        drops = config.dropouts() or (config.dropout and config.num_layers > 1)
        if call.raised or call.input is None or (call.training and drops):
            return None
        if isinstance(call, Differentiated):
            return self._wrong_gradient(config, call)
        inputs = inputs_of(config, call)
        state = call.state if isinstance(call.state, tuple) else (call.state,)
        found = {"output": call.output} | dict(zip(STATES, state, strict=False))
        steps, rows = inputs.input.shape[:2]
        shapes = {"output": (steps, rows, config.output_size)}
        shapes |= {name: (config.lanes, rows, size) for name, size in zip(STATES, config.state_sizes, strict=False)}
        if (ill := _ill_formed(found, shapes, config, call)) or not steps * rows:
            return ill
        if self.policy.padding == "undefined" and call.lengths is not None:
            output = zero_beyond(time_major(config, call, call.output), call.lengths)
            found["output"] = _own(config, call, "output", output)
        truth = truth_of(config, inputs, self.arithmetic)
        return None if truth.overflows else self._first(found, truth.budgets, config, call)

    def _wrong_gradient(self, config: LayerConfig, call: Differentiated) -> Wrong | None:
        if call.frozen or call.accumulate:
            return None
        inputs = inputs_of(config, call)
        d_state = call.d_state if isinstance(call.d_state, tuple) else (call.d_state,)
        upstream = Upstream(time_major(config, call, call.d_output), tuple(batched(call, part) for part in d_state))
        truth = gradient_truth(config, inputs, upstream, self.arithmetic)
        states = ("h_0", "c_0")[: 0 if inputs.hx is None else len(inputs.hx)]
        if lacking := sorted({"input", *states, *call.weights} - set(call.gradients)):
            return Wrong(lacking[0], form=("absence", "a gradient"))
        return None if truth.overflows else self._first(call.gradients, truth.budgets, config, call)

    def _first(
        self, found: Mapping[str, Any], budgets: Mapping[str, Budget], config: LayerConfig, call: Called
    ) -> Wrong | None:
        for name, actual in found.items():
            if name not in budgets:
                continue
            due, sigma = (_own(config, call, name, part) for part in (budgets[name].truth, budgets[name].sigma))
            if actual.shape != due.shape:
                return Wrong(name, form=("shape", repr(due.shape)))
            if actual.dtype != numpy_dtype(config.dtype):
                return Wrong(name, form=("dtype", config.dtype))
            house = self.rtol is not None or self.atol is not None
            allowed = (self.atol or 0.0) + (self.rtol or 0.0) * np.abs(due) if house else LAMBDA * sigma
            with np.errstate(invalid="ignore", over="ignore"):
                beyond = np.argwhere(~(np.abs(actual.astype(due.dtype) - due) <= allowed))
            if len(beyond):
                index = tuple(int(k) for k in beyond[0])
                return Wrong(name, index, float(due[index]), float(allowed[index]))
        return None


def _ill_formed(
    found: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], config: LayerConfig, call: Called
) -> Wrong | None:
    """The first result of another shape or dtype than is due."""
    for name, shape in shapes.items():
        actual, due = found.get(name), _own(config, call, name, np.empty(shape)).shape
        if not isinstance(actual, np.ndarray):
            return None
        if actual.shape != due:
            return Wrong(name, form=("shape", repr(due)))
        if actual.dtype != numpy_dtype(config.dtype):
            return Wrong(name, form=("dtype", config.dtype))
    return None


def inputs_of(config: LayerConfig, call: Called) -> Inputs:
    """The arguments of a call, time-major and batched."""
    parts = call.hx if isinstance(call.hx, tuple) else (call.hx,)
    hx = None if call.hx is None else tuple(batched(call, part) for part in parts)
    return Inputs(call.weights, time_major(config, call, call.input), hx, call.lengths)


def batched(call: Called, array: Any) -> Array:
    """A state with a batch axis."""
    given: Array = array[:, np.newaxis] if call.input is not None and call.input.ndim == 2 else array
    return given


def time_major(config: LayerConfig, call: Called, array: Any) -> Array:
    """Input or output with the steps first, and a batch axis."""
    if array.ndim == 2:
        return batched(call, array)
    given: Array = array.swapaxes(0, 1) if config.batch_first else array
    return given


def _own(config: LayerConfig, call: Called, name: str, array: Array) -> Array:
    """What is time-major and batched, in the form in which the layer gives it."""
    if name not in ("output", "input", *STATES, "h_0", "c_0"):
        return array
    if call.input is not None and call.input.ndim == 2:
        return array[:, 0]
    return array.swapaxes(0, 1) if config.batch_first and name in ("output", "input") else array
