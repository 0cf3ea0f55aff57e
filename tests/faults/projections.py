"""Mistakes with projections."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from .base import LSTM, Lane, State
from .zoo import fault


@fault("values.stack", "a projection", proj_size=2)
class ProjectionSkippedOnce(LSTM):
    """At the second step the first proj_size units are taken where the projection was due."""

    def step(self, t: int, gx: Tensor, state: State, lane: Lane) -> State:
        if not self.proj_size or t != 1:
            return super().step(t, gx, state, lane)
        h, c = super().step(t, gx, state, replace(lane, w_hr=None))
        return h[..., : self.proj_size], c


@fault("values.stack", "a projection, twice as many units as projected ones", proj_size=2, hidden_size=4)
class ProjectionFolded(LSTM):
    """A projection to half the units adds the halves up."""

    def project(self, h: Tensor, lane: Lane) -> Tensor:
        if lane.w_hr is None or h.shape[-1] != 2 * self.proj_size:
            return super().project(h, lane)
        return h[..., : self.proj_size] + h[..., self.proj_size :]


@fault("values.stack", "a projection, bidirectional", proj_size=2, bidirectional=True)
class ReverseProjectionIgnored(LSTM):
    """The reverse direction uses the forward direction's projection."""

    def lane(self, layer: int, direction: int) -> Lane:
        lane = super().lane(layer, direction)
        return replace(lane, w_hr=super().lane(layer, 0).w_hr)


@fault("values.stack", "a projection", source="PaddlePaddle/Paddle#15605", proj_size=2)
class ProjectionAfterTanh(LSTM):
    """The projected output goes through tanh."""

    def project(self, h: Tensor, lane: Lane) -> Tensor:
        return h if lane.w_hr is None else self.tanh(super().project(h, lane))
