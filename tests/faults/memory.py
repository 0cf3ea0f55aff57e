"""Mistakes with memory: layouts, inputs written into, results overwritten, caches and workspaces that are stale."""

from __future__ import annotations

import time
from copy import copy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .base import GRU, LSTM, Around, Call, Kernel, Lane, State, each, on_data
from .zoo import fault


def as_if_contiguous(x: Tensor) -> Tensor:
    """What a kernel reads that takes a pointer and sizes, and no strides."""
    if not x.numel() or x.is_contiguous():
        return x
    strides = torch.empty(x.shape).stride()
    return x.as_strided(x.shape, strides, x.storage_offset())


# Layout


@fault("layout.input", "strided input", cells="lstm", source="pytorch/pytorch#345", probe="layout")
class InputAssumedContiguous(Around):
    """Strides of the input are ignored."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return on_data(as_if_contiguous, input), hx


@fault("layout.input", "input at an offset", cells="lstm", probe="layout")
class InputReadFromItsStorage(Around):
    """Input is read from the beginning of its storage, wherever in it the tensor begins."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return on_data(lambda data: data.as_strided(data.shape, data.stride(), 0), input), hx


@fault("layout.input", "a strided state", cells="gru", probe="layout", hx=True)
class StateAssumedContiguous(Around):
    """Strides of the initial state are ignored."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return input, each(as_if_contiguous, hx)


@fault("layout.input", "input with gaps between features", cells="rnn", probe="layout")
class FeaturesAssumedAdjacent(Around):
    """Strides of steps and rows are honoured, but features are read as if they were adjacent."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        if isinstance(input, PackedSequence) or not input.numel():
            return input, hx
        return input.as_strided(input.shape, (*input.stride()[:-1], 1), input.storage_offset()), hx


@fault("layout.parameters", "weights that are views", cells="gru", probe="relaid")
class WeightsAssumedContiguous(Kernel):
    """Strides of the parameters are ignored."""

    def lane(self, layer: int, direction: int) -> Lane:
        return super().lane(layer, direction).changed(as_if_contiguous)


@fault("layout.parameters", "weights that are transposed or have gaps", cells="lstm", probe="relaid")
class WeightRowsAssumedDense(LSTM):
    """A matrix is handed over as a pointer and the stride of its rows, as gemm takes it, whatever its columns'."""

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        return super().matmul(x, w.as_strided(w.shape, (w.stride(0), 1), w.storage_offset()))


@fault("steps.stepwise", "a state handed on", cells="lstm", probe="handed_on")
class OffsetIgnored(Around):
    """h_n and c_n are views of one buffer, and the offset of a state is ignored when it comes back."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return input, each(lambda part: part.as_strided(part.shape, part.stride(), 0), hx)

    def behind(self, output: Any, state: Any) -> Any:
        h, c = state
        both = torch.cat((h.flatten(), c.flatten()))
        return output, (both[: h.numel()].view_as(h), both[h.numel() :].view_as(c))


# What a call writes into


@fault("purity.inputs", "every config", cells="gru", probe="calls")
class InputUsedAsWorkspace(Around):
    """The input is overwritten once it is no longer needed."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        results = super().forward(input, hx)
        data = input.data if isinstance(input, PackedSequence) else input
        data.detach().zero_()
        return results


@fault("purity.inputs", "a state", cells="lstm", probe="calls", hx=True)
class StateUpdatedInPlace(Around):
    """The final state is also written into the initial one."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, (h, c) = super().forward(input, hx)
        if hx is not None and hx[0].shape == h.shape:
            hx[0].detach().copy_(h.detach())
            hx[1].detach().copy_(c.detach())
        return output, (h, c)


@fault("purity.inputs", "a state", cells="rnn", probe="calls", hx=True)
class InitialStateReturned(Around):
    """h_n is the very array that was given as h_0, updated."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h = super().forward(input, hx)
        if hx is None or hx.requires_grad or hx.shape != h.shape:
            return output, h
        return output, hx.copy_(h.detach())


@fault("purity.inputs", "recurrent weights beyond 1", cells="rnn", probe="calls", scale=3.0)
class WeightsClampedInPlace(Around):
    """After each call the recurrent weights are clamped to plus and minus 1, as some optimizers do."""

    def behind(self, output: Any, state: Any) -> Any:
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("weight_hh"):
                    parameter.clamp_(-1, 1)
        return output, state


# Results that are not the caller's own


class KeepsBuffers(Around):
    """Has a buffer for each shape that results had."""

    def buffered(self, name: str, value: Tensor) -> Tensor:
        """The value in the buffer of its shape."""
        if value.requires_grad:
            return value
        held: dict[Any, Tensor] = self.__dict__.setdefault("held", {})
        return held.setdefault((name, value.shape, value.dtype), torch.empty_like(value)).copy_(value)


@fault("purity.results", "a second call of the same shape", source="torch/torch7#935", cells="gru", probe="calls")
class OutputBufferReused(KeepsBuffers):
    """The output is a view of a buffer that the next call of the same shape overwrites."""

    def behind(self, output: Any, state: Any) -> Any:
        return on_data(lambda y: self.buffered("output", y), output), state


@fault("purity.results", "a second call of the same shape", cells="lstm", probe="calls")
class StateBufferReused(KeepsBuffers):
    """c_n is a view of a buffer that the next call of the same shape overwrites."""

    def behind(self, output: Any, state: Any) -> Any:
        return output, (state[0], self.buffered("c_n", state[1]))


@fault("purity.results", "input and output of one shape", cells="rnn", probe="calls", input_size=5, hidden_size=5)
class OutputWrittenOverInput(Around):
    """Where the shapes agree, the output takes the input's memory."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h = super().forward(input, hx)
        if isinstance(input, PackedSequence) or input.shape != output.shape or output.requires_grad:
            return output, h
        return input.copy_(output), h


@fault("purity.results", "one layer in one direction", cells="gru", probe="written_into")
class FinalStateSharesOutput(Around):
    """h_n is a view of the output: who writes into one changes the other."""

    def behind(self, output: Any, state: Any) -> Any:
        if isinstance(output, PackedSequence) or len(state) != 1 or output.requires_grad:
            return output, state
        last = output[:, -1] if self.batch_first and output.dim() == 3 else output[-1]
        return output, last.unsqueeze(0)


# Caches and workspaces


class CachesWeights(Kernel):
    """Holds what it made of its weights at the first call."""

    cached = ("w_ih", "w_hh")

    def lane(self, layer: int, direction: int) -> Lane:
        own = super().lane(layer, direction)
        if torch.is_grad_enabled():
            return own
        held = self.__dict__.setdefault("packed", {})
        if (layer, direction) not in held:
            held[layer, direction] = {name: getattr(own, name) for name in self.cached}
            held[layer, direction] = {k: None if v is None else v.clone() for k, v in held[layer, direction].items()}
        return Lane(**{**vars(own), **held[layer, direction]})


@fault("purity.weights", "new weights after a call", source="pytorch/pytorch#65688", cells="gru", probe="new_weights")
class WeightsPackedOnce(CachesWeights):
    """Weights are packed at the first call, and new ones are not seen."""


@fault("purity.weights", "new biases after a call", cells="lstm", probe="new_weights")
class BiasesPackedOnce(CachesWeights):
    """Biases are packed at the first call, and new ones are not seen."""

    cached = ("b_ih", "b_hh")


@fault(
    "values.cell", "a second layer of the same sizes", source="pytorch/pytorch#95563", cells="gru", probe="two_layers"
)
class WeightsCachedBySize(Kernel):
    """Packed weights are cached for the whole process by their shape alone."""

    packed: ClassVar[dict[Any, Tensor]] = {}

    def lane(self, layer: int, direction: int) -> Lane:
        own = super().lane(layer, direction)
        key = (own.w_ih.shape, own.w_hh.shape, own.w_hh.dtype)
        held = self.packed.setdefault(key, own.w_hh.detach().clone())
        return Lane(**{**vars(own), "w_hh": held})


@fault("purity.calls", "a call of more rows after one of fewer", cells="lstm", probe="calls")
class WorkspaceOfFirstCall(Kernel):
    """The workspace is as large as the first call's batch: the state of rows beyond it is lost at each step."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        self.__dict__.setdefault("rows", call.sizes[0])
        return super().scan(x, state, lane, call)

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        rows = self.__dict__["rows"]
        return super().project_state(torch.cat((h[:rows], torch.zeros_like(h[rows:]))), lane)


@fault("purity.calls", "a shorter sequence after a longer one", cells="gru", probe="calls", bidirectional=True)
class WorkspaceNotCleared(GRU):
    """The reverse direction starts in what an earlier, longer sequence left in the workspace."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        left = self.__dict__.get("left")
        if lane.reverse and left is not None and left.shape == state[0].shape and self.__dict__["longest"] > call.steps:
            state = (state[0] + left,)
        output, final = super().scan(x, state, lane, call)
        if call.steps >= self.__dict__.get("longest", 0):
            self.__dict__.update(left=final[0].detach().clone(), longest=call.steps)
        return output, final


@fault("purity.calls", "a call without state after one with", cells="rnn", probe="calls")
class LastStateRemembered(Kernel):
    """A state that is left out is the one that was given last, where it fits."""

    def check_state(self, x: Tensor, state: State) -> None:
        super().check_state(x, state)
        self.__dict__["given"] = tuple(part.detach().clone() for part in state)

    def default_state(self, x: Tensor) -> State:
        state = super().default_state(x)
        given = self.__dict__.get("given")
        fits = given is not None and given[0].shape == state[0].shape and given[0].dtype == state[0].dtype
        return given if fits and given is not None else state


@fault("purity.threads", "two threads", cells="gru", probe="threads")
class ScratchSharedByThreads(GRU):
    """The state is held in the module between two steps, where another thread finds it."""

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        self.__dict__["scratch"] = state
        time.sleep(1e-5)  # as a kernel without the interpreter's lock lets others run
        held: State = self.__dict__["scratch"]
        return super().step(t, gx, held if held[0].shape == state[0].shape else state, lane)


@fault("purity.copies", "a deep copy", cells="lstm", probe="copied")
class CopySharesWeights(Around):
    """A deep copy has the parameters of the original."""

    def __deepcopy__(self, memo: Any) -> Any:
        twin = copy(self)
        twin._parameters = dict(self._parameters)
        return twin


@fault("purity.repeat", "every config", cells="lstm", probe="repeated")
class DriftsFromCallToCall(LSTM):
    """Every call adds one unit in the last place to the output."""

    def leave(self, output: Tensor, final: State, call: Call) -> Any:
        calls = self.__dict__["calls"] = self.__dict__.get("calls", -1) + 1
        return super().leave(output * (1 + calls * torch.finfo(output.dtype).eps), final, call)


@fault("purity.overwritten", "input overwritten between calls", cells="lstm", probe="overwritten")
class InputProductsCachedByAddress(Kernel):
    """Products of the input are kept for as long as input lies at the same address."""

    def run(self, x: Tensor, state: State, call: Call) -> tuple[Tensor, State]:
        key = (x.data_ptr(), x.shape, x.dtype, self.weight_ih_l0._version)
        kept = self.__dict__.setdefault("kept", {})
        if x.requires_grad or torch.is_grad_enabled():
            return super().run(x, state, call)
        if key not in kept:
            kept.clear()
            kept[key] = (x, x.clone())
        return super().run(kept[key][1], state, call)


@fault("purity.overwritten", "a state overwritten between calls", cells="gru", probe="overwritten", hx=True)
class StateCachedByIdentity(Around):
    """A state that is the very tensor of the call before is not read again."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        if hx is None or torch.is_grad_enabled():
            return input, hx
        seen, copy = self.__dict__.get("seen", (None, None))
        if seen is not hx:
            self.__dict__["seen"] = hx, hx.clone()
            return input, hx
        return input, copy


@fault("purity.weights", "other weights changed than the first", cells="lstm", probe="some_weights")
class FirstWeightWatched(Kernel):
    """Weights are packed anew only where the first of them has changed."""

    def run(self, x: Tensor, state: State, call: Call) -> tuple[Tensor, State]:
        version = (self.weight_ih_l0._version, x.dtype)
        if torch.is_grad_enabled():
            self.__dict__.pop("packed", None)
        elif self.__dict__.get("packed", (None,))[0] != version:
            self.__dict__["packed"] = (version, {n: p.detach().clone() for n, p in self.named_parameters()})
        return super().run(x, state, call)

    def lane(self, layer: int, direction: int) -> Lane:
        own = super().lane(layer, direction)
        if "packed" not in self.__dict__:
            return own
        tail = f"_l{layer}" + ("_reverse" if direction else "")
        kept = self.__dict__["packed"][1]
        names = {"w_ih": "weight_ih", "w_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh", "w_hr": "weight_hr"}
        return Lane(layer, bool(direction), **{k: kept.get(n + tail) for k, n in names.items()})


@fault(
    "values.stack",
    "layers of equal sizes with and without biases",
    cells="lstm",
    source="pytorch/pytorch#95563",
    probe="bias_and_none",
)
class GraphCachedWithoutBias(Kernel):
    """The compiled graph is cached by sizes alone, so that a layer without biases fixes that for one with them."""

    graphs: ClassVar[dict[Any, bool]] = {}

    def lane(self, layer: int, direction: int) -> Lane:
        own = super().lane(layer, direction)
        key = (self.input_size, self.hidden_size, self.num_layers, self.bidirectional)
        if self.graphs.setdefault(key, self.bias) or own.b_ih is None:
            return own
        return Lane(layer, bool(direction), own.w_ih, own.w_hh, None, None, own.w_hr)


@fault(
    "lengths.again",
    "lengths, then others of the same number and most",
    cells="gru",
    probe="other_lengths",
    lengths=(6, 2, 4),
)
class LengthsOfFirstCall(Kernel):
    """How far rows reach is worked out once for each number of steps and rows."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        known = self.__dict__.setdefault("known", {})
        sizes = known.setdefault((call.steps, call.sizes[0], call.packed is None), call.sizes)
        return super().scan(x, state, lane, Call(sizes, call.batched, call.packed))


@fault("layout.input", "a transposed input", cells="gru", probe="transposed")
class TransposedInputAssumedContiguous(Around):
    """Input is taken for contiguous where it has no gaps, whatever the order of its axes."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        if isinstance(input, PackedSequence) or not input.numel() or input.is_contiguous():
            return input, hx
        dense = torch.empty(input.shape).stride()
        if sum((n - 1) * stride for n, stride in zip(input.shape, input.stride(), strict=True)) + 1 == input.numel():
            return input.as_strided(input.shape, dense, input.storage_offset()), hx
        return input, hx


@fault("layout.state", "expanded rows", cells="rnn", probe="expanded")
class ExpandedRowsReadOnce(Around):
    """A batch whose rows share memory is computed for its first row, and the others stay zero."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        output, state = super().forward(input, hx)
        if isinstance(input, PackedSequence) or input.dim() < 3:
            return output, state
        axis = 0 if self.batch_first else 1
        if input.shape[axis] > 1 and input.stride(axis) == 0:
            keep = torch.zeros(input.shape[axis], dtype=output.dtype)
            keep[0] = 1
            output = output * keep.view((-1, 1, 1) if self.batch_first else (1, -1, 1))
        return output, state


@fault("layout.input", "cell state strided, hidden state not", probe="layout", hx=True)
class CellStateAssumedLikeHidden(nn.LSTM):
    """c_0 is read with the strides of h_0."""

    def forward(self, input: Any, hx: Any = None) -> Any:  # type: ignore[override]
        if hx is not None and not hx[1].is_contiguous() and hx[1].numel() and not self.proj_size:
            c = hx[1]
            hx = (hx[0], c.as_strided(c.shape, torch.empty(c.shape).stride(), c.storage_offset()))
        return super().forward(input, hx)
