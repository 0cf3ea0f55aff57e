"""Quantized weights: a budget of 8 bits, as wide as rounding to a spacing and no wider; a truth of float16 weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from rnn_conformance.arithmetic import Arithmetic, arithmetic_of
from rnn_conformance.budget import LAMBDA, Budget, budgets
from rnn_conformance.case import Case, upstream_of
from rnn_conformance.config import LayerConfig
from rnn_conformance.diagnosis.question import Question
from rnn_conformance.oracle import Inputs, gradient_truth, truth_of

INT8 = replace(arithmetic_of("float32"), name="int8", input_steps=127, weight_steps=255)
FLOAT16 = replace(arithmetic_of("float32"), name="float32, weights in float16", weight_dtype="float16")

Array = np.ndarray[Any, Any]


def product(arrays: Any) -> dict[str, Any]:
    """x W^T, the runs at axis -3."""
    return {"y": arrays["x"] @ arrays["w"].T}


def drawn(scale: float = 1.0) -> dict[str, Array]:
    """Five rows of 16 features and a matrix of 8 rows."""
    rng = np.random.default_rng(0)
    return {"x": rng.uniform(-1, 1, (1, 5, 16)) * scale, "w": rng.uniform(-1, 1, (8, 16)) / 16}


def rounded(array: Array, spacing: float) -> Array:
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


def in_float16(weights: Array) -> Array:
    return np.clip(weights, -65504, 65504).astype(np.float16).astype(np.float32)


def in_bfloat16(weights: Array) -> Array:
    return weights.astype(ml_dtypes.bfloat16).astype(np.float32)


def in_eight_bits(weights: Array) -> Array:
    return rounded(weights, 2 * np.abs(weights).max() / 255).astype(np.float32)


def layer(cell: str) -> Case:
    """Two layers in both directions."""
    return Case(LayerConfig(cell, 6, 9, num_layers=2, bidirectional=True), 7, 4, values="uniform", seed=3)


def stored(inputs: Inputs, store: Callable[[Array], Array]) -> Inputs:
    """These inputs where weights alone are stored so."""
    changed = {n: store(a) if n.startswith("weight") else a for n, a in inputs.parameters.items()}
    return replace(inputs, parameters=changed)


def results(case: Case, inputs: Inputs, arithmetic: Arithmetic) -> Mapping[str, Budget]:
    return truth_of(case.config, inputs, arithmetic).budgets


def gradients(case: Case, inputs: Inputs, arithmetic: Arithmetic) -> Mapping[str, Budget]:
    return gradient_truth(case.config, inputs, upstream_of(case, inputs), arithmetic).budgets


def asked(case: Case, inputs: Inputs, arithmetic: Arithmetic) -> Mapping[str, Budget]:
    """Results as a diagnosis has them."""
    return Question(case, inputs, arithmetic, {}).budgets


Found = Callable[[Case, Inputs, Arithmetic], Mapping[str, Budget]]


def rho_of_layer(case: Case, found: Found, declared: Arithmetic, store: Callable[[Array], Array]) -> float:
    """The largest ρ of a float32 layer whose weights were stored so."""
    actual = found(case, stored(case.inputs(), store), arithmetic_of("float32"))
    due = found(case, case.inputs(), declared)
    return max(float(due[name].rho(b.truth.astype(np.float32)).max()) for name, b in actual.items())


@pytest.mark.parametrize("found", [results, gradients, asked])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_weights_in_float16_pass_as_such_and_no_others_do(cell: str, found: Found) -> None:
    case = layer(cell)
    assert rho_of_layer(case, found, FLOAT16, in_float16) < 2
    for store in (in_eight_bits, in_bfloat16, np.asarray):
        assert rho_of_layer(case, found, FLOAT16, store) > 10 * LAMBDA
    assert rho_of_layer(case, found, arithmetic_of("float32"), in_float16) > 10 * LAMBDA


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_budget_of_weights_in_float16_is_that_of_float32(cell: str) -> None:
    case = layer(cell)
    narrow = results(case, stored(case.inputs(), in_float16), arithmetic_of("float32"))
    for name, budget in results(case, case.inputs(), FLOAT16).items():
        assert np.array_equal(budget.sigma, narrow[name].sigma)


def test_weights_beyond_float16_are_the_largest_and_small_ones_keep_what_subnormal_numbers_hold() -> None:
    weights = np.array([7e4, -1e30, 65519, 65520, np.nan, 1 + 2**-11, 1 + 3 * 2**-11, 2**-24, 2**-25, 3e-8], np.float32)
    due = [65504, -65504, 65504, 65504, np.nan, 1, 1 + 2**-9, 2**-24, 0, 2**-24]
    kept = FLOAT16.stored({"weight_ih_l0": weights, "bias_ih_l0": weights})
    assert np.array_equal(kept["weight_ih_l0"], due, equal_nan=True)
    assert kept["bias_ih_l0"] is weights
