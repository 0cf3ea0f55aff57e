"""Controls: correct kernels, each of which computes in a way of its own. None may be accused."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .base import GRU, LSTM, Around, Call, Kernel, Lane, State
from .zoo import control

HALF = (torch.bfloat16, torch.float16)


def wide(x: Tensor) -> Tensor:
    """Numbers in the dtype in which sums of them are kept."""
    return x.float() if x.dtype in HALF else x


@control()
class TorchItself(Around):
    """torch.nn's own kernel, called as a drop-in."""


@control()
class Plain(Kernel):
    """One step after another, with the inputs' products computed beforehand."""


@control()
class SequentialSums(Kernel):
    """Every product is summed from the first term to the last."""

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        total = torch.zeros(*x.shape[:-1], w.shape[0], dtype=wide(x[:0]).dtype)
        for k in range(w.shape[1]):
            total = total + wide(x[..., k, None]) * wide(w[:, k])
        return total.to(x.dtype)


@control()
class BackwardSums(Kernel):
    """Every product is summed in blocks of eight, from the last block to the first."""

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        total = torch.zeros(*x.shape[:-1], w.shape[0], dtype=wide(x[:0]).dtype)
        for k in range((w.shape[1] - 1) // 8 * 8, -1, -8):
            total = total + wide(x[..., k : k + 8]) @ wide(w[:, k : k + 8]).mT
        return total.to(x.dtype)


@control()
class BiasesFused(Kernel):
    """Both biases are added up first, but for a GRU's candidate."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        product = self.matmul(x, lane.w_ih)
        if lane.b_ih is None or lane.b_hh is None:
            return product
        if self.mode != "GRU":
            return product + (lane.b_ih + lane.b_hh)
        gates = 2 * self.hidden_size
        return product + torch.cat((lane.b_ih[:gates] + lane.b_hh[:gates], lane.b_ih[gates:]))

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        product = self.matmul(h, lane.w_hh)
        if lane.b_hh is None or self.mode != "GRU":
            return product
        gates = 2 * self.hidden_size
        return product + torch.cat((torch.zeros_like(lane.b_hh[:gates]), lane.b_hh[gates:]))


@control()
class ProductsStepByStep(Kernel):
    """The input's product is computed at its own step, one row of the batch after another."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        return torch.stack([super(ProductsStepByStep, self).project_input(step, lane) for step in x])

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        return torch.stack([super(ProductsStepByStep, self).matmul(row, w) for row in x]) if len(x) else x @ w.mT


@control(cells="lstm rnn")
class InputAndStateTogether(Kernel):
    """Input and state are one vector, with one product for both."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        return x

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        return h

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        both = self.matmul(torch.cat((gx, state[0]), -1), torch.cat((lane.w_ih, lane.w_hh), -1))
        if lane.b_ih is not None and lane.b_hh is not None:
            both = both + lane.b_ih + lane.b_hh
        first = torch.zeros_like(both)
        bare = Lane(lane.layer, lane.reverse, lane.w_ih, lane.w_hh, None, None, lane.w_hr)
        return super().step(t, both, (first, *state[1:]), bare)


@control()
class WiderInside(Kernel):
    """All of a half layer is computed in float32 and all of a float32 layer in float64; only results are rounded."""

    def run(self, x: Tensor, state: State, call: Call) -> tuple[Tensor, State]:
        dtype = torch.float32 if x.dtype in HALF else torch.float64
        output, final = super().run(x.to(dtype), tuple(part.to(dtype) for part in state), call)
        return output.to(x.dtype), tuple(part.to(x.dtype) for part in final)

    def lane(self, layer: int, direction: int) -> Lane:
        own = super().lane(layer, direction)
        dtype = torch.float32 if own.w_hh.dtype in HALF else torch.float64
        return own.changed(lambda part: part.to(dtype))


@control()
class ActivationsWithinTwoUnits(Kernel):
    """Activations are off by up to two units in the last place, up and down by turns, as vendors' libraries promise."""

    def sigmoid(self, x: Tensor) -> Tensor:
        return self.off(super().sigmoid(x))

    def tanh(self, x: Tensor) -> Tensor:
        return self.off(super().tanh(x))

    def off(self, y: Tensor) -> Tensor:
        """y times 1 - ulp, 1 or 1 + ulp; within [-1, 1]."""
        turn = torch.arange(y.numel(), device=y.device).reshape(y.shape) % 3 - 1
        return (y * (1 + turn.to(y.dtype) * torch.finfo(y.dtype).eps)).clamp(-1, 1)


@control()
class ActivationsByExp(Kernel):
    """Sigmoid is 1 / (1 + exp(-x)), and tanh is -expm1(-2|x|) / (2 + expm1(-2|x|)) with the sign of x."""

    def sigmoid(self, x: Tensor) -> Tensor:
        return (1 / (1 + (-wide(x)).exp())).to(x.dtype)

    def tanh(self, x: Tensor) -> Tensor:
        e = torch.expm1(-2 * wide(x).abs())
        return torch.copysign(-e / (2 + e), wide(x)).to(x.dtype)


@control()
class BatchMajorInside(Kernel):
    """Inside, rows come first and steps second, whatever the caller's layout."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        output, final = super().scan(x.transpose(0, 1).contiguous().transpose(0, 1), state, lane, call)
        return output.transpose(0, 1).contiguous().transpose(0, 1), final


@control(cells="lstm")
class UpdatesByFusedMultiplyAdd(LSTM):
    """The cell state is updated with one rounding where two are usual, and its sums go the other way around."""

    def combine(self, i: Tensor, f: Tensor, g: Tensor, c: Tensor) -> Tensor:
        dtype = torch.float32 if c.dtype in HALF else torch.float64
        return torch.addcmul(i.to(dtype) * g.to(dtype), f.to(dtype), c.to(dtype)).to(c.dtype)


@control(cells="gru")
class UpdatesFromTheCandidate(GRU):
    """The new state is n + z (h - n), which is the same but for rounding."""

    def mix(self, z: Tensor, n: Tensor, h: Tensor) -> Tensor:
        return n + z * (h - n)


@control()
class PooledResults(Around):
    """Results lie in pooled memory, which is taken again only when nobody holds it any more."""

    pool: ClassVar[dict[Any, list[np.ndarray[Any, Any]]]] = {}

    def behind(self, output: Any, state: Any) -> Any:
        if isinstance(output, Tensor) and not output.requires_grad and output.dtype not in HALF:
            output = self.pooled(output)
        return output, state

    def pooled(self, value: Tensor) -> Tensor:
        """The value in memory of its shape that only the pool refers to."""
        blocks = self.pool.setdefault((value.shape, value.dtype), [])
        alone = sys.getrefcount(np.empty(0)) + 2  # the list, and the loop's name
        block = next((block for block in blocks if sys.getrefcount(block) <= alone), None)
        if block is None:
            block = np.empty(tuple(value.shape), str(value.dtype).removeprefix("torch."))
            blocks.append(block)
        return torch.from_numpy(block).copy_(value)
