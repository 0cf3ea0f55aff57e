"""Kernels that are less exact than their dtype claims."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import LSTM, Kernel, Lane
from .zoo import fault

WIDE = ("float64", "float32")


def kept_bits(x: Tensor, bits: int) -> Tensor:
    """float32 numbers with a fraction of this many bits."""
    scale = 1 << (23 - bits)
    return (((x.contiguous().view(torch.int32) + scale // 2) // scale) * scale).view(torch.float32)


@fault("precision.arithmetic", "float64", dtypes=("float64",), cells="rnn")
class Float64InFloat32(Kernel):
    """Products of float64 numbers are computed in float32."""

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        return super().matmul(x.float(), w.float()).to(x.dtype)


@fault("values.cell", "float32", dtypes=("float32",))
class Tf32Products(Kernel):
    """Factors of products are rounded to 10 bits of fraction."""

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            return super().matmul(x, w)
        return super().matmul(kept_bits(x, 10), kept_bits(w, 10))


@fault("values.cell", "float32 or float64", dtypes=WIDE)
class CellStateInBfloat16(LSTM):
    """The cell state is kept in bfloat16."""

    def combine(self, i: Tensor, f: Tensor, g: Tensor, c: Tensor) -> Tensor:
        new = super().combine(i, f, g, c)
        return new.bfloat16().to(new.dtype) if new.dtype in (torch.float32, torch.float64) else new


@fault("values.cell", "float32 or float64", dtypes=WIDE, cells="lstm")
class WeightsInBfloat16(Kernel):
    """Weights are rounded to bfloat16."""

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        return super().matmul(x, w.bfloat16().to(w.dtype) if w.dtype in (torch.float32, torch.float64) else w)


@fault("values.cell", "float32 or float64", cells="lstm gru", dtypes=WIDE)
class SigmoidFromTable(Kernel):
    """Sigmoid is looked up in a table of step 1/4096."""

    def sigmoid(self, x: Tensor) -> Tensor:
        if x.dtype not in (torch.float32, torch.float64):
            return super().sigmoid(x)
        return super().sigmoid((x * 4096).round() / 4096)


@fault("values.cell", "float32 or float64", dtypes=WIDE, cells="gru")
class TanhGoodToFourDigits(Kernel):
    """tanh is off by up to a ten-thousandth."""

    def tanh(self, x: Tensor) -> Tensor:
        y = super().tanh(x)
        return y + 1e-4 * y * (1 - y * y) if x.dtype in (torch.float32, torch.float64) else y


@fault("values.cell", "float32 or float64", dtypes=WIDE, cells="rnn")
class NoiseOfOneInHundredThousand(Kernel):
    """Products are off by 1e-5 of their value, in a fixed pattern."""

    def project_state(self, h: Tensor, lane: Lane) -> Tensor:
        product = super().project_state(h, lane)
        if product.dtype not in (torch.float32, torch.float64):
            return product
        pattern = torch.arange(product.shape[-1], device=h.device) % 3 - 1
        return product * (1 + 1e-5 * pattern.to(product.dtype))


@fault("values.cell", "every dtype", source="minimaxir/textgenrnn#153", cells="lstm gru")
class HardSigmoid(Kernel):
    """Sigmoid is the straight line of old Keras."""

    def sigmoid(self, x: Tensor) -> Tensor:
        return (0.2 * x + 0.5).clamp(0, 1)


@fault("values.cell", "every dtype", cells="lstm")
class RationalTanh(Kernel):
    """tanh is a rational function good to two digits."""

    def tanh(self, x: Tensor) -> Tensor:
        x = x.clamp(-3, 3)
        return x * (27 + x * x) / (27 + 9 * x * x)


@fault("values.cell", "float32", dtypes=("float32",), cells="gru")
class ProductsInFloat16(Kernel):
    """Products of float32 numbers are computed in float16."""

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            return super().matmul(x, w)
        return super().matmul(x.half(), w.half()).float()


@fault("values.stack", "bfloat16 or float16", dtypes=("bfloat16", "float16"), cells="rnn")
class HalfAccumulatedInEightBits(Kernel):
    """Products of half numbers are rounded to 4 bits of fraction."""

    def matmul(self, x: Tensor, w: Tensor) -> Tensor:
        product = super().matmul(x, w)
        if x.dtype not in (torch.bfloat16, torch.float16):
            return product
        return kept_bits(product.float(), 4).to(x.dtype)


@fault("values.stack", "float64, the output gate", cells="lstm", dtypes=("float64",))
class OutputGateInFloat32(LSTM):
    """In float64 the output gate passes through float32."""

    def emit(self, o: Tensor, c: Tensor) -> Tensor:
        return super().emit(o.float().to(o.dtype), c)


@fault("values.stack", "float16", cells="lstm", dtypes=("float16",), scale=8.0)
class SigmoidSaturatesInFloat16(Kernel):
    """In float16 sigmoid is 0 or 1 beyond 6."""

    def sigmoid(self, x: Tensor) -> Tensor:
        y = super().sigmoid(x)
        return torch.where(x.abs() > 6, (x > 0).to(x.dtype), y) if x.dtype == torch.float16 else y


@fault("values.stack", "sigmoid far below zero", cells="lstm", dtypes=("float64", "float32"), scale=6.0)
class SigmoidZeroBelowMinusTwelve(Kernel):
    """Sigmoid is zero below -12."""

    def sigmoid(self, x: Tensor) -> Tensor:
        return torch.where(x < -12, 0, super().sigmoid(x))
