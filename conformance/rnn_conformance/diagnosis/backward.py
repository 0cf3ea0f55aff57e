"""A kernel whose gradients may be mistaken: the oracle's backward pass, taken apart into steps.

The equations are the oracle's own; here is only what lies between steps, lanes and layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any

import numpy as np
from rnn_reference.cells import State
from rnn_reference.directions import join_backward
from rnn_reference.gradients import lane_gradients
from rnn_reference.layout import groups_by_length, merged, part_of
from rnn_reference.stack import Stack, order

from rnn_conformance.diagnosis.kernel import TIME_MAJOR, Kernel, Results

Array = np.ndarray[Any, Any]
Trace = Mapping[str, Mapping[str, Array]]
Cut = Callable[[str, int, int, State], State]


def handed_on(lane: str, taken: int, steps: int, d_state: State) -> State:
    """The gradient by the state after a step, as the step has it: `taken` of the lane's steps lie before it."""
    return d_state


def handed_down(lane: str, d_input: Array) -> Array:
    """The gradient by a lane's input, as the layer below has it."""
    return d_input


def summed(name: str, by_step: Sequence[Array]) -> Array:
    """The gradient by a parameter of what each step, in the lane's order, adds to it."""
    return reduce(np.add, by_step)


@dataclass(frozen=True)
class Backward(Kernel):
    """A kernel with the gradients of a scalar by its results."""

    d_output: Array | None = None
    d_state: State = ()
    behind: Mapping[str, Array] | None = None  # parameters that the backward pass uses in place of the forward pass's
    cut: Cut = handed_on
    down: Callable[[str, Array], Array] = handed_down
    sum: Callable[[str, Sequence[Array]], Array] = summed

    def viewed(self, kind: type[Array]) -> Backward:
        """The kernel on arrays of another class."""
        viewed = super().viewed(kind)
        assert isinstance(viewed, Backward)
        assert self.d_output is not None
        behind = self.behind and {name: array.view(kind) for name, array in self.behind.items()}
        d_state = tuple(part.view(kind) for part in self.d_state)
        return replace(viewed, d_output=self.d_output.view(kind), d_state=d_state, behind=behind)

    def run(self) -> Results:
        """The gradients by name: the input's and, where one is given, the state's, and every parameter's."""
        assert self.d_output is not None
        groups = groups_by_length(self.lengths, self.x, TIME_MAJOR)
        found = [self._layers(group) for group in groups]
        d_xs, d_states, by_parameter = zip(*found, strict=True)
        rows = [at for _, at in groups]
        results = {"input": merged(rows, d_xs, self.steps, self.rows)}
        if self.with_hx:
            for name, parts in zip(("h_0", "c_0"), zip(*d_states, strict=True), strict=False):
                results[name] = merged(rows, parts, len(self.lanes), self.rows)
        for name in self.parameters:
            results[name] = reduce(np.add, (part[name] for part in by_parameter))
        return results

    def _layers(self, group: Any) -> tuple[Array, State, dict[str, Array]]:
        assert self.d_output is not None
        stack, (x, hx, _) = self.stack, part_of(group, self.x, self.hx)
        d_output, d_final, _ = part_of(group, self.d_output, self.d_state)
        trace = stack.run_layers(x, hx, None, self.parameters, True)[2]
        gradients: dict[str, Array] = {}
        d_states: dict[int, State] = {}
        for layer in reversed(range(self.config.num_layers)):
            d_inputs = []
            lanes = stack.lanes_of(layer)
            d_hs = join_backward(d_output, [trace[lane].get("h", d_output) for _, lane in lanes], stack.merge_mode)
            for (k, lane), d_h in zip(lanes, d_hs, strict=True):
                before, after = tuple(s[k] for s in hx), tuple(s[k] for s in d_final)
                d_input, d_states[k], found = self._lane(stack, lane, trace, before, d_h[order(lane)], after)
                d_inputs.append(self.down(lane, d_input[order(lane)]))
                gradients |= found
            d_output = reduce(np.add, d_inputs)
        parts = zip(*(d_states[k] for k in range(len(self.lanes))), strict=True)
        return d_output, tuple(np.stack(part) for part in parts), gradients

    def _lane(
        self, stack: Stack, lane: str, trace: Trace, state: State, d_output: Array, d_state: State
    ) -> tuple[Array, State, dict[str, Array]]:
        left = {name: values[order(lane)] for name, values in trace[lane].items()}
        parameters = self.parameters if self.behind is None else self.behind
        if self.cut is handed_on and self.sum is summed:
            return lane_gradients(stack, parameters, lane, state, left, d_output, d_state)
        steps = len(d_output)
        d_inputs: list[Array] = []
        by_step: list[dict[str, Array]] = []
        for t in reversed(range(steps)):
            before = state if t == 0 else tuple(left[name][t - 1] for name in "hc"[: len(state)])
            at_t = {name: values[t : t + 1] for name, values in left.items()}
            d_new = self.cut(lane, t, steps, d_state) if t < steps - 1 else d_state
            d_input, d_state, found = lane_gradients(stack, parameters, lane, before, at_t, d_output[t : t + 1], d_new)
            d_inputs.append(d_input)
            by_step.append(found)
        d_state = self.cut(lane, -1, steps, d_state)
        gradients = {name: self.sum(name, [found[name] for found in by_step[::-1]]) for name in by_step[0]}
        return np.concatenate(d_inputs[::-1]), d_state, gradients


def differentiated(kernel: Kernel, d_output: Array, d_state: State) -> Backward:
    """The kernel with the gradients of a scalar by its results."""
    own = {field.name: getattr(kernel, field.name) for field in fields(kernel)}
    return Backward(**own, d_output=d_output, d_state=d_state)


def gradients_alone(kernel: Backward, **changed: Any) -> Results:
    """The gradients of a kernel with some fields changed, without what was done to its results."""
    found: Results = replace(kernel, leave=(), **changed).results()
    return found
