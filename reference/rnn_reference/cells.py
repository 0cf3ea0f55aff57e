"""The equations: one step of each cell, and its derivative.

Every cell takes `x`, the product of the input with its weights, `W_ih x_t + b_ih` (gates · hidden_size wide), the state
of the step before, and the recurrent parameters. It gives the new state, and its gates by name. The last axis holds
features; any axes before it are carried along.

The derivative of a cell, its vector-Jacobian product, takes the gradient of a scalar by the new state, the state of the
step before, what the step left (its gates and its new state `h`, and `c` for the LSTM), and the recurrent parameters.
With `d_v` for the gradient by `v`, it gives d_x, the gradient by the state before, and the factors of the gradients
by the recurrent parameters.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rnn_reference.activations import USUAL, Activations, bounded

Array = np.ndarray[Any, Any]
State = tuple[Array, ...]
Gates = dict[str, Array]
Factors = dict[str, list[tuple[Array, Array]]]
"""Where a weight maps `a` to `W a + b`, its gradient is d aᵀ and that of b is d, with d the gradient by the product.
Here are d and a for each block of rows of each weight; stacks sum over steps and rows."""


class Recurrent(NamedTuple):
    """The parameters of one direction of one layer that act on its own state."""

    w_hh: Array
    b_hh: Array | float  # 0 where there is no bias
    w_hr: Array | None = None  # the projection
    peephole: Array | None = None


class Cell(NamedTuple):
    """One kind of cell."""

    step: Callable[..., tuple[State, Gates]]  # of x, the state before, the parameters and its options
    backward: Callable[..., tuple[Array, State, Factors]]


def split(x: Array, parts: int) -> list[Array]:
    """`parts` equal slices of the last axis: the gates, in the order in which they are stacked."""
    size = x.shape[-1] // parts
    return [x[..., k * size : (k + 1) * size] for k in range(parts)]


def clipped(x: Array, clip: float) -> Array:
    """`x` within ±clip; as it is where clip is 0."""
    return bounded(x, -clip, clip) if clip else x


def lstm_cell(x: Array, state: State, p: Recurrent, act: Activations = USUAL) -> tuple[State, Gates]:
    """Hochreiter and Schmidhuber 1997 with forget gates, as in torch.nn.LSTM: gates i, f, g, o.

    With a projection `w_hr`, h is what it leaves of the cell's output (Sak et al. 2014).
    """
    h, c = state
    sums = x + (h @ p.w_hh.T + p.b_hh)
    i, f, _, o = split(act.gate(sums), 4)  # of all four at once, which takes less time
    g = act.candidate(split(sums, 4)[2])
    c = f * c + i * g
    h = o * act.cell(c)
    if p.w_hr is not None:
        h = h @ p.w_hr.T
    return (h, c), {"i": i, "f": f, "g": g, "o": o}


def lstm_cell_backward(
    gradient: State, before: State, left: Gates, p: Recurrent, act: Activations = USUAL
) -> tuple[Array, State, Factors]:
    """The derivative of `lstm_cell`."""
    d_h, d_c = gradient
    h, c = before
    i, f, g, o = (left[gate] for gate in "ifgo")
    tanh_c = act.cell(left["c"])
    d_m = d_h if p.w_hr is None else d_h @ p.w_hr  # m = o tanh(c), which the projection takes
    d_c = d_c + act.cell.back(d_m * o, tanh_c)
    d_i = act.gate.back(d_c * g, i)
    d_f = act.gate.back(d_c * c, f)
    d_g = act.candidate.back(d_c * i, g)
    d_o = act.gate.back(d_m * tanh_c, o)
    d_x = np.concatenate([d_i, d_f, d_g, d_o], axis=-1)
    factors = {"weight_hh": [(d_x, h)]}
    if p.w_hr is not None:
        factors["weight_hr"] = [(d_h, o * tanh_c)]
    return d_x, (d_x @ p.w_hh, d_c * f), factors


def extended_lstm_cell(
    x: Array,
    state: State,
    p: Recurrent,
    act: Activations = USUAL,
    *,
    clip: float,
    input_forget: bool,
    forget_bias: float,
) -> tuple[State, Gates]:
    """`lstm_cell` with what torch.nn.LSTM lacks, as ONNX's operator LSTM defines it.

    Gates see the cell state through peepholes, o the new one (Gers and Schmidhuber 2000); what enters the gates i, f, g
    and o is clipped, but not c on its way into h; where `input_forget`, f is 1 - i; `forget_bias` is added to what
    enters f, as haiku.LSTM does, and leaves the derivative that of `lstm_cell`.
    """
    h, c = state
    i, f, g, o = split(x + (h @ p.w_hh.T + p.b_hh), 4)
    w_i, w_f, w_o = (None, None, None) if p.peephole is None else split(p.peephole, 3)
    f = f + forget_bias if forget_bias else f
    i = act.gate(clipped(_peeped(i, w_i, c), clip))
    f = 1 - i if input_forget else act.gate(clipped(_peeped(f, w_f, c), clip))
    g = act.candidate(clipped(g, clip))
    c = f * c + i * g
    o = act.gate(clipped(_peeped(o, w_o, c), clip))
    h = o * act.cell(c)
    if p.w_hr is not None:
        h = h @ p.w_hr.T
    return (h, c), {"i": i, "f": f, "g": g, "o": o}


def _peeped(gate: Array, weight: Array | None, c: Array) -> Array:
    return gate if weight is None else gate + weight * c


def gru_cell(
    x: Array, state: State, p: Recurrent, act: Activations = USUAL, *, clip: float = 0.0
) -> tuple[State, Gates]:
    """torch.nn.GRU: gates r, z, n; the reset gate acts after the recurrent product, bias included: on m.

    Where `clip`, what enters the gates is clipped, as in ONNX's operator GRU.
    """
    (h,) = state
    product = h @ p.w_hh.T + p.b_hh
    r, z, _ = split(act.gate(clipped(x + product, clip)), 3)  # of all three at once, which takes less time
    x_n, m = split(x, 3)[2], split(product, 3)[2]
    n = act.candidate(clipped(x_n + r * m, clip))
    h = (1 - z) * n + z * h
    return (h,), {"r": r, "z": z, "n": n, "m": m}


def gru_cell_backward(
    gradient: State, before: State, left: Gates, p: Recurrent, act: Activations = USUAL
) -> tuple[Array, State, Factors]:
    """The derivative of `gru_cell`."""
    (d_h,) = gradient
    (h,) = before
    r, z, n, m = (left[gate] for gate in "rznm")
    d_n = act.candidate.back(d_h * (1 - z), n)
    d_r = act.gate.back(d_n * m, r)
    d_z = act.gate.back(d_h * (h - n), z)
    d_x = np.concatenate([d_r, d_z, d_n], axis=-1)
    d_product = np.concatenate([d_r, d_z, d_n * r], axis=-1)
    return d_x, (d_h * z + d_product @ p.w_hh,), {"weight_hh": [(d_product, h)]}


def gru_reset_before_cell(
    x: Array, state: State, p: Recurrent, act: Activations = USUAL, *, clip: float = 0.0
) -> tuple[State, Gates]:
    """The GRU of Cho et al. 2014: the reset gate acts on the state, before the recurrent product.

    Gates and signs are torch.nn.GRU's (z keeps the old state). ONNX calls this linear_before_reset=0, Keras
    reset_after=False.
    """
    (h,) = state
    size = h.shape[-1]
    x_rz, x_n = x[..., : 2 * size], x[..., 2 * size :]
    w_rz, w_n = p.w_hh[: 2 * size], p.w_hh[2 * size :]
    b_rz, b_n = (0.0, 0.0) if isinstance(p.b_hh, float) else (p.b_hh[: 2 * size], p.b_hh[2 * size :])
    r, z = split(act.gate(clipped(x_rz + (h @ w_rz.T + b_rz), clip)), 2)
    n = act.candidate(clipped(x_n + ((r * h) @ w_n.T + b_n), clip))
    h = (1 - z) * n + z * h
    return (h,), {"r": r, "z": z, "n": n}


def gru_reset_before_cell_backward(
    gradient: State, before: State, left: Gates, p: Recurrent, act: Activations = USUAL
) -> tuple[Array, State, Factors]:
    """The derivative of `gru_reset_before_cell`."""
    (d_h,) = gradient
    (h,) = before
    r, z, n = (left[gate] for gate in "rzn")
    size = h.shape[-1]
    w_rz, w_n = p.w_hh[: 2 * size], p.w_hh[2 * size :]
    d_n = act.candidate.back(d_h * (1 - z), n)
    d_rh = d_n @ w_n
    d_r = act.gate.back(d_rh * h, r)
    d_z = act.gate.back(d_h * (h - n), z)
    d_rz = np.concatenate([d_r, d_z], axis=-1)
    d_x = np.concatenate([d_rz, d_n], axis=-1)
    return d_x, (d_h * z + d_rh * r + d_rz @ w_rz,), {"weight_hh": [(d_rz, h), (d_n, r * h)]}


def rnn_cell(
    x: Array, state: State, p: Recurrent, act: Activations = USUAL, *, clip: float = 0.0
) -> tuple[State, Gates]:
    """Elman 1990, torch.nn.RNN: its nonlinearity is `act.candidate`."""
    (h,) = state
    return (act.candidate(clipped(x + (h @ p.w_hh.T + p.b_hh), clip)),), {}


def rnn_cell_backward(
    gradient: State, before: State, left: Gates, p: Recurrent, act: Activations = USUAL
) -> tuple[Array, State, Factors]:
    """The derivative of `rnn_cell`."""
    d_x = act.candidate.back(gradient[0], left["h"])
    return d_x, (d_x @ p.w_hh,), {"weight_hh": [(d_x, before[0])]}


def residual_rnn_cell(
    x: Array, state: State, p: Recurrent, act: Activations = USUAL, *, clip: float = 0.0
) -> tuple[State, Gates]:
    """`rnn_cell` with the state before added to what enters its nonlinearity, as flax.linen.SimpleCell's `residual`
    defines it: a "pre-activation residual connection (https://arxiv.org/abs/1801.06105)".
    """
    (h,) = state
    return (act.candidate(clipped(x + (h @ p.w_hh.T + p.b_hh) + h, clip)),), {}


def residual_rnn_cell_backward(
    gradient: State, before: State, left: Gates, p: Recurrent, act: Activations = USUAL
) -> tuple[Array, State, Factors]:
    """The derivative of `residual_rnn_cell`."""
    d_x = act.candidate.back(gradient[0], left["h"])
    return d_x, (d_x @ p.w_hh + d_x,), {"weight_hh": [(d_x, before[0])]}


def no_derivative(
    gradient: State, before: State, left: Gates, p: Recurrent, act: Activations = USUAL
) -> tuple[Array, State, Factors]:
    """In place of a derivative that this oracle does not have.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("the oracle has no gradients with peepholes, clip or input_forget")


LSTM = Cell(lstm_cell, lstm_cell_backward)
GRU = Cell(gru_cell, gru_cell_backward)
GRU_RESET_BEFORE = Cell(gru_reset_before_cell, gru_reset_before_cell_backward)
RNN = Cell(rnn_cell, rnn_cell_backward)
RESIDUAL_RNN = Cell(residual_rnn_cell, residual_rnn_cell_backward)
