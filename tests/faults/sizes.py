"""Mistakes that show at certain sizes only: tails, tiles and coincidences."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .base import LSTM, Call, Kernel, Lane, State
from .zoo import fault


def tail_lost(h: Tensor, columns: int = 1) -> Tensor:
    """h with its last columns zeroed."""
    return torch.cat((h[..., :-columns], torch.zeros_like(h[..., -columns:])), -1)


@fault("edges.sizes", "hidden_size mod 8 is 1, above 1", cells="gru", hidden_size=9)
class TailOfOneLost(Kernel):
    """The last unit is not read by the recurrent product when hidden_size is 1 more than a multiple of 8."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        return super().project_state(tail_lost(h) if h.shape[-1] % 8 == 1 and h.shape[-1] > 1 else h, lane)


@fault("edges.sizes", "input_size not a multiple of 4, above 4", cells="rnn", input_size=6)
class InputTailLost(Kernel):
    """Columns of the input beyond a multiple of 4 are not read."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        rest = x.shape[-1] % 4
        return super().project_input(tail_lost(x, rest) if rest and x.shape[-1] > 4 else x, lane)


@fault("values.cell", "input_size equal to hidden_size, above 1", cells="lstm", input_size=5)
class SquareInputWeightsTransposed(Kernel):
    """Input weights are transposed when input_size equals hidden_size."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        if x.shape[-1] != self.hidden_size:
            return super().project_input(x, lane)
        w = torch.cat([gate.mT for gate in lane.w_ih.view(-1, self.hidden_size, x.shape[-1])])
        product = self.matmul(x, w)
        return product if lane.b_ih is None else product + lane.b_ih


@fault("edges.sizes", "hidden_size is 32", cells="gru", hidden_size=32)
class WrongAtThirtyTwo(Kernel):
    """At hidden_size 32 the first two units are swapped in the recurrent product."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        if h.shape[-1] == 32:
            h = torch.cat((h[..., 1:2], h[..., :1], h[..., 2:]), -1)
        return super().project_state(h, lane)


@fault("edges.sizes", "hidden_size above 64", source="microsoft/onnxruntime#4628", hidden_size=70)
class UnitsBeyondSixtyFourLost(Kernel):
    """Units beyond the 64th are not read by the recurrent product."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        return super().project_state(tail_lost(h, h.shape[-1] - 64) if h.shape[-1] > 64 else h, lane)


@fault("edges.sizes", "hidden_size is 128 or more", cells="rnn", hidden_size=130)
class TileOverlap(Kernel):
    """From 128 units on, the last column of the first tile is counted twice."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        product = super().project_state(h, lane)
        if h.shape[-1] >= 128:
            product = product + self.matmul(h[..., 63:64], lane.w_hh[:, 63:64])
        return product


@fault("edges.sizes", "batch above 16", cells="lstm", batch=20)
class RowsBeyondSixteenStale(Kernel):
    """Rows beyond the 16th keep their state for one step too long."""

    def after(self, taken: int, new: State) -> State:
        if taken or new[0].shape[0] <= 16:
            return new
        return tuple(torch.cat((part[:16], torch.zeros_like(part[16:]))) for part in new)


@fault(
    "values.stack",
    "input_size is directions times hidden_size, more than one layer",
    cells="gru",
    input_size=5,
    num_layers=2,
)
class SecondLayerReadsInput(Kernel):
    """When the sizes agree, the second layer is given the stack's input."""

    def run(self, x: Tensor, state: State, call: Call) -> tuple[Tensor, State]:
        self.raw = x
        return super().run(x, state, call)

    def drop(self, x: Tensor, layer: int) -> Tensor:
        return self.raw if layer == 0 and self.raw.shape == x.shape else super().drop(x, layer)


@fault("values.cell", "hidden_size of 1", cells="rnn", hidden_size=1, hx=True)
class SingleUnitBroadcast(Kernel):
    """A single unit starts every row from the mean of all rows."""

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        picked = super().pick_state(state, layer, direction)
        if self.hidden_size > 1:
            return picked
        return tuple(part.mean(0, keepdim=True).expand_as(part) for part in picked)


@fault("values.cell", "steps equal to batch, more than 1", cells="lstm", batch=6)
class StepsAndRowsConfused(Kernel):
    """When there are as many steps as rows, the input is transposed."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        product = super().project_input(x, lane)
        return product.transpose(0, 1) if lane.layer == 0 and x.shape[0] == x.shape[1] else product


@fault("edges.empty_batch", "an empty batch", cells="gru", batch=0)
class EmptyBatchBecomesOne(Kernel):
    """An empty batch is answered with one row of zeros."""

    def run(self, x: Tensor, state: State, call: Call) -> tuple[Tensor, State]:
        output, final = super().run(x, state, call)
        if output.shape[1]:
            return output, final
        return output.new_zeros(output.shape[0], 1, output.shape[2]), final


@fault("edges.sizes", "hidden_size mod 4 is 2, above 2", cells="rnn", hidden_size=6)
class PairBeyondFoursLost(Kernel):
    """Two units beyond a multiple of 4 are not read by the recurrent product; one or three are."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        return super().project_state(tail_lost(h, 2) if h.shape[-1] % 4 == 2 and h.shape[-1] > 2 else h, lane)


@fault("edges.sizes", "hidden_size is 100", cells="lstm", hidden_size=100, scale=0.3)
class WrongAtOneHundred(Kernel):
    """At hidden_size 100 the units beyond the 96th are not read."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        return super().project_state(tail_lost(h, 4) if h.shape[-1] == 100 else h, lane)


@fault("edges.sizes", "hidden_size from 10 to 14", cells="rnn", hidden_size=12)
class TwelveUnitsMisread(Kernel):
    """From 10 to 14 units the first two are swapped in the recurrent product."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        if 10 <= h.shape[-1] <= 14:
            h = torch.cat((h[..., 1:2], h[..., :1], h[..., 2:]), -1)
        return super().project_state(h, lane)


@fault("edges.sizes", "batch times hidden_size above 256", cells="gru", hidden_size=33, batch=9, scale=0.4)
class ThreadsBeyondTwoHundredFiftySix(Kernel):
    """One block of 256 threads computes: states of rows and units beyond that many are not updated."""

    def after(self, taken: int, new: State) -> State:
        h = new[0].reshape(-1)
        if h.numel() <= 256:
            return new
        return (torch.cat((h[:256], torch.zeros_like(h[256:]))).view_as(new[0]), *new[1:])


@fault("edges.sizes", "batch times hidden_size above 1024", cells="lstm", hidden_size=130, batch=9, scale=0.2)
class ThreadsBeyondOneThousand(LSTM):
    """One block of 1024 threads computes: the rest of the cell state stays as it is."""

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        h, c = super().step(t, gx, state, lane)
        flat = c.reshape(-1)
        if flat.numel() > 1024:
            c = torch.cat((flat[:1024], state[1].reshape(-1)[1024:])).view_as(c)
        return h, c


@fault("edges.sizes", "input_size mod 4 is 2, above 4", cells="gru", input_size=10)
class InputPairLost(Kernel):
    """Two features beyond a multiple of 4 are not read."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        rest = x.shape[-1] % 4 == 2 and x.shape[-1] > 4
        return super().project_input(tail_lost(x, 2) if rest else x, lane)


@fault("edges.sizes", "batch is 6 or 10", cells="rnn", batch=6)
class SixRowsShifted(Kernel):
    """With 6 or 10 rows the last two start from zeros."""

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        picked = super().pick_state(state, layer, direction)
        if len(picked[0]) not in (6, 10):
            return picked
        return tuple(torch.cat((part[:-2], torch.ones_like(part[-2:]))) for part in picked)


@fault("values.stack", "two steps", cells="lstm", steps=2, hx=True)
class TwoStepsFromOneState(LSTM):
    """Of exactly two steps the second starts from the initial cell state."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        self.start, self.two = state[1], call.steps == 2
        return super().scan(x, state, lane, call)

    def after(self, taken: int, new: State) -> State:
        return (new[0], self.start[: len(new[1])]) if self.two and taken == 0 else new


@fault("values.stack", "bidirectional, steps mod 4 is 2, above 2", cells="gru", steps=6, bidirectional=True)
class ReverseUnrolledByFour(Kernel):
    """Steps beyond a multiple of 4 run in forward order in the reverse direction, where two of them remain."""

    def order(self, lane: Lane, call: Call) -> Iterable[int]:
        steps = list(super().order(lane, call))
        if lane.reverse and call.steps % 4 == 2 and call.steps > 2 and not call.uneven:
            steps[-2:] = steps[:-3:-1]
        return steps
