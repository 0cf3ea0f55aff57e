"""Mistakes with NaN, infinity, overflow, subnormal numbers and zeros."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import LSTM, RNN, Around, Kernel, Lane, State, each, on_data
from .zoo import fault

NAN, INF = float("nan"), float("inf")


@fault("special.nan", "NaN in the input", cells="gru", probe="forward", plant=NAN)
class NanInputIsZero(Around):
    """NaN in the input counts as zero."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return on_data(torch.nan_to_num, input), hx


@fault("special.nan", "NaN in the input", cells="lstm", probe="forward", plant=NAN)
class NanOutputIsZero(Around):
    """NaN in the results is replaced by zero."""

    def behind(self, output: Any, state: Any) -> Any:
        return on_data(torch.nan_to_num, output), each(torch.nan_to_num, state)


@fault(
    "special.nan",
    "NaN in the input, more than one row",
    source="keras-team/keras#449",
    cells="rnn",
    probe="forward",
    plant=NAN,
)
class NanReachesOtherRows(Kernel):
    """NaN in one row reaches every row: a mask is applied by multiplying with zero and adding."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        product = super().project_input(x, lane)
        return product + 0 * product.sum(1, keepdim=True)


@fault("special.nan", "NaN in the input, more than one step", cells="gru", probe="forward", plant=NAN)
class NanReachesThePast(Kernel):
    """NaN in one step reaches the steps before."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        product = super().project_input(x, lane)
        return product + 0 * product.sum(0, keepdim=True) if lane.layer == 0 else product


@fault("special.nan", "NaN in the input, relu", cells="rnn", probe="forward", plant=NAN, nonlinearity="relu")
class ReluHidesNan(RNN):
    """relu is `x if x > 0 else 0`, which is 0 for NaN."""

    def relu(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, torch.zeros_like(x))


@fault("special.inf", "infinity in the input, relu", cells="rnn", probe="forward", plant=INF, nonlinearity="relu")
class InfinityClamped(Around):
    """The input is clamped to what float16 can hold."""

    def before(self, input: Any, hx: Any) -> tuple[Any, Any]:
        return on_data(lambda x: x.clamp(-65504, 65504), input), hx


@fault("values.cell", "gates driven beyond exp's range", cells="lstm", probe="forward", values=1e4)
class SigmoidOverflows(LSTM):
    """Sigmoid is exp(x) / (1 + exp(x)), NaN for large x."""

    def sigmoid(self, x: Tensor) -> Tensor:
        return x.exp() / (1 + x.exp())


@fault("values.cell", "activations driven beyond exp's range", cells="rnn", probe="forward", values=1e4)
class TanhOverflows(Kernel):
    """tanh is (exp(2x) - 1) / (exp(2x) + 1), NaN for large x and inexact for small ones."""

    def tanh(self, x: Tensor) -> Tensor:
        e = (2 * x).exp()
        return (e - 1) / (e + 1)


@fault(
    "special.subnormals",
    "subnormal input",
    cells="rnn",
    dtypes=("float64", "float32"),
    probe="forward",
    values=1e-39,
    dtype="float32",
    bias=False,
)
class SubnormalsFlushed(Kernel):
    """Subnormal numbers are flushed to zero, and the backend does not say so."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        tiny = torch.finfo(x.dtype).tiny
        return super().project_input(torch.where(x.abs() < tiny, torch.zeros_like(x), x), lane)


@fault("special.zeros", "a step whose input is zero", cells="gru", probe="forward", zero_step=True)
class ZeroStepsSkipped(Kernel):
    """A row's step whose input is all zeros counts as masked and keeps its state."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Any) -> tuple[Tensor, State]:
        self.__dict__["masked"] = (x == 0).all(-1, keepdim=True) if lane.layer == 0 else None
        return super().scan(x, state, lane, call)

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        new = super().step(t, gx, state, lane)
        masked = self.__dict__["masked"]
        if masked is None:
            return new
        return tuple(torch.where(masked[t][: len(a)], b, a) for a, b in zip(new, state, strict=True))


@fault("values.stack", "weights below 1e-4", cells="lstm", probe="forward", scale=1e-4, dtypes=("float32", "float64"))
class TinyWeightsPruned(Kernel):
    """Weights below 1e-4 are taken for zero."""

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        return super().matmul(x, torch.where(w.abs() < 1e-4, 0, w))


@fault(
    "values.stack",
    "states below 1e-6",
    cells="rnn gru",
    probe="forward",
    scale=1e-6,
    dtypes=("float32", "float64"),
    values=1e-3,
)
class TinyStatesFlushed(Kernel):
    """States below 1e-6 are taken for zero."""

    def after(self, taken: int, new: State) -> State:
        return tuple(torch.where(part.abs() < 1e-6, 0, part) for part in new)


@fault("special.zeros", "a whole input of zeros", cells="rnn", probe="forward", values=0.0)
class InputOfZerosIsSkipped(Kernel):
    """Where all of the input is zero, the biases are left out."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        return super().project_input(x, lane) if lane.layer or x.any() else self.matmul(x, lane.w_ih)


@fault("special.zeros", "weights of zeros", cells="gru", probe="zero_recurrent_weights")
class ZeroRecurrentWeightsUnbiased(Kernel):
    """Where all recurrent weights are zero, their biases are left out."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        return super().project_state(h, lane) if lane.w_hh.any() else self.matmul(h, lane.w_hh)
