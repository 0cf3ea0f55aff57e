"""Precision: numbers that pass through a format with fewer bits than the dtype declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from rnn_reference.cells import Array

from rnn_conformance.arithmetic import arithmetic_of
from rnn_conformance.diagnosis.hypotheses.activations import operating
from rnn_conformance.diagnosis.hypotheses.base import Change, add, each
from rnn_conformance.diagnosis.hypotheses.sequences import stepping
from rnn_conformance.diagnosis.kernel import Kernel
from rnn_conformance.diagnosis.operations import computed_as, factors_as, products_as, rounded

Rounding = Callable[[Array], Array]


def _float16(x: Array) -> Array:
    """`x` in float16, with its range."""
    with np.errstate(all="ignore"):
        plain = x.view(np.ndarray)
        return plain.astype(np.float16).astype(plain.dtype).view(type(x))


FORMATS: dict[str, tuple[str, float, Rounding]] = {
    "float32": ("float32", 2.0**-24, lambda x: rounded(x, 23)),
    "float16": ("float16", 2.0**-11, _float16),
    "tf32": ("TF32, a fraction of 10 bits", 2.0**-11, lambda x: rounded(x, 10)),
    "tf32-truncated": ("TF32 by cutting off bits", 2.0**-10, lambda x: rounded(x, 10, np.trunc)),
    "bfloat16": ("bfloat16", 2.0**-8, lambda x: rounded(x, 7)),
    "bfloat16-truncated": ("bfloat16 by cutting off bits", 2.0**-7, lambda x: rounded(x, 7, np.trunc)),
    "4-bits": ("a fraction of 4 bits", 2.0**-5, lambda x: rounded(x, 4)),
    "int8": ("8-bit integers of one scale for each tensor", 0.0, lambda x: _integers(x, 127)),
    "int8-by-row": ("8-bit integers of one scale for each row", 0.0, lambda x: _integers(x, 127, by_row=True)),
}


def _integers(x: Array, largest: int, by_row: bool = False) -> Array:
    plain = x.view(np.ndarray)
    scale = np.abs(plain).max(axis=-1 if by_row else None, keepdims=True, initial=0) / largest
    quotient = np.divide(plain, scale, out=np.zeros_like(plain), where=scale > 0)
    whole: Array = (np.rint(quotient) * scale).view(type(x))
    return whole


def coarser(roundoff: float, change: Change) -> Change:
    """The change of a kernel whose dtype has more bits than the format."""

    def changed(kernel: Kernel) -> Kernel | None:
        declared = arithmetic_of(kernel.config.dtype).unit_roundoff
        return change(kernel) if not roundoff or roundoff > declared else None

    return changed


def _input(rounding: Rounding) -> Change:
    return lambda kernel: replace(kernel, x=rounding(kernel.x))


def _hidden(rounding: Rounding) -> Change:
    return stepping(lambda state, new: (rounding(new[0]), *new[1:]))


def _cell(rounding: Rounding) -> Change:
    """C rounded before h is made of it."""

    def change(kernel: Kernel) -> Kernel | None:
        if kernel.config.kind != "lstm":
            return None

        def step(x: Array, state: tuple[Array, ...], p: object) -> object:
            (_, c), gates = kernel.cell.step(x, state, p)
            c = rounding(c)
            h = gates["o"] * np.tanh(c)
            w_hr = p.w_hr  # type: ignore[attr-defined]
            return (h if w_hr is None else h @ w_hr.T, c), gates

        return replace(kernel, cell=kernel.cell._replace(step=step))  # type: ignore[arg-type]

    return change


def _states(rounding: Rounding) -> Change:
    return stepping(lambda state, new: tuple(map(rounding, new)))


def _all_of(*changes: Change) -> Change:
    def change(kernel: Kernel) -> Kernel | None:
        changed: Kernel | None = kernel
        for one in changes:
            changed = one(changed) if changed is not None else None
        return changed

    return change


for _id, (_words, _roundoff, _rounding) in FORMATS.items():
    for _what, _sentence, _change in (
        ("weights", "the weights are rounded to {}", partial(each, start="weight", change=_rounding)),
        ("biases", "the biases are rounded to {}", partial(each, start="bias", change=_rounding)),
        ("parameters", "weights and biases are rounded to {}", partial(each, start="", change=_rounding)),
        ("input", "the input is rounded to {}", _input(_rounding)),
        ("products-computed", "every product is computed in {}", operating(computed_as(_rounding))),
        ("factors", "the factors of every product are rounded to {}", operating(factors_as(_rounding))),
        ("products", "every product is rounded to {}", operating(products_as(_rounding))),
        ("hidden-state", "the hidden state is kept in {}", _hidden(_rounding)),
        ("cell-state", "the cell state is kept in {}", _cell(_rounding)),
    ):
        add(f"precision.{_what}-in-{_id}", _sentence.format(_words), coarser(_roundoff, _change))
