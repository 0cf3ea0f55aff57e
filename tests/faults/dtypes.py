"""Mistakes with the dtype and the device of results."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import Around, Call, Kernel, Lane, State, each, on_data
from .zoo import fault

HALF = (torch.bfloat16, torch.float16)


@fault("shapes.result", "float64", cells="gru", dtypes=("float64",))
class Float64GivesFloat32(Around):
    """The output of a float64 layer is float32."""

    def behind(self, output: Any, state: Any) -> Any:
        return on_data(lambda y: y.float() if y.dtype == torch.float64 else y, output), state


@fault("shapes.result", "float64", cells="rnn", dtypes=("float64",))
class FinalStateInFloat32(Around):
    """h_n is float32, whatever the output is."""

    def behind(self, output: Any, state: Any) -> Any:
        return output, each(Tensor.float, state)


@fault("shapes.result", "bfloat16 or float16", cells="lstm", dtypes=("bfloat16", "float16"))
class CellStateStaysWide(Around):
    """c_n of a half layer is float32."""

    def behind(self, output: Any, state: Any) -> Any:
        return output, (state[0], state[1].float() if state[1].dtype in HALF else state[1])


@fault("shapes.result", "float16", cells="gru", dtypes=("float16",))
class Float16GivesBfloat16(Around):
    """The output of a float16 layer is bfloat16."""

    def behind(self, output: Any, state: Any) -> Any:
        return on_data(lambda y: y.bfloat16() if y.dtype == torch.float16 else y, output), state


@fault("values.cell", "float16", cells="lstm", dtypes=("float16",), scale=3.0, steps=30)
class Float16InBfloat16(Kernel):
    """A float16 layer is computed in bfloat16, weights and states included."""

    def run(self, x: Tensor, state: State, call: Call) -> tuple[Tensor, State]:
        if x.dtype != torch.float16:
            return super().run(x, state, call)
        output, final = super().run(x.bfloat16(), tuple(part.bfloat16() for part in state), call)
        return output.half(), tuple(part.half() for part in final)

    def lane(self, layer: int, direction: int) -> Lane:
        own = super().lane(layer, direction)
        return own.changed(Tensor.bfloat16) if own.w_hh.dtype == torch.float16 else own


@fault("shapes.result", "every config", cells="rnn")
class ResultsOnAnotherDevice(Around):
    """h_n is left on another device."""

    def behind(self, output: Any, state: Any) -> Any:
        return output, each(lambda part: part.to("meta"), state)
