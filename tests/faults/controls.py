"""Controls: correct kernels, each of which computes in a way of its own. None may be accused."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.checkpoint import checkpoint

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
    """The input's product is computed at its own step, one row of the batch after another, added up in a wider type."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        return torch.stack([super(ProductsStepByStep, self).project_input(step, lane) for step in x])

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        if not len(x):
            return x @ w.mT
        wider = wide(w)  # in which the gradients of the rows meet too: in bfloat16 the 257th of them would be lost
        return torch.stack([super(ProductsStepByStep, self).matmul(wide(row), wider) for row in x]).to(x.dtype)


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
    """Sigmoid is 1 or exp(x) by 1 + exp(-|x|), whichever does not overflow, and tanh is expm1(2x) / (2 + expm1(2x))."""

    def sigmoid(self, x: Tensor) -> Tensor:
        above = wide(x) >= 0
        small = torch.where(above, -wide(x), wide(x)).exp()  # whose slope at 0 is not lost, as that of |x| is
        return (torch.where(above, 1, small) / (1 + small)).to(x.dtype)

    def tanh(self, x: Tensor) -> Tensor:
        e = torch.expm1(2 * wide(x).clamp(max=20))  # beyond which tanh is 1 in every dtype
        return (e / (2 + e)).to(x.dtype)


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


@control()
class GatesInterleaved(Kernel):
    """Inside, the gates of a unit lie next to each other, and are put back in order after each product."""

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        gates = w.shape[0] // self.hidden_size if w.shape[0] % self.hidden_size == 0 else 1
        woven = w.view(gates, -1, w.shape[1]).transpose(0, 1).reshape(w.shape)
        product = super().matmul(x, woven)
        return product.view(*x.shape[:-1], w.shape[0] // gates, gates).transpose(-1, -2).reshape(product.shape)


@control()
class TanhBySigmoid(Kernel):
    """Where it is not near its argument, tanh is 2 sigmoid(2x) - 1, in a wider type and rounded once."""

    def tanh(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float64:
            return super().tanh(x)
        return torch.where(x.abs() < 2**-12, x, (2 * torch.sigmoid(2 * x.double()) - 1).to(x.dtype))


@control()
class SigmoidByTanh(Kernel):
    """Sigmoid is 1/2 + 1/2 tanh(x/2), whose error is one of numbers near 1 where it is near 0."""

    def sigmoid(self, x: Tensor) -> Tensor:
        return (0.5 + 0.5 * (0.5 * wide(x)).tanh()).to(x.dtype)


@control()
class ByEinsum(Kernel):
    """Products are Einstein sums over axes in another order, whose results are not contiguous."""

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        return torch.einsum("...k,gk->g...", x, w).movedim(0, -1)


@control()
class ResultsWithinFrames(Around):
    """Results are views of larger arrays, with gaps, fresh for each call."""

    def behind(self, output: Any, state: Any) -> Any:
        output = output if isinstance(output, PackedSequence) else self.framed(output)
        return output, tuple(map(self.framed, state)) if isinstance(state, tuple) else self.framed(state)

    def framed(self, x: Tensor) -> Tensor:
        """The same numbers with a number in between."""
        return torch.stack((x, x.detach() * 0 + 7), -1)[..., 0]


@control()
class Recomputed(Kernel):
    """Nothing is kept for the backward pass, which computes every step again."""

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        if not torch.is_grad_enabled():
            return super().step(t, gx, state, lane)
        again = super().step
        return checkpoint(lambda gx, *state: again(t, gx, state, lane), gx, *state, use_reentrant=False)  # type: ignore[no-any-return]


class _Product(torch.autograd.Function):
    """A product with a backward of its own, which sums the gradient of the weights row by row, from the last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w.mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, w = ctx.saved_tensors
        by_x = gradient @ w if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return by_x, None
        by_w = torch.zeros(w.shape, dtype=wide(w[:0]).dtype)
        for g, row in zip(gradient.flatten(0, -2).flip(0), x.flatten(0, -2).flip(0), strict=True):
            by_w = by_w + wide(g)[:, None] * wide(row)
        return by_x, by_w.to(w.dtype)


@control()
class BackwardByHand(Kernel):
    """Products have a handwritten backward, which adds up in another order."""

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        return _Product.apply(x, w)  # type: ignore[no-untyped-call,no-any-return]


@control()
class RowsByVmap(Kernel):
    """Each step is written for one row, and vectorised over the batch."""

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        if not len(gx):
            return super().step(t, gx, state, lane)
        one = super().step
        return torch.vmap(lambda gx, *state: one(t, gx, state, lane))(gx, *state)


@control()
class RowsApart(Around):
    """Each row of a batch is a call of its own."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        axis = 0 if self.batch_first else 1
        plain = isinstance(input, Tensor) and input.dim() == 3 and input.shape[axis] > 1 and not self.training
        parts = hx if isinstance(hx, tuple) else (hx,)
        if not plain or (hx is not None and any(p.dim() != 3 or p.shape[1] != input.shape[axis] for p in parts)):
            return super().forward(input, hx)
        calls = []
        for k, row in enumerate(input.split(1, axis)):
            own = tuple(part[:, k : k + 1].contiguous() for part in parts) if hx is not None else ()
            calls.append(super().forward(row, (own if isinstance(hx, tuple) else own[0]) if own else None))
        outputs, states = zip(*calls, strict=True)
        if isinstance(states[0], tuple):
            return torch.cat(outputs, axis), tuple(torch.cat(some, 1) for some in zip(*states, strict=True))
        return torch.cat(outputs, axis), torch.cat(states, 1)


@control()
class FirstStepWithoutRecurrence(Kernel):
    """Where no state is given, and no gradient wanted, the first step leaves the recurrent product out."""

    def default_state(self, x: Tensor) -> State:
        return tuple(part[:1, :1, :1].expand(part.shape) for part in super().default_state(x))  # told by its strides

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        if torch.is_grad_enabled() or h.numel() < 2 or any(h.stride()) or h.any():
            return super().project_state(h, lane)
        zeros = h.new_zeros(len(h), len(lane.w_hh))
        return zeros if lane.b_hh is None else zeros + lane.b_hh


@control()
class CellsOneByOne(Kernel):
    """Each step is torch.nn's own cell function."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        return x

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        weights = (lane.w_ih, lane.w_hh, lane.b_ih, lane.b_hh)
        if lane.w_hr is not None:  # for which it has none
            return super().step(t, super().project_input(gx, lane), state, lane)
        if self.mode == "LSTM":
            h, c = torch._VF.lstm_cell(gx, state, *weights)  # type: ignore[attr-defined]
            return h, c
        cell = {"GRU": "gru_cell", "RNN_TANH": "rnn_tanh_cell", "RNN_RELU": "rnn_relu_cell"}[self.mode]
        return (getattr(torch._VF, cell)(gx, state[0], *weights),)  # type: ignore[attr-defined]


@control(cells="lstm")
class CellStateWiderBetweenSteps(LSTM):
    """Between the steps of one call the cell state is kept in a wider type."""

    def run(self, x: Tensor, state: State, call: Call) -> tuple[Tensor, State]:
        h, c = state
        output, (h, c) = super().run(x, (h, c.to(torch.float32 if x.dtype in HALF else torch.float64)), call)
        return output, (h, c.to(x.dtype))

    def combine(self, i: Tensor, f: Tensor, g: Tensor, c: Tensor) -> Tensor:
        return f.to(c.dtype) * c + i.to(c.dtype) * g.to(c.dtype)

    def emit(self, o: Tensor, c: Tensor) -> Tensor:
        return (o.to(c.dtype) * torch.tanh(c)).to(o.dtype)
