"""What a backend claims of its numbers: roundoffs, by the operation that they follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

from rnn_conformance.config import numpy_dtype

Array = np.ndarray[Any, Any]
_finfo: Callable[..., Any] = ml_dtypes.finfo


@dataclass(frozen=True)
class Arithmetic:
    """The arithmetic that a backend declares and is held to.

    Roundoffs are unit roundoffs, the largest relative error of one rounding: half the step from 1 to the next number.
    """

    name: str
    unit_roundoff: float  # after each operation on elements, and of stored results
    accumulator_roundoff: float  # within sums of products
    smallest: float  # the absolute error that underflow may leave
    largest: float  # beyond it numbers overflow
    stored_smallest: float  # the same for stored results alone
    activation_ulps: float = 2.0  # by how many units in the last place sigmoid and tanh may be off
    product_roundoff: float = 0.0  # of the factors of products, where they are rounded first, as TF32 does
    input_steps: int = 0  # of what weights are multiplied with, where it is quantized: over the range of each step
    weight_steps: int = 0  # of weights, where they are quantized: over twice the largest of each matrix
    weight_dtype: str = ""  # in which weights are stored, where it is another one than that of all else
    activation_error: float = 0.0  # the absolute error of sigmoid and tanh, where it does not shrink with their values

    def stored(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays by name, weights as they are stored: rounded to the nearest number, to the largest beyond it."""
        if not self.weight_dtype:
            return dict(arrays)
        dtype = numpy_dtype(self.weight_dtype)
        largest = float(_finfo(dtype).max)

        def rounded(array: Array) -> Array:
            return np.clip(array.astype(np.float64), -largest, largest).astype(dtype).astype(np.float64)

        return {name: rounded(array) if name.startswith("weight") else array for name, array in arrays.items()}


def arithmetic_of(dtype: str, flush_subnormals: bool = False) -> Arithmetic:
    """The usual arithmetic of a dtype: float16 and bfloat16 are stored, elements and sums are computed in float32.

    Sigmoid as 1 / (1 + e^-x) is 0 where e^-x overflows and a subnormal number is due, so that where elements are
    computed the smallest normal number is what underflow may leave.

    Args:
        flush_subnormals: whether stored results below the smallest normal number may become zero.
    """
    stored = _finfo(numpy_dtype(dtype))
    computed = _finfo(numpy_dtype("float64" if dtype == "float64" else "float32"))
    unit_roundoff = float(stored.eps) / 2
    underflow = stored.smallest_normal if flush_subnormals else stored.smallest_subnormal
    return Arithmetic(
        name=dtype,
        unit_roundoff=unit_roundoff,
        accumulator_roundoff=min(unit_roundoff, 2.0**-24),
        smallest=max(float(underflow), float(computed.smallest_normal)),
        largest=float(stored.max),
        stored_smallest=float(underflow),
    )


def tf32() -> Arithmetic:
    """float32 whose products round their factors to 10 bits of fraction, as NVIDIA's tensor cores do by choice."""
    return replace(arithmetic_of("float32"), name="tf32", product_roundoff=2.0**-11)
