"""An activation's absolute error, where a backend declares one."""

from dataclasses import replace

import numpy as np
import pytest
from rnn_conformance.arithmetic import arithmetic_of
from rnn_conformance.case import Case
from rnn_conformance.config import LayerConfig
from rnn_conformance.oracle import truth_of

ERROR = 2.0**-20


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_no_result_is_held_closer_than_a_declared_activation_errs(cell: str) -> None:
    arithmetic = replace(arithmetic_of("float32"), activation_error=ERROR)
    for seed in (*range(20), 376411328601):  # in the last, errors that are equal at each step cancel
        case = Case(LayerConfig(cell, 1, 1, bias=False, bidirectional=True), 2, 1, values="tiny", seed=seed)
        budgets = truth_of(case.config, case.inputs(), arithmetic).budgets
        assert all((budget.sigma > ERROR / 50).all() for budget in budgets.values())
        assert all((budget.sigma < ERROR * 20).all() for budget in budgets.values())


def test_relu_has_none() -> None:
    case = Case(LayerConfig("rnn_relu", 2, 3), 3, 2, values="uniform", seed=1)
    plain = arithmetic_of("float32")
    with_error = truth_of(case.config, case.inputs(), replace(plain, activation_error=ERROR)).budgets["output"]
    without = truth_of(case.config, case.inputs(), plain).budgets["output"]
    assert np.array_equal(with_error.sigma, without.sigma)
