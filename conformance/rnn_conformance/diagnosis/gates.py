"""Which gate is off, where it can be told: the only one that another value, within its range, would put right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rnn_reference.cells import GRU, LSTM
from rnn_reference.stack import recurrent_of

from rnn_conformance.diagnosis.kernel import Kernel

Array = np.ndarray[Any, Any]


def gate_off(kernel: Kernel, rows: Array, after: Sequence[Array], beyond: Sequence[Array]) -> str:
    """In words, with a comma before; '' where it cannot be told.

    Args:
        kernel: one layer in one direction, one step of it.
        rows: those of the kernel's batch that are looked at.
        after: the backend's h, and c for an LSTM, after the step.
        beyond: the elements of these that deviate.
    """
    if kernel.right.cell not in (LSTM, GRU) or kernel.config.proj_size:
        return ""
    p = kernel.parameters
    x = kernel.x[0, 0, rows] @ p["weight_ih_l0"].T + p.get("bias_ih_l0", 0.0)
    before = tuple(part[0, 0, rows] for part in kernel.hx)
    _, gates = kernel.cell.step(x, before, recurrent_of(p, "l0"))
    with np.errstate(all="ignore"):
        possible = (_lstm if kernel.right.cell == LSTM else _gru)(gates, x, before, after, beyond)
    if not possible:
        return ", which no single gate explains"
    words = " or ".join(possible)
    return f", which the gate {words} alone explains" if len(possible) == 1 else f", which one of {words} may explain"


def _all_within(values: Array, at: Array, low: float, high: float) -> bool:
    chosen = values[at]
    return bool(chosen.size and np.isfinite(chosen).all() and (chosen >= low).all() and (chosen <= high).all())


def _lstm(
    gates: dict[str, Array], x: Array, before: Sequence[Array], after: Sequence[Array], beyond: Sequence[Array]
) -> list[str]:
    i, f, g, (h, c) = gates["i"], gates["f"], gates["g"], after
    if not beyond[1].any():
        return ["o"] if _all_within(h / np.tanh(c), beyond[0], 0, 1) else []
    implied = {
        "i": ((c - f * before[1]) / g, 0.0),
        "f": ((c - i * g) / before[1], 0.0),
        "g": ((c - f * before[1]) / i, -1.0),
    }
    return [gate for gate, (values, low) in implied.items() if _all_within(values, beyond[1], low, 1)]


def _gru(
    gates: dict[str, Array], x: Array, before: Sequence[Array], after: Sequence[Array], beyond: Sequence[Array]
) -> list[str]:
    z, n, m, (h,) = gates["z"], gates["n"], gates["m"], after
    candidate = (h - z * before[0]) / (1 - z)
    implied = {
        "r": ((np.arctanh(candidate) - x[..., 2 * h.shape[-1] :]) / m, 0.0),
        "z": ((h - n) / (before[0] - n), 0.0),
        "n": (candidate, -1.0),
    }
    return [gate for gate, (values, low) in implied.items() if _all_within(values, beyond[0], low, 1)]
