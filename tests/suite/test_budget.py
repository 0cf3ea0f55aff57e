"""The error budget: of sums, as wide as every order of rounding and no wider than a lost term; and of what jumps."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from rnn_conformance.arithmetic import arithmetic_of
from rnn_conformance.budget import LAMBDA, budgets

BFLOAT16 = arithmetic_of("bfloat16")
IN_STORAGE = replace(BFLOAT16, accumulator_roundoff=BFLOAT16.unit_roundoff)


def one_by_one(terms: np.ndarray) -> np.ndarray:
    """The sums over the first axis, rounded to bfloat16 after each addition."""
    total = np.zeros(terms.shape[1:], ml_dtypes.bfloat16)
    for term in terms.astype(ml_dtypes.bfloat16):
        total = total + term
    return total.astype(np.float64)


def terms_of(kind: str, count: int) -> np.ndarray:
    """`count` terms for each of 64 sums, as bfloat16 holds them."""
    rng = np.random.default_rng(count)
    terms = {
        "of one sign": np.abs(rng.standard_normal((count, 64))),
        "alike": np.broadcast_to(np.abs(rng.standard_normal(64)), (count, 64)),
        "of both signs": rng.standard_normal((count, 64)),
    }[kind]
    return terms.astype(ml_dtypes.bfloat16).astype(np.float64)


@pytest.mark.parametrize("kind", ["of one sign", "alike", "of both signs"])
@pytest.mark.parametrize("count", [2, 16, 100])
@pytest.mark.parametrize("by", ["product", "sum"])
def test_sums_in_storage_are_within_the_budget_and_a_lost_half_is_not(kind: str, count: int, by: str) -> None:
    terms = terms_of(kind, count)
    compute = {
        "product": lambda given: {"total": np.ones((1, 1, count)) @ given["terms"]},
        "sum": lambda given: {"total": given["terms"].sum(-2, keepdims=True)},
    }[by]
    budget = budgets(compute, {"terms": terms[np.newaxis]}, IN_STORAGE)[0]["total"]
    assert budget.rho(one_by_one(terms)).max() < LAMBDA
    assert budget.rho(one_by_one(terms[: count // 2])).max() > LAMBDA


@pytest.mark.parametrize(("distance", "says_nothing"), [(0.0, True), (1e-8, True), (1e-4, False)])
def test_nothing_is_said_where_rounding_decides_on_which_side_of_a_jump_a_number_is(
    distance: float, says_nothing: bool
) -> None:
    x = np.array([[[-3.0, 0.1 + distance, 2.0]]])
    jumps = budgets(lambda given: {"y": np.heaviside(given["x"] * 3 - 0.3, 0)}, {"x": x}, arithmetic_of("float32"))[1]
    assert jumps is says_nothing
