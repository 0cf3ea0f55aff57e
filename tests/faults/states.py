"""Mistakes with initial and final states."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import LSTM, Call, Kernel, Lane, State
from .zoo import fault


@fault("values.stack", "a state, bidirectional", cells="gru", bidirectional=True, hx=True)
class ReverseStateIgnored(Kernel):
    """The reverse direction starts from zeros."""

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        picked = super().pick_state(state, layer, direction)
        return tuple(torch.zeros_like(part) for part in picked) if direction else picked


@fault("values.cell", "a state", hx=True)
class StateIgnored(Kernel):
    """Every layer starts from zeros."""

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        return tuple(torch.zeros_like(part) for part in super().pick_state(state, layer, direction))


@fault("values.cell", "a state", source="onnx/onnx-tensorflow#408", hx=True)
class CellStateIgnored(LSTM):
    """c_0 is taken as zero."""

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        h, c = super().pick_state(state, layer, direction)
        return h, torch.zeros_like(c)


@fault("values.stack", "a state, more than one layer", cells="rnn", hx=True, num_layers=2)
class FirstStateForAllLayers(Kernel):
    """Every layer starts from the first layer's state."""

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        return super().pick_state(state, 0, direction)


@fault(
    "values.stack",
    "a state, bidirectional, more than one layer",
    cells="lstm",
    bidirectional=True,
    num_layers=2,
    hx=True,
)
class StatesOrderedByDirection(Kernel):
    """The states are taken as all forward lanes and then all reverse ones."""

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        return tuple(part[direction * self.num_layers + layer] for part in state)


@fault("values.stack", "bidirectional, more than one layer", cells="gru", bidirectional=True, num_layers=2)
class FinalStatesOrderedByDirection(Kernel):
    """The final states come as all forward lanes and then all reverse ones."""

    def gather(self, finals: Sequence[State]) -> State:
        return super().gather([*finals[:: self.directions], *(finals[1::2] if self.bidirectional else [])])


@fault("values.cell", "no projection")
class HiddenAndCellSwapped(LSTM):
    """h_n and c_n are returned in the other order."""

    def gather(self, finals: Sequence[State]) -> State:
        h, c = super().gather(finals)
        return (h, c) if h.shape != c.shape else (c, h)


@fault("values.default_state", "no state")
class DefaultStateOfTenths(Kernel):
    """A state that is left out is taken as a tenth, not zero."""

    def default_state(self, x: Tensor) -> State:
        return tuple(part + 0.1 for part in super().default_state(x))


@fault("purity.calls", "no state, a second call", source="alibaba/MNN#4447", cells="rnn", probe="calls")
class DefaultStateCarriedOver(Kernel):
    """A state that is left out is that of the call before, where it fits."""

    def default_state(self, x: Tensor) -> State:
        state = super().default_state(x)
        kept = getattr(self, "kept", None)
        return kept if kept is not None and kept[0].shape == state[0].shape else state

    def gather(self, finals: Sequence[State]) -> State:
        state = super().gather(finals)
        self.kept = tuple(part.detach().clone() for part in state)
        return state


@fault(
    "structure.directions",
    "bidirectional, more than one step",
    source="yalesong/pvse#13",
    cells="lstm",
    bidirectional=True,
)
class ReverseFinalStateFromLastStep(Kernel):
    """The reverse direction's h_n is its output at the last step, not at the first."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        output, final = super().scan(x, state, lane, call)
        return output, ((output[-1], *final[1:]) if lane.reverse and not call.uneven else final)


@fault("values.final_state", "more than one step", cells="gru")
class FinalStateOneStepEarly(Kernel):
    """h_n is the output of the last step but one."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        output, final = super().scan(x, state, lane, call)
        if call.steps > 1 and not lane.reverse and not call.uneven:
            return output, (output[-2], *final[1:])
        return output, final


@fault("values.stack", "more than one layer", cells="rnn", num_layers=2)
class TopStateForAllLayers(Kernel):
    """The final state of every layer is that of the last."""

    def gather(self, finals: Sequence[State]) -> State:
        return super().gather([*finals[-self.directions :]] * self.num_layers)


@fault("values.stack", "bidirectional", source="tflearn/tflearn#522", cells="gru", bidirectional=True)
class ForwardFinalStateTwice(Kernel):
    """The reverse direction's final state is the forward direction's."""

    def gather(self, finals: Sequence[State]) -> State:
        return super().gather([finals[k - k % self.directions] for k in range(len(finals))])


@fault("special.zeros", "h_0 of zeros, c_0 not", zero_state=0, hx=True)
class ZeroHiddenIsNoState(LSTM):
    """An h_0 of zeros is taken for a state that was not given, and c_0 is dropped."""

    def sort_state(self, state: State, call: Call) -> State:
        h, c = super().sort_state(state, call)
        return (h, c) if h.any() else (h, torch.zeros_like(c))


@fault("values.stack", "initial states beyond 8", cells="gru rnn", state_scale=40.0, hx=True)
class StatesClampedAtEight(Kernel):
    """Initial states are clamped to plus and minus 8."""

    def sort_state(self, state: State, call: Call) -> State:
        return tuple(part.clamp(-8, 8) for part in super().sort_state(state, call))


@fault("edges.long", "cell states beyond 30", state_scale=40.0, hx=True)
class CellStatesWrapAtThirty(LSTM):
    """The cell state is clamped to plus and minus 30."""

    def combine(self, i: Tensor, f: Tensor, g: Tensor, c: Tensor) -> Tensor:
        return super().combine(i, f, g, c).clamp(-30, 30)
