"""Activations: what the gates of cells are functions of, and their derivatives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Activation(NamedTuple):
    """A function y = f(x) of what enters a gate, and `back`, which maps d_y and y to d_x."""

    function: Callable[[Array], Array]
    back: Callable[[Array, Array], Array]

    def __call__(self, x: Array) -> Array:
        """f(x)."""
        return self.function(x)


class Activations(NamedTuple):
    """What the gates of one cell are functions of: ONNX's f, g and h."""

    gate: Activation  # of i, f and o, or r and z
    candidate: Activation  # of g, or n, or an RNN's whole sum
    cell: Activation  # of c on its way into h, in an LSTM


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x); where e^-x overflows to infinity, the 0 that it should be."""
    return 1 / (1 + np.exp(-x))


def elu(x: Array) -> Array:
    """`x` above 0, and e^x - 1 below."""
    below: Array = np.exp(np.minimum(x, 0)) - 1
    return np.maximum(x, 0) + below


def softplus(x: Array) -> Array:
    """log(1 + e^x), in a form in which nothing overflows."""
    more: Array = np.log(1 + np.exp(-np.abs(x)))
    return np.maximum(x, 0) + more


def bounded(x: Array, low: float, high: float) -> Array:
    """`x`, and the nearest bound beyond these."""
    return np.minimum(np.maximum(x, low), high)


def inside(y: Array, low: float, high: float) -> Array:
    """Whether `y` lies between the bounds: where what is bounded has a slope."""
    return (y > low) & (y < high)


def no_slope(d: Array, y: Array) -> Array:
    """In place of the slope of hard_sigmoid, which next to 1 hangs on the last bit of y.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("the oracle has no gradients with hard_sigmoid")


ACTIVATIONS = {
    "sigmoid": Activation(sigmoid, lambda d, y: d * y * (1 - y)),
    "tanh": Activation(np.tanh, lambda d, y: d * (1 - y * y)),
    "relu": Activation(lambda x: np.maximum(x, 0), lambda d, y: d * (y > 0)),  # 0 at 0, as in torch
    "leaky_relu": Activation(lambda x: np.maximum(x, x * 0.25), lambda d, y: np.where(y > 0, d, d * 0.25)),
    "hard_sigmoid": Activation(lambda x: bounded(x + 3, 0, 6) * (1 / 6), no_slope),
    "hard_tanh": Activation(lambda x: bounded(x, -1, 1), lambda d, y: d * inside(y, -1, 1)),
    "elu": Activation(elu, lambda d, y: d * np.minimum(y + 1, 1)),
    "softplus": Activation(softplus, lambda d, y: d * (1 - np.exp(-y))),
    "softsign": Activation(lambda x: x / (1 + np.abs(x)), lambda d, y: d * (1 - np.abs(y)) * (1 - np.abs(y))),
    "scaled_tanh": Activation(lambda x: np.tanh(x * 0.5) * 0.75, lambda d, y: d * (0.375 - y * y * (2 / 3))),
    "affine": Activation(lambda x: x * 0.75 + 0.5, lambda d, y: d * 0.75),
    "thresholded_relu": Activation(lambda x: x * np.heaviside(x - 0.3125, 0), lambda d, y: d * (y > 0)),
}
"""By the names that Keras has, and jax.nn but for soft_sign; and ONNX's ScaledTanh with alpha = 0.75 and beta = 0.5,
Affine with the same, and ThresholdedRelu with alpha = 0.3125. Below 0 the slope of leaky_relu is 0.25."""


def activations_of(kind: str, names: str) -> Activations:
    """The functions of an 'lstm', 'gru' or 'rnn' by these names, with spaces between; '' for torch.nn's.

    Raises:
        ValueError: for other names, or another number of them than the cell has functions.
    """
    usual = {"lstm": "sigmoid tanh tanh", "gru": "sigmoid tanh", "rnn": "tanh"}[kind]
    given = (names or usual).split()
    if len(given) != len(usual.split()) or not set(given) <= set(ACTIVATIONS):
        few = ", ".join(ACTIVATIONS)
        raise ValueError(f"activations of this cell must be {len(usual.split())} of {few}, not {names!r}")
    found = [ACTIVATIONS[name] for name in given]
    return Activations(found[0], found[min(1, len(found) - 1)], found[-1])


def has_gradients(names: str) -> bool:
    """Whether all the functions of these names, with spaces between, have a slope here."""
    return all(ACTIVATIONS[name].back is not no_slope for name in names.split())


USUAL = activations_of("lstm", "")
