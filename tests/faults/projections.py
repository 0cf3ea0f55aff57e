"""Mistakes with projections."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from .base import LSTM, Lane, State
from .zoo import fault


@fault("values.stack", "a projection")
class ProjectionNotRecurrent(LSTM):
    """The first proj_size units of the unprojected output are what recurs."""

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        new = super().step(t, gx, state, lane)
        return (self.emit_only(gx, state, lane)[..., : self.proj_size], new[1]) if self.proj_size and t == 1 else new

    def emit_only(self, gx: Tensor, state: State, lane: Lane) -> Tensor:
        h, c = state
        i, f, g, o = self.gates(gx, self.project_state(h, lane))
        return self.emit(o, self.combine(i, f, g, c))


@fault("values.stack", "a projection, twice as many units as projected ones")
class ProjectionFolded(LSTM):
    """A projection to half the units adds the halves up."""

    def project(self, h: Tensor, lane: Lane) -> Tensor:
        if lane.w_hr is None or h.shape[-1] != 2 * self.proj_size:
            return super().project(h, lane)
        return h[..., : self.proj_size] + h[..., self.proj_size :]


@fault("values.stack", "a projection, bidirectional")
class ReverseProjectionIgnored(LSTM):
    """The reverse direction uses the forward direction's projection."""

    def lane(self, layer: int, direction: int) -> Lane:
        lane = super().lane(layer, direction)
        return replace(lane, w_hr=super().lane(layer, 0).w_hr)


@fault("values.stack", "a projection")
class ProjectionAfterTanh(LSTM):
    """The projected output goes through tanh."""

    def project(self, h: Tensor, lane: Lane) -> Tensor:
        return h if lane.w_hr is None else self.tanh(super().project(h, lane))
