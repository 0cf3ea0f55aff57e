"""Mistakes with rows, batch_first and steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .base import Call, Kernel, Lane, State
from .zoo import fault


@fault(
    "structure.batch_first",
    "batch_first, steps equal to batch",
    source="pytorch/pytorch#80597",
    cells="lstm",
    batch_first=True,
    batch=6,
)
class SquareInputNotTransposed(Kernel):
    """With batch_first, an input of as many steps as rows is not transposed back on output."""

    def leave(self, output: Tensor, final: State, call: Call) -> Any:
        result, state = super().leave(output, final, call)
        square = call.packed is None and call.batched and output.shape[0] == output.shape[1]
        return (output if square and self.batch_first else result), state


@fault(
    "structure.batch_first",
    "batch_first, lanes equal to batch",
    cells="gru",
    batch_first=True,
    bidirectional=True,
    batch=2,
    hx=True,
)
class BatchFirstTransposesStates(Kernel):
    """With batch_first, a state of as many lanes as rows is transposed."""

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        square = self.batch_first and state[0].shape[0] == state[0].shape[1]
        return super().pick_state(tuple(p.transpose(0, 1) for p in state) if square else state, layer, direction)


@fault("structure.batch_rows", "more than one row")
class RowsCoupled(Kernel):
    """A ten-thousandth of each row's state leaks into the next row."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        return super().project_state(h + 1e-4 * h.roll(1, 0) if len(h) > 1 else h, lane)


@fault("steps.causality", "more than one step, not bidirectional", cells="rnn")
class FutureLeaks(Kernel):
    """A ten-thousandth of the next step's input leaks into each step."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        return super().project_input(x + 1e-4 * torch.cat((x[1:], torch.zeros_like(x[:1]))), lane)


@fault("values.cell", "more than one row", cells="lstm", hx=True)
class StateOfFirstRowForAll(Kernel):
    """Every row starts from the first row's state."""

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        picked = super().pick_state(state, layer, direction)
        return tuple(part[:1].expand_as(part) for part in picked)


@fault("values.cell", "more than 4 rows", source="triton-inference-server/server#808", cells="gru", batch=6)
class FifthRowWrong(Kernel):
    """Rows beyond the fourth are computed from the fourth's input."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        if x.shape[1] > 4:
            x = torch.cat((x[:, :4], x[:, 3:4].expand(-1, x.shape[1] - 4, -1)), 1)
        return super().project_input(x, lane)


@fault("values.cell", "more than one step", cells="rnn")
class StepsOffByOne(Kernel):
    """Each step is given the input of the step before."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        return super().project_input(torch.cat((x[:1], x[:-1])), lane)


@fault("values.cell", "more than one step", cells="lstm")
class LastStepSkipped(Kernel):
    """The last step repeats the output of the one before."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        output, final = super().scan(x, state, lane, call)
        if call.steps > 1 and not call.uneven and not lane.reverse:
            output = torch.cat((output[:-1], output[-2:-1]))
        return output, final


@fault(
    "structure.unbatched",
    "unbatched input, more than one layer or bidirectional",
    cells="gru",
    unbatched=True,
    num_layers=2,
)
class UnbatchedStateReversed(Kernel):
    """For input without a batch axis the lanes of h_n come in reverse order."""

    def leave(self, output: Tensor, final: State, call: Call) -> Any:
        return super().leave(output, final if call.batched else tuple(p.flip(0) for p in final), call)


@fault("values.cell", "batch equal to hidden_size, more than 1", cells="rnn", batch=5, hx=True)
class SquareStateTransposed(Kernel):
    """A state of as many rows as units is transposed."""

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        return tuple(p.mT if p.shape[0] == p.shape[1] else p for p in super().pick_state(state, layer, direction))


@fault("edges.long", "more than 32 steps", cells="lstm", steps=40)
class DecayAfterThirtyTwoSteps(Kernel):
    """After step 32 the state decays by a thousandth at each step."""

    def after(self, taken: int, new: State) -> State:
        return (new[0] * 0.999, *new[1:]) if taken >= 32 else new


@fault("edges.long", "more than 16 steps", cells="gru", steps=20)
class StateResetAfterSixteenSteps(Kernel):
    """At step 16 the state starts again from zeros."""

    def after(self, taken: int, new: State) -> State:
        return tuple(torch.zeros_like(part) for part in new) if taken == 16 else new


@fault("steps.stepwise", "a single step and a state", cells="rnn", steps=1, hx=True)
class SingleStepForgetsState(Kernel):
    """A sequence of one step starts from zeros."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        if call.steps == 1:
            state = tuple(torch.zeros_like(part) for part in state)
        return super().scan(x, state, lane, call)


@fault("edges.long", "more than 64 steps", cells="lstm", steps=70)
class StepsBeyondSixtyFourInPairs(Kernel):
    """Beyond step 64 pairs of steps are taken in the wrong order."""

    def order(self, lane: Lane, call: Call) -> Iterable[int]:
        steps = list(super().order(lane, call))
        if not call.uneven and len(steps) > 65:
            steps[64], steps[65] = steps[65], steps[64]
        return steps


@fault(
    "structure.unbatched",
    "unbatched, bidirectional, three layers",
    cells="gru",
    unbatched=True,
    bidirectional=True,
    num_layers=3,
)
class UnbatchedThirdLayerReverse(Kernel):
    """Without a batch axis the third layer's reverse direction runs forward."""

    def order(self, lane: Lane, call: Call) -> Iterable[int]:
        wrong = not call.batched and lane.layer == 2
        return range(call.steps) if wrong else super().order(lane, call)


@fault("values.stack", "batch_first, unbatched", cells="lstm", batch_first=True, unbatched=True)
class UnbatchedBatchFirstReversed(Kernel):
    """With batch_first, input without a batch axis is read from its end."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        flip = self.batch_first and not self.__dict__["batched"] and not lane.layer
        return super().project_input(x.flip(0) if flip else x, lane)

    def enter(self, input: Any, hx: Any) -> Any:
        found = super().enter(input, hx)
        self.__dict__["batched"] = found[2].batched
        return found


@fault("layout.state", "rows of equal input", cells="gru", probe="expanded", hx=True)
class EqualRowsComputedOnce(Kernel):
    """Rows of equal input are computed once, from the state of the first of them."""

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        picked = super().pick_state(state, layer, direction)
        if not self.__dict__["same"]:
            return picked
        return tuple(part[:1].expand_as(part) for part in picked)

    def run(self, x: Tensor, state: State, call: Call) -> tuple[Tensor, State]:
        self.__dict__["same"] = x.shape[1] > 1 and not call.uneven and bool((x == x[:, :1]).all())
        return super().run(x, state, call)
