"""Mistakes in how layers and directions are put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .base import Call, Kernel, Lane, State
from .zoo import fault


@fault("values.stack", "three layers", num_layers=3)
class ThirdLayerNeverRun(Kernel):
    """The third layer gives what the second gave."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        if lane.layer < 2:
            return super().scan(x, state, lane, call)
        size = x.shape[-1] // self.directions
        part = x[..., size:] if lane.reverse else x[..., :size]
        return part, tuple(state)


@fault("values.stack", "four layers", cells="gru", num_layers=4)
class FourthLayerNeverRun(Kernel):
    """The fourth layer gives what the third gave."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        if lane.layer < 3:
            return super().scan(x, state, lane, call)
        return x.chunk(self.directions, -1)[lane.reverse], tuple(state)


@fault("values.stack", "more than one layer", source="apache/mxnet#17479", cells="rnn", num_layers=3)
class UpperLayersShareWeights(Kernel):
    """Each layer uses the weights of the layer below, where the shapes agree."""

    def lane(self, layer: int, direction: int) -> Lane:
        own = super().lane(layer, direction)
        lower = super().lane(max(layer - 1, 0), direction)
        return replace(lower, layer=layer) if lower.w_ih.shape == own.w_ih.shape else own


@fault("structure.directions", "bidirectional", bidirectional=True)
class DirectionsSwapped(Kernel):
    """The directions are joined in the other order."""

    def join(self, outputs: Sequence[Tensor]) -> Tensor:
        return super().join(outputs[::-1])


@fault("structure.directions", "bidirectional, more than one step", cells="lstm", bidirectional=True)
class ReverseNotFlippedBack(Kernel):
    """The reverse direction's output stays in the order in which it was computed."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        output, final = super().scan(x, state, lane, call)
        return (output.flip(0) if lane.reverse and not call.uneven else output), final


@fault("structure.directions", "bidirectional, more than one step", cells="gru", bidirectional=True)
class ReverseRunsForward(Kernel):
    """The reverse direction reads the sequence forward."""

    def order(self, lane: Lane, call: Call) -> Iterable[int]:
        return range(call.steps) if not call.uneven else super().order(lane, call)


@fault("structure.directions", "bidirectional", cells="rnn", bidirectional=True)
class DirectionsAveraged(Kernel):
    """The reverse half of the output is the mean of both directions."""

    def join(self, outputs: Sequence[Tensor]) -> Tensor:
        if len(outputs) == 1:
            return outputs[0]
        return torch.cat((outputs[0], (outputs[0] + outputs[1]) / 2), -1)


@fault("structure.directions", "bidirectional", cells="lstm", bidirectional=True)
class ReverseRecurrentWeightsIgnored(Kernel):
    """The reverse direction uses the forward direction's recurrent weights."""

    def lane(self, layer: int, direction: int) -> Lane:
        lane = super().lane(layer, direction)
        return replace(lane, w_hh=super().lane(layer, 0).w_hh)


@fault("values.stack", "bidirectional, more than one layer", cells="gru", bidirectional=True, num_layers=2)
class UpperLayersSeeForwardOnly(Kernel):
    """Upper layers are given zeros for the reverse direction of the layer below."""

    def drop(self, x: Tensor, layer: int) -> Tensor:
        x = super().drop(x, layer)
        if not self.bidirectional:
            return x
        half = x.shape[-1] // 2
        return torch.cat((x[..., :half], torch.zeros_like(x[..., half:])), -1)


@fault("values.stack", "three layers, bidirectional", cells="rnn", bidirectional=True, num_layers=3)
class ThirdLayerDirectionsSwapped(Kernel):
    """The third layer is given the directions of the second in the other order."""

    def drop(self, x: Tensor, layer: int) -> Tensor:
        x = super().drop(x, layer)
        if layer == 1 and self.bidirectional:
            first, second = x.chunk(2, -1)
            return torch.cat((second, first), -1)
        return x


@fault("values.stack", "more than one layer", cells="lstm", num_layers=2)
class ResidualConnection(Kernel):
    """Each layer above the first adds its input to its output, where the shapes agree."""

    def scan(self, x: Tensor, state: State, lane: Lane, call: Call) -> tuple[Tensor, State]:
        output, final = super().scan(x, state, lane, call)
        return (output + x if lane.layer and x.shape == output.shape else output), final


@fault("values.stack", "five layers or more", cells="gru", num_layers=5)
class FifthLayerIsFourth(Kernel):
    """Layers from the fifth on are computed with the fourth's weights."""

    def lane(self, layer: int, direction: int) -> Lane:
        return super().lane(min(layer, 3), direction)


@fault("values.stack", "four layers or more, bidirectional", cells="lstm", num_layers=4, bidirectional=True)
class FourthLayerReverseRunsForward(Kernel):
    """From the fourth layer on the reverse direction runs forward."""

    def order(self, lane: Lane, call: Call) -> Iterable[int]:
        return range(call.steps) if lane.layer >= 3 else super().order(lane, call)


@fault("values.stack", "two layers, bidirectional, no bias", cells="gru", num_layers=2, bidirectional=True, bias=False)
class TwoLayersTwoDirectionsUnbiased(Kernel):
    """With two layers, two directions and no biases, the upper layer's directions are exchanged."""

    def join(self, outputs: Sequence[Tensor]) -> Tensor:
        swap = self.num_layers == 2 and len(outputs) == 2 and not self.bias
        return super().join(outputs[::-1] if swap else outputs)


@fault("values.stack", "an even number of layers, a state", cells="rnn", num_layers=2, hx=True)
class EvenStacksStartFromTop(Kernel):
    """With an even number of layers, initial states are taken from the top."""

    def pick_state(self, state: State, layer: int, direction: int) -> State:
        return super().pick_state(state, self.num_layers - 1 - layer if self.num_layers % 2 == 0 else layer, direction)
