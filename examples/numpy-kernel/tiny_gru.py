"""A kernel in miniature without torch: a GRU of one layer and one direction over NumPy arrays, in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__version__ = "1.0"
Array = np.ndarray[Any, Any]


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def gru(x: Array, weights: Mapping[str, Array], h: Array) -> tuple[Array, Array]:
    """Output (T, B, H) and the final state (B, H) for input (T, B, I) and an initial state.

    Raises:
        ValueError: for arrays that do not fit together.
        TypeError: for arrays that are not float32.
    """
    w_ih, w_hh = weights["weight_ih_l0"], weights["weight_hh_l0"]
    b_ih, b_hh = (weights.get(name, np.zeros(len(w_ih), np.float32)) for name in ("bias_ih_l0", "bias_hh_l0"))
    if any(array.dtype != np.float32 for array in (x, h, *weights.values())):
        raise TypeError("every array must be float32")
    if x.ndim != 3 or not len(x) or x.shape[2] != w_ih.shape[1]:
        raise ValueError(f"input must be (T, B, {w_ih.shape[1]}) with T of 1 or more, not {x.shape}")
    if h.shape != (x.shape[1], w_hh.shape[1]):
        raise ValueError(f"the state must be {(x.shape[1], w_hh.shape[1])}, not {h.shape}")
    output = np.empty((*x.shape[:2], w_hh.shape[1]), np.float32)
    for t, step in enumerate(x):
        r_x, z_x, n_x = np.split(step @ w_ih.T + b_ih, 3, axis=1)
        r_h, z_h, n_h = np.split(h @ w_hh.T + b_hh, 3, axis=1)
        r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
        n = np.tanh(n_x + r * n_h)
        output[t] = h = (1 - z) * n + z * h
    return output, h.copy()
