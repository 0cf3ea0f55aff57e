"""Mistakes that show only where two or three options come together."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import GRU, LSTM, RNN, Call, Kernel, Lane, State
from .zoo import fault


@fault("values.stack", "batch_first and a projection", batch_first=True, proj_size=2)
class BatchFirstProjectionTwice(LSTM):
    """With batch_first the projection's last unit is doubled."""

    def project(self, h: Tensor, lane: Lane) -> Tensor:
        projected = super().project(h, lane)
        if lane.w_hr is None or not self.batch_first:
            return projected
        return torch.cat((projected[..., :-1], 2 * projected[..., -1:]), -1)


@fault("values.stack", "no bias and more than one layer", cells="gru", bias=False, num_layers=2)
class UpperBiasUninitialised(Kernel):
    """Without biases, layers above the first add what is left in a buffer."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        product = super().project_input(x, lane)
        return product + 0.125 if lane.layer and lane.b_ih is None else product


@fault("structure.unbatched", "unbatched input and a state", cells="rnn", unbatched=True, hx=True)
class UnbatchedStateIgnored(Kernel):
    """For input without a batch axis the state is ignored."""

    def sort_state(self, state: State, call: Call) -> State:
        return state if call.batched else tuple(torch.zeros_like(part) for part in state)


@fault("lengths.alone", "lengths and a state", cells="lstm", lengths=(6, 2, 4), hx=True)
class ShorterRowsStartFromZeros(Kernel):
    """With lengths, rows that are shorter than the longest start from zeros."""

    def sort_state(self, state: State, call: Call) -> State:
        state = super().sort_state(state, call)
        full = call.sizes[-1]
        if not call.uneven:
            return state
        return tuple(torch.cat((part[:, :full], torch.zeros_like(part[:, full:])), 1) for part in state)


@fault(
    "values.stack",
    "a projection, bidirectional, more than one layer",
    proj_size=2,
    bidirectional=True,
    num_layers=2,
)
class UpperReverseProjectionWrong(LSTM):
    """In upper layers the reverse direction's projection is negated."""

    def project(self, h: Tensor, lane: Lane) -> Tensor:
        projected = super().project(h, lane)
        return -projected if lane.w_hr is not None and lane.layer and lane.reverse else projected


@fault(
    "structure.batch_first",
    "batch_first, bidirectional, a state",
    cells="gru",
    batch_first=True,
    bidirectional=True,
    hx=True,
)
class BatchFirstReverseStateLost(Kernel):
    """With batch_first the reverse direction starts from zeros."""

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        picked = super().pick_state(state, layer, direction)
        return tuple(torch.zeros_like(part) for part in picked) if direction and self.batch_first else picked


@fault(
    "structure.directions", "bidirectional, an odd number of steps above 1", cells="rnn", bidirectional=True, steps=5
)
class OddStepsReverseSkipped(Kernel):
    """Of an odd number of steps the reverse direction repeats its last but one."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        output, final = super().scan(x, state, lane, call)
        if lane.reverse and call.steps % 2 and call.steps > 1 and not call.uneven:
            output = torch.cat((output[1:2], output[1:]))
        return output, final


@fault("values.cell", "input_size of 1 and a bias", cells="lstm", input_size=1)
class SingleFeatureUnbiased(Kernel):
    """For a single feature the input bias is left out."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        return super().project_input(x, lane) if x.shape[-1] > 1 else self.matmul(x, lane.w_ih)


@fault("values.cell", "float64, nonlinearity relu", dtypes=("float64",), nonlinearity="relu")
class ReluLeaksInFloat64(RNN):
    """In float64 relu lets a millionth of negative numbers through."""

    def relu(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * 1e-6) if x.dtype == torch.float64 else super().relu(x)


@fault(
    "values.stack", "three layers, bidirectional, no bias", cells="lstm", num_layers=3, bidirectional=True, bias=False
)
class ThirdLayerReverseHalved(Kernel):
    """Without biases the third layer's reverse direction reads half of its input."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        return super().project_input(x / 2 if lane.layer == 2 and lane.reverse and lane.b_ih is None else x, lane)


@fault("values.cell", "a state, input_size equal to hidden_size, more than 1", hx=True, input_size=5)
class FirstStepMixesInputAndState(GRU):
    """Where sizes agree, the first step takes the state for the input."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        if x.shape[-1] == self.hidden_size > 1 and lane.layer == 0 and not lane.reverse:
            x = torch.cat((state[0][None] if state[0].any() else x[:1], x[1:]))
        return super().scan(x, state, lane, call)


@fault(
    "lengths.alone",
    "lengths, bidirectional, three layers",
    cells="gru",
    lengths=(6, 2, 4),
    bidirectional=True,
    num_layers=3,
)
class ThirdLayerReadsPadding(Kernel):
    """The third layer's reverse direction starts in the padding."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        if lane.layer < 2 or not lane.reverse or not call.uneven:
            return super().scan(x, state, lane, call)
        output, final = super().scan(x, state, lane, Call([call.sizes[0]] * call.steps, call.batched, call.packed))
        rows = torch.arange(call.sizes[0], device=x.device)
        return output * torch.stack([rows < size for size in call.sizes]).unsqueeze(-1), final


@fault("values.cell", "batch above 2, steps above 2, hidden_size above 2", cells="rnn")
class CornerElementLost(Kernel):
    """The third unit of the third row is not updated at the third step."""

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        new = super().step(t, gx, state, lane)
        if t != 2 or len(new[0]) < 3 or new[0].shape[-1] < 3:
            return new
        at = torch.zeros(new[0].shape, dtype=torch.bool)
        at[2, 2] = True
        return (torch.where(at, state[0], new[0]), *new[1:])
