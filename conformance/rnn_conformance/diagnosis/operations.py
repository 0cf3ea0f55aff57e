"""Operations that are not what they should be: arrays on which tanh, exp, maximum or matmul are replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Operations = Mapping[Any, Callable[..., Array]]  # by the ufunc that each replaces


def altered(kind: type[Array], operations: Operations) -> type[Array]:
    """A subclass of an array class whose ufuncs are these, where they are named. Below them all is as before."""

    class Altered(kind):  # type: ignore[misc, valid-type]
        __array_priority__ = 2.0  # above that of the error budget's arrays

        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
            """The replacement of `ufunc`, or itself."""
            plain = [x.view(kind) if isinstance(x, Altered) else x for x in inputs]
            run = operations[ufunc] if method == "__call__" and ufunc in operations else getattr(ufunc, method)
            return np.asanyarray(run(*plain, **kwargs)).view(Altered)

    return Altered


def sigmoid_as(sigmoid: Callable[[Array], Array]) -> Operations:
    """Operations under which the oracle's 1 / (1 + exp(-x)) gives `sigmoid(x)`."""
    return {np.exp: lambda minus_x: 1 / sigmoid(-minus_x) - 1}


def tanh_as(tanh: Callable[[Array], Array]) -> Operations:
    """Operations under which tanh is another function."""
    return {np.tanh: tanh}


def relu_as(relu: Callable[[Array], Array]) -> Operations:
    """Operations under which maximum(x, 0) is another function of x."""
    return {np.maximum: lambda x, zero: relu(x)}


def factors_as(rounding: Callable[[Array], Array]) -> Operations:
    """Operations under which both factors of each matrix product are rounded first."""
    return {np.matmul: lambda left, right: np.matmul(rounding(left), rounding(right))}


def products_as(rounding: Callable[[Array], Array]) -> Operations:
    """Operations under which each matrix product is rounded."""
    return {np.matmul: lambda left, right: rounding(np.matmul(left, right))}


def computed_as(rounding: Callable[[Array], Array]) -> Operations:
    """Operations under which each matrix product and its factors are rounded."""
    return {np.matmul: lambda left, right: rounding(np.matmul(rounding(left), rounding(right)))}


def rounded(x: Array, bits: int, how: Callable[[Array], Array] = np.rint) -> Array:
    """`x` with a fraction of so many bits, however large or small it is."""
    plain = x.view(np.ndarray)
    fraction, exponent = np.frexp(plain)
    scaled = how(fraction * plain.dtype.type(2.0 ** (bits + 1)))
    near: Array = np.ldexp(scaled, exponent - (bits + 1)).astype(plain.dtype)
    return np.where(np.isfinite(plain), near, plain).view(type(x))
