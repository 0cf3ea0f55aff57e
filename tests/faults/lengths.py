"""Mistakes with sequences of different lengths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .base import Call, Kernel, Lane, State
from .zoo import fault


@fault("lengths.alone", "uneven lengths", source="microsoft/onnxruntime#1400", cells="gru", lengths=(6, 2, 4))
class FinalStateFromLastPaddedStep(Kernel):
    """h_n is the output of the last step of the padded batch: zeros for shorter rows."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        output, final = super().scan(x, state, lane, call)
        return output, ((output[-1], *final[1:]) if call.uneven and not lane.reverse else final)


@fault("lengths.alone", "uneven lengths", source="speechbrain/speechbrain#501", lengths=(6, 2, 4))
class PaddingRead(Kernel):
    """Shorter rows go on through the padding."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        return super().scan(x, state, lane, Call([call.sizes[0]] * call.steps, call.batched, call.packed))


@fault(
    "lengths.alone",
    "uneven lengths, bidirectional",
    source="awslabs/sockeye#68",
    cells="rnn",
    bidirectional=True,
    lengths=(6, 2, 4),
)
class ReverseStartsInPadding(Kernel):
    """The reverse direction of shorter rows starts at the padded end."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        if not lane.reverse:
            return super().scan(x, state, lane, call)
        output, final = super().scan(x, state, lane, Call([call.sizes[0]] * call.steps, call.batched, call.packed))
        rows = torch.arange(call.sizes[0], device=x.device)
        running = torch.stack([rows < size for size in call.sizes]).unsqueeze(-1)
        return output * running, final


@fault("lengths.order", "lengths that are not in descending order", cells="lstm", lengths=(2, 6, 4))
class FinalStatesNotUnsorted(Kernel):
    """The final states stay in the order of the sorted lengths."""

    def unsort_state(self, state: State, call: Call) -> State:
        return state


@fault("lengths.order", "lengths that are not in descending order, a state", cells="gru", lengths=(2, 6, 4), hx=True)
class InitialStatesNotSorted(Kernel):
    """The initial states are not brought into the order of the sorted lengths."""

    def sort_state(self, state: State, call: Call) -> State:
        return state


@fault("lengths.order", "lengths whose order is not its own inverse", cells="rnn", lengths=(2, 6, 4))
class UnsortedTwiceSorted(Kernel):
    """The final states are sorted once more, not back."""

    def unsort_state(self, state: State, call: Call) -> State:
        order = None if call.packed is None else call.packed.sorted_indices
        return state if order is None else tuple(part.index_select(1, order) for part in state)


@fault("lengths.alone", "uneven lengths", cells="lstm", lengths=(6, 2, 4))
class LengthsOffByOne(Kernel):
    """Shorter rows take one step too many."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        sizes = [call.sizes[0], *call.sizes[:-1]]
        return super().scan(x, state, lane, Call(sizes, call.batched, call.packed))


@fault("lengths.alone", "lengths", cells="gru", lengths=(2, 6, 4))
class PackedOutputSorted(Kernel):
    """The packed output claims to be sorted already."""

    def leave(self, output: Tensor, final: State, call: Call) -> Any:
        result, state = super().leave(output, final, call)
        if call.packed is not None:
            result = torch.nn.utils.rnn.PackedSequence(result.data, result.batch_sizes)
        return result, state


@fault("lengths.full", "lengths that are all equal", cells="rnn", lengths=(6, 6, 6))
class EqualLengthsReversed(Kernel):
    """With equal lengths the forward direction runs backward."""

    def order(self, lane: Lane, call: Call) -> Iterable[int]:
        steps = list(super().order(lane, call))
        return steps[::-1] if call.packed is not None and not call.uneven else steps


@fault("lengths.alone", "lengths, packed input", cells="lstm", lengths=(6, 2, 4))
class PackedInGivesTensorOut(Kernel):
    """Packed input gives a padded tensor."""

    def leave(self, output: Tensor, final: State, call: Call) -> Any:
        result, state = super().leave(output, final, call)
        return (output if call.packed is not None else result), state


@fault("lengths.alone", "two rows of equal length, shorter than the longest", cells="lstm", lengths=(6, 3, 3), hx=True)
class TiesShareState(Kernel):
    """Where two rows end together before the last step, both get the state of the first."""

    def keep(self, new: Tensor, old: Tensor) -> Tensor:
        ended = len(old) - len(new)
        if ended < 2:
            return super().keep(new, old)
        return torch.cat((new, old[len(new) : len(new) + 1].expand(ended, -1)))


@fault("lengths.alone", "lengths of one row alone", cells="gru", lengths=(6,), batch=1, bidirectional=True)
class LonePackedRowRunsForward(Kernel):
    """A packed batch of one row runs forward in both directions."""

    def order(self, lane: Lane, call: Call) -> Iterable[int]:
        return range(call.steps) if call.packed is not None and call.sizes[0] == 1 else super().order(lane, call)


@fault("lengths.alone", "a length of one beside longer ones", cells="rnn", lengths=(6, 1, 4), hx=True)
class LengthOfOneKeepsState(Kernel):
    """A row of one step ends with its initial state."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        output, final = super().scan(x, state, lane, call)
        if not call.uneven or call.steps < 2:
            return output, final
        more = call.sizes[1]
        return output, tuple(torch.cat((new[:more], old[more:])) for new, old in zip(final, state, strict=True))


@fault(
    "lengths.alone",
    "lengths, batch_first, bidirectional, two layers, a state",
    cells="lstm",
    lengths=(6, 2, 4),
    hx=True,
    batch_first=True,
    bidirectional=True,
    num_layers=2,
)
class PackedUpperReverseFromZeros(Kernel):
    """With lengths and batch_first, the upper layer's reverse direction starts from h_0 of the forward one."""

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        uneven = self.__dict__.get("uneven") and self.batch_first and layer == 1
        return super().pick_state(state, layer, 0 if uneven else direction)

    def run(self, x: Tensor, state: State, call: Call) -> tuple[Tensor, State]:
        self.__dict__["uneven"] = call.uneven
        return super().run(x, state, call)
