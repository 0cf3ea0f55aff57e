"""The equations: one step of each cell.

Every cell takes `x`, the product of the input with its weights, `W_ih x_t + b_ih` (gates · hidden_size wide), the state
of the step before, and the recurrent parameters. It gives the new state, and its gates by name. The last axis holds
features; any axes before it are carried along.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
State = tuple[Array, ...]
Gates = dict[str, Array]


class Recurrent(NamedTuple):
    """The parameters of one direction of one layer that act on its own state."""

    w_hh: Array
    b_hh: Array | float  # 0 where there is no bias
    w_hr: Array | None  # the projection


Cell = Callable[[Array, State, Recurrent], tuple[State, Gates]]


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x); where e^-x overflows to infinity, the 0 that it should be."""
    return 1 / (1 + np.exp(-x))


def split(x: Array, parts: int) -> list[Array]:
    """`parts` equal slices of the last axis: the gates, in the order in which they are stacked."""
    size = x.shape[-1] // parts
    return [x[..., k * size : (k + 1) * size] for k in range(parts)]


def lstm_cell(x: Array, state: State, p: Recurrent) -> tuple[State, Gates]:
    """Hochreiter and Schmidhuber 1997 with forget gates, as in torch.nn.LSTM: gates i, f, g, o.

    With a projection `w_hr`, h is what it leaves of the cell's output (Sak et al. 2014).
    """
    h, c = state
    i, f, g, o = split(x + (h @ p.w_hh.T + p.b_hh), 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c + i * g
    h = o * np.tanh(c)
    if p.w_hr is not None:
        h = h @ p.w_hr.T
    return (h, c), {"i": i, "f": f, "g": g, "o": o}


def gru_cell(x: Array, state: State, p: Recurrent) -> tuple[State, Gates]:
    """torch.nn.GRU: gates r, z, n; the reset gate acts after the recurrent product, bias included."""
    (h,) = state
    x_r, x_z, x_n = split(x, 3)
    h_r, h_z, h_n = split(h @ p.w_hh.T + p.b_hh, 3)
    r = sigmoid(x_r + h_r)
    z = sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    h = (1 - z) * n + z * h
    return (h,), {"r": r, "z": z, "n": n}


def gru_reset_before_cell(x: Array, state: State, p: Recurrent) -> tuple[State, Gates]:
    """The GRU of Cho et al. 2014: the reset gate acts on the state, before the recurrent product.

    Gates and signs are torch.nn.GRU's (z keeps the old state). ONNX calls this linear_before_reset=0, Keras
    reset_after=False.
    """
    (h,) = state
    x_r, x_z, x_n = split(x, 3)
    size = h.shape[-1]
    w_rz, w_n = p.w_hh[: 2 * size], p.w_hh[2 * size :]
    b_rz, b_n = (0.0, 0.0) if isinstance(p.b_hh, float) else (p.b_hh[: 2 * size], p.b_hh[2 * size :])
    h_r, h_z = split(h @ w_rz.T + b_rz, 2)
    r = sigmoid(x_r + h_r)
    z = sigmoid(x_z + h_z)
    n = np.tanh(x_n + ((r * h) @ w_n.T + b_n))
    h = (1 - z) * n + z * h
    return (h,), {"r": r, "z": z, "n": n}


def rnn_tanh_cell(x: Array, state: State, p: Recurrent) -> tuple[State, Gates]:
    """Elman 1990, torch.nn.RNN with nonlinearity='tanh'."""
    (h,) = state
    return (np.tanh(x + (h @ p.w_hh.T + p.b_hh)),), {}


def rnn_relu_cell(x: Array, state: State, p: Recurrent) -> tuple[State, Gates]:
    """torch.nn.RNN with nonlinearity='relu'."""
    (h,) = state
    return (np.maximum(x + (h @ p.w_hh.T + p.b_hh), 0),), {}
