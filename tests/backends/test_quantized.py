"""The budget of 8 bits: wide enough for rounding to a spacing, and no wider."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rnn_conformance.arithmetic import Arithmetic, arithmetic_of
from rnn_conformance.budget import LAMBDA, budgets

INT8 = replace(arithmetic_of("float32"), name="int8", input_steps=127, weight_steps=255)


def product(arrays: Any) -> dict[str, Any]:
    """x W^T, the runs at axis -3."""
    return {"y": arrays["x"] @ arrays["w"].T}


def drawn(scale: float = 1.0) -> dict[str, np.ndarray[Any, Any]]:
    """Five rows of 16 features and a matrix of 8 rows."""
    rng = np.random.default_rng(0)
    return {"x": rng.uniform(-1, 1, (1, 5, 16)) * scale, "w": rng.uniform(-1, 1, (8, 16)) / 16}


def rounded(array: np.ndarray[Any, Any], spacing: float) -> np.ndarray[Any, Any]:
    return np.round(array / spacing) * spacing


def rho(arithmetic: Arithmetic, steps: int) -> float:
    """The largest ρ of a product whose factors were rounded to so many steps."""
    arrays = drawn()
    budget = budgets(product, arrays, arithmetic)[0]["y"]
    x = rounded(arrays["x"], 2 / steps)
    w = rounded(arrays["w"], 2 * np.abs(arrays["w"]).max() / steps)
    return float(budget.rho((x @ w.T)[0]).max())


def test_eight_bits_pass_as_eight_bits() -> None:
    assert rho(INT8, 127) < LAMBDA


@pytest.mark.parametrize("steps", [3, 7])
def test_two_and_three_bits_do_not(steps: int) -> None:
    assert rho(INT8, steps) > LAMBDA


def test_eight_bits_do_not_pass_as_float32() -> None:
    assert rho(arithmetic_of("float32"), 127) > 100 * LAMBDA


def test_nothing_is_said_where_a_spacing_is_as_wide_as_a_gate() -> None:
    assert not budgets(product, drawn(), INT8)[1]
    assert budgets(product, drawn(512), INT8)[1]
