"""A kernel that may be mistaken: the oracle's parts on one case, put together in any way.

A hypothesis takes the right kernel and gives a wrong one. Arrays lie as in `rnn_reference.stack`: sequences (steps,
runs, batch, features), states (lanes, runs, batch, features); the axis of runs is that of the error budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from inspect import signature
from typing import Any

import numpy as np
from rnn_reference.cells import Cell, State
from rnn_reference.directions import join
from rnn_reference.layout import Layout, groups_by_length, merged
from rnn_reference.stack import Stack, gru_stack, lstm_stack, order, rnn_stack

from rnn_conformance.config import LayerConfig
from rnn_conformance.diagnosis.operations import Operations, altered
from rnn_conformance.oracle import STATES, Inputs

Array = np.ndarray[Any, Any]
Results = dict[str, Array]
Lengths = Sequence[int] | None
TIME_MAJOR = Layout(unbatched=False, batch_first=False)


def in_order(part: Array, lane: str) -> Array:
    """Steps in the order in which the lane takes them, or back again."""
    return part[order(lane)]


def side_by_side(outputs: Sequence[Array], layer: int) -> Array:
    """The output of a layer: both directions' features, one after the other."""
    return np.concatenate(list(outputs), axis=-1)


@cache
def joining(merge_mode: str) -> Callable[[Sequence[Array], int], Array]:
    """What joins directions so; for one mode always the same function, by which kernels are told from one another."""
    return lambda outputs, layer: join(list(outputs), merge_mode)


def from_below(below: Array, raw: Array, layer: int) -> Array:
    """What a layer above the first is fed: the output of the layer below."""
    return below


def as_it_is(lane: str, x: Array, state: State, output: Array, final: State) -> tuple[Array, State]:
    """What a lane gives, of what it was given and has computed."""
    return output, final


def own(lane: str, lengths: Lengths) -> Lengths:
    """The lengths that a lane keeps to."""
    return lengths


@dataclass(frozen=True)
class Kernel:
    """What is computed, and of what."""

    config: LayerConfig
    right: Stack
    parameters: Mapping[str, Array]
    x: Array
    hx: State  # zeros where none is given
    lengths: Lengths
    with_hx: bool
    cell: Cell
    seen: Mapping[str, Array] = field(default_factory=dict)  # what the backend gave, time-major without runs
    enter: Callable[[Array, str], Array] = in_order
    exit: Callable[[Array, str], Array] = in_order
    join: Callable[[Sequence[Array], int], Array] = side_by_side
    feed: Callable[[Array, Array, int], Array] = from_below
    after: Callable[[str, Array, State, Array, State], tuple[Array, State]] = as_it_is
    keep_to: Callable[[str, Lengths], Lengths] = own
    operations: Operations = field(default_factory=dict)
    amount: float | None = None  # the number that a mistake was fitted with
    leave: tuple[Callable[[Kernel, Results], Results], ...] = ()  # changes of the results, one after another
    known: tuple[Kernel, Results] | None = None  # a kernel, and what it gives before such changes

    @property
    def stack(self) -> Stack:
        """The oracle's stack, of this cell."""
        return replace(self.right, cell=self.cell)

    @property
    def lanes(self) -> list[str]:
        """The names of the lanes, in the order of the states."""
        return self.stack.lanes

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.x)

    @property
    def rows(self) -> int:
        """The batch."""
        return int(self.x.shape[-2])

    def results(self) -> Results:
        """Output, h_n and, for an LSTM, c_n; of a kernel with gradients, these."""
        with np.errstate(all="ignore"):
            results = self.before_leave()
            for change in self.leave:
                results = change(self, results)
        return results

    def before_leave(self) -> Results:
        """The results before they are changed. Most mistaken kernels have them in common with the right one."""
        if self.known is not None and self.computes_as(self.known[0]):
            return dict(self.known[1])
        return self.run()

    def computes_as(self, other: Kernel) -> bool:
        """Whether nothing but the changes of results is different."""
        beside = ("leave", "known", "amount")
        return all(getattr(self, f.name) is getattr(other, f.name) for f in fields(self) if f.name not in beside)

    def remembering(self) -> Kernel:
        """The kernel, with what it gives."""
        with np.errstate(all="ignore"):
            return replace(self, known=(self, self.before_leave()))

    def run(self) -> Results:
        """The results, computed."""
        kernel = self.viewed(altered(type(self.x), self.operations)) if self.operations else self
        return {name: array.view(type(self.x)) for name, array in kernel._stacked().items()}

    def viewed(self, kind: type[Array]) -> Kernel:
        """The kernel on arrays of another class."""
        parameters = {name: array.view(kind) for name, array in self.parameters.items()}
        return replace(self, parameters=parameters, x=self.x.view(kind), hx=tuple(part.view(kind) for part in self.hx))

    def _stacked(self) -> Results:
        x, finals, stack = self.x, [], self.stack
        for layer in range(self.config.num_layers):
            fed = self.feed(x, self.x, layer) if layer else x
            outputs = []
            for k, lane in stack.lanes_of(layer):
                state = tuple(part[k] for part in self.hx)
                output, final = self.after(lane, fed, state, *self.scan(stack, fed, lane, state))
                outputs.append(output)
                finals.append(final)
            x = self.join(outputs, layer)
        parts = [np.stack(list(part)) for part in zip(*finals, strict=True)]
        return {"output": x} | dict(zip(STATES, parts, strict=False))

    def scan(self, stack: Stack, x: Array, lane: str, state: State) -> tuple[Array, State]:
        """One lane, each group of rows of one length as if the others were not there."""
        lengths = self.keep_to(lane, self.lengths)
        rows, outputs, finals = [], [], []
        for length, at in groups_by_length(lengths, x, TIME_MAJOR):
            before = tuple(part[..., at, :] for part in state)
            given = self.enter(x[:length, ..., at, :], lane)
            output, final, _ = stack.run_lane(given, self.parameters, lane, before, False)
            rows.append(at)
            outputs.append(self.exit(output, lane))
            finals.append(final)
        if lengths is None:
            return outputs[0], finals[0]
        output = merged(rows, outputs, len(x), x.shape[-2])
        final = tuple(
            merged(rows, [part[np.newaxis] for part in parts], 1, x.shape[-2])[0] for parts in zip(*finals, strict=True)
        )
        return output, final


def stack_of(config: LayerConfig, x: Array) -> Stack:
    """The oracle's stack of a config."""
    makers: dict[str, Callable[..., Stack]] = {"lstm": lstm_stack, "gru": gru_stack, "rnn": rnn_stack}
    make = makers[config.kind]
    names = list(signature(make).parameters)[1:]
    return make(x, **{name: getattr(config, name) for name in names})


def kernel_of(
    config: LayerConfig, inputs: Inputs, arrays: Mapping[str, Array], seen: Mapping[str, Array] | None = None
) -> Kernel:
    """The right kernel on arrays named by `oracle.arrays_of`."""
    x = arrays["input"]
    if inputs.hx is None:
        shape = (config.lanes, *x.shape[1:-1])
        hx = tuple(np.zeros_like(x, shape=(*shape, size)) for size in config.state_sizes)
    else:
        hx = tuple(arrays[f"hx{k}"] for k in range(len(inputs.hx)))
    parameters = {name: arrays[name] for name in inputs.parameters}
    right = stack_of(config, x)
    given = (config, right, parameters, x, hx, inputs.lengths, inputs.hx is not None, right.cell, dict(seen or {}))
    return Kernel(*given, join=joining(config.merge_mode))
