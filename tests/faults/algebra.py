"""Mistakes in the gates and in the equations of a cell."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import GRU, LSTM, RNN, Kernel, Lane, State
from .zoo import fault

Gates = tuple[Tensor, Tensor, Tensor, Tensor]


class Reordered(LSTM):
    """Reads the gates in another order."""

    order_of_gates = (0, 1, 2, 3)

    def gates(self, gx: Tensor, gh: Tensor) -> Gates:
        parts = (gx + gh).chunk(4, -1)
        i, f, g, o = (parts[k] for k in self.order_of_gates)
        return self.sigmoid(i), self.sigmoid(f), self.tanh(g), self.sigmoid(o)


@fault("values.cell")
class GatesOrderedIFOG(Reordered):
    """The gates are read in the order i, f, o, g."""

    order_of_gates = (0, 1, 3, 2)


@fault("values.cell", source="NX-AI/xlstm#98")
class InputAndForgetSwapped(Reordered):
    """The input and the forget gate are swapped."""

    order_of_gates = (1, 0, 2, 3)


@fault("values.cell", source="CrispStrobe/CrispASR#106")
class GatesOrderedIOFC(Reordered):
    """The gates are read in ONNX's order i, o, f, c."""

    order_of_gates = (0, 2, 3, 1)


@fault("values.cell", source="apple/coremltools#309")
class ForgetBiasPlusOne(LSTM):
    """One is added to the forget gate, as TensorFlow's BasicLSTMCell does."""

    def gates(self, gx: Tensor, gh: Tensor) -> Gates:
        i, f, g, o = (gx + gh).chunk(4, -1)
        return self.sigmoid(i), self.sigmoid(f + 1), self.tanh(g), self.sigmoid(o)


@fault("values.cell")
class InputAndForgetCoupled(LSTM):
    """The forget gate is one minus the input gate."""

    def gates(self, gx: Tensor, gh: Tensor) -> Gates:
        i, _, g, o = super().gates(gx, gh)
        return i, 1 - i, g, o


@fault("values.cell")
class NoTanhOnCell(LSTM):
    """The output is o c, not o tanh(c)."""

    def emit(self, o: Tensor, c: Tensor) -> Tensor:
        return o * c


@fault("values.cell")
class CandidateBySigmoid(LSTM):
    """The candidate goes through sigmoid."""

    def gates(self, gx: Tensor, gh: Tensor) -> Gates:
        i, f, g, o = (gx + gh).chunk(4, -1)
        return self.sigmoid(i), self.sigmoid(f), self.sigmoid(g), self.sigmoid(o)


@fault("values.cell")
class OutputGateFromOldCell(LSTM):
    """The output takes the cell state before its update."""

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        h, c = state
        i, f, g, o = self.gates(gx, self.project_state(h, lane))
        return self.project(self.emit(o, c), lane), self.combine(i, f, g, c)


@fault("values.cell", "a bias", source="ddbourgin/numpy-ml#42")
class OutputBiasForAllGates(LSTM):
    """Every gate but the candidate is given the output gate's input bias."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        if lane.b_ih is None:
            return super().project_input(x, lane)
        _, _, g, o = lane.b_ih.chunk(4)
        return self.matmul(x, lane.w_ih) + torch.cat((o, o, g, o))


@fault("values.cell", "more than a few steps or large cells", steps=20, scale=3.0)
class CellsClippedAtThree(LSTM):
    """The cell state is clipped at plus and minus 3."""

    def combine(self, i: Tensor, f: Tensor, g: Tensor, c: Tensor) -> Tensor:
        return super().combine(i, f, g, c).clamp(-3, 3)


@fault("edges.long", "cell states beyond 10", steps=60, hidden_size=40, scale=2.0, values=1.0)
class CellsClippedAtTen(LSTM):
    """The cell state is clipped at plus and minus 10."""

    def combine(self, i: Tensor, f: Tensor, g: Tensor, c: Tensor) -> Tensor:
        return super().combine(i, f, g, c).clamp(-10, 10)


@fault("values.cell")
class UpdateGateInverted(GRU):
    """The update gate keeps where it should replace."""

    def mix(self, z: Tensor, n: Tensor, h: Tensor) -> Tensor:
        return z * n + (1 - z) * h


@fault("values.cell", "a recurrent bias or weights", source="onnx/keras-onnx#33")
class ResetBeforeProduct(GRU):
    """The reset gate acts on the state before the recurrent product."""

    def gates(self, gx: Tensor, gh: Tensor, h: Tensor, lane: Lane) -> tuple[Tensor, Tensor, Tensor]:
        xr, xz, xn = gx.chunk(3, -1)
        hr, hz, _ = gh.chunk(3, -1)
        r = self.sigmoid(xr + hr)
        hn = self.project_state(r * h, lane).chunk(3, -1)[2]
        return r, self.sigmoid(xz + hz), self.tanh(xn + hn)


@fault("values.cell")
class NoResetGate(GRU):
    """The reset gate is left out."""

    def gates(self, gx: Tensor, gh: Tensor, h: Tensor, lane: Lane) -> tuple[Tensor, Tensor, Tensor]:
        xr, xz, xn = gx.chunk(3, -1)
        hr, hz, hn = gh.chunk(3, -1)
        return self.sigmoid(xr + hr), self.sigmoid(xz + hz), self.tanh(xn + hn)


@fault("values.cell", source="keras-team/keras#8720")
class ResetAndUpdateSwapped(GRU):
    """The reset and the update gate are swapped."""

    def gates(self, gx: Tensor, gh: Tensor, h: Tensor, lane: Lane) -> tuple[Tensor, Tensor, Tensor]:
        xz, xr, xn = gx.chunk(3, -1)
        hz, hr, hn = gh.chunk(3, -1)
        r = self.sigmoid(xr + hr)
        return r, self.sigmoid(xz + hz), self.tanh(xn + r * hn)


@fault("values.cell", "a bias")
class RecurrentBiasOutsideReset(GRU):
    """The candidate's recurrent bias is added outside the product with the reset gate."""

    def gates(self, gx: Tensor, gh: Tensor, h: Tensor, lane: Lane) -> tuple[Tensor, Tensor, Tensor]:
        if lane.b_hh is None:
            return super().gates(gx, gh, h, lane)
        b = lane.b_hh.chunk(3)[2]
        xr, xz, xn = gx.chunk(3, -1)
        hr, hz, hn = gh.chunk(3, -1)
        r = self.sigmoid(xr + hr)
        return r, self.sigmoid(xz + hz), self.tanh(xn + r * (hn - b) + b)


@fault("values.cell", "nonlinearity relu", nonlinearity="relu")
class ReluComputedAsTanh(RNN):
    """The nonlinearity is ignored."""

    def relu(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


@fault("values.cell", "nonlinearity relu", nonlinearity="relu")
class ReluLeaks(RNN):
    """relu lets a hundredth of negative numbers through."""

    def relu(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * 0.01)


@fault("values.cell", "nonlinearity relu, activations beyond 6", nonlinearity="relu", scale=4.0)
class ReluCappedAtSix(RNN):
    """relu is capped at 6."""

    def relu(self, x: Tensor) -> Tensor:
        return torch.clamp(x, 0, 6)


@fault("values.cell", "a bias", source="lisa-lab/DeepLearningTutorials#81")
class InputBiasTwice(Kernel):
    """The input bias is added twice."""

    def project_input(self, x: Tensor, lane: Lane) -> Tensor:
        product = super().project_input(x, lane)
        return product if lane.b_ih is None else product + lane.b_ih


@fault("values.cell", "a bias", source="pytorch/pytorch#94889", cells="lstm")
class RecurrentBiasLost(Kernel):
    """The recurrent bias is left out."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        return self.matmul(h, lane.w_hh)


@fault("values.cell", "a hidden_size above 1, no projection", cells="gru")
class RecurrentWeightsTransposed(Kernel):
    """Each gate's recurrent weights are transposed."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        if lane.w_hr is not None:
            return super().project_state(h, lane)
        w = torch.cat([gate.mT for gate in lane.w_hh.view(-1, self.hidden_size, self.hidden_size)])
        product = self.matmul(h, w)
        return product if lane.b_hh is None else product + lane.b_hh


@fault("values.cell", "more than one step, or a state", source="tracel-ai/burn#2701")
class NoRecurrence(Kernel):
    """The recurrent product is left out."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        return super().project_state(torch.zeros_like(h), lane)
