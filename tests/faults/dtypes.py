"""Mistakes with the dtype and the device of results."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .base import Around, Kernel, each, on_data
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
    """Products of a float16 layer are computed in bfloat16."""

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        product = super().matmul(x, w)
        return product.bfloat16().half() if product.dtype == torch.float16 else product


@fault("shapes.result", "every config", cells="rnn")
class ResultsOnAnotherDevice(Around):
    """h_n is left on another device."""

    def behind(self, output: Any, state: Any) -> Any:
        return output, each(lambda part: part.to("meta"), state)
