"""What is measured while a unit runs: the spread of ρ, the worst case along its axes, the classes of cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rnn_conformance.backends.numpy import NumPyBackend
from rnn_conformance.budget import LAMBDA
from rnn_conformance.case import Case
from rnn_conformance.config import LayerConfig
from rnn_conformance.execution import run_unit
from rnn_conformance.measured import AXES, BINS, Measured, axes_of, classes, trimmed
from rnn_conformance.run import load_checks
from rnn_conformance.strategies import Unit

CASE = Case(LayerConfig("lstm", 3, 4), seq_len=5, batch_size=2)


def test_every_number_falls_into_the_bin_that_holds_it() -> None:
    rng = np.random.default_rng(0)
    rho = np.concatenate([10.0 ** rng.uniform(-6, 8, 5000), [0.0, 1e300, LAMBDA, np.nextafter(LAMBDA, 0)]])
    measured = Measured()
    measured.add({"output": rho.reshape(-1, 1, 2)})
    edges = [0.0, *BINS, np.inf]
    assert measured.spread.tolist() == np.histogram(rho, edges)[0].tolist()
    assert measured.values == measured.spread.sum() == rho.size


def test_the_worst_case_is_that_of_the_largest_deviation() -> None:
    measured = Measured(case=CASE)
    rho = np.full((5, 2, 4), 0.5)
    rho[3, 1, 2] = 7.0
    measured.add({"step by step, output": rho, "step by step, h_n": np.full((1, 2, 4), 1.0)})
    measured.case = replace(CASE, seed=8)
    measured.add({"output": np.full((5, 2, 4), 6.0)})
    worst = measured.worst_case
    assert worst is not None
    assert (worst.case, worst.array) == (str(CASE), "step by step, output")
    assert worst.along["step"].rho == [0.5, 0.5, 0.5, 7.0, 0.5]
    assert worst.along["unit"].rho == [0.5, 0.5, 7.0, 0.5]
    assert "row" not in worst.along


def test_time_is_told_beside_a_state_that_is_worst() -> None:
    measured = Measured(case=CASE)
    measured.add({"output": np.full((5, 2, 4), 0.25), "h_n": np.full((2, 2, 4), 2.0)})
    worst = measured.worst_case
    assert worst is not None
    assert {axis: along.rho for axis, along in worst.along.items()} == {
        "lane": [2.0, 2.0],
        "unit": [2.0] * 4,
        "step": [0.25] * 5,
    }


def test_long_axes_are_told_in_parts_without_losing_the_largest() -> None:
    rho = np.linspace(0.1, 1, 1001)[:, np.newaxis, np.newaxis] * np.ones((1, 1, 3))
    rho[700] = 9.0
    measured = Measured(case=CASE)
    measured.add({"output": rho})
    worst = measured.worst_case
    assert worst is not None
    along = worst.along["step"]
    assert (along.size, len(along.rho)) == (1001, 64)
    assert max(along.rho) == 9.0
    assert along.rho.index(9.0) == 44


def test_nothing_compared_is_nothing_told() -> None:
    measured = Measured()
    measured.add({"output": np.zeros((0, 2, 4))})
    assert (measured.values, measured.worst_case, trimmed(measured.spread), measured.coverage) == (0, None, [], [])


@pytest.mark.parametrize(
    ("case", "axis", "due"),
    [
        (CASE, "steps", "4 to 15"),
        (replace(CASE, seq_len=0), "steps", "0"),
        (replace(CASE, batch_size=None), "batch", "no axis"),
        (replace(CASE, batch_size=0), "batch", "0"),
        (replace(CASE, batch_size=64), "batch", "64 and more"),
        (replace(CASE, batch_size=63), "batch", "16 to 63"),
        (CASE, "lengths", "none"),
        (replace(CASE, lengths=(5, 5)), "lengths", "equal"),
        (replace(CASE, lengths=(5, 1)), "lengths", "different"),
        (replace(CASE, lengths=(5, 0)), "lengths", "with 0"),
        (replace(CASE, hx=False), "initial state", "none"),
        (replace(CASE, config=LayerConfig("lstm", 1, 3, num_layers=7, proj_size=2)), "num_layers", "3 and more"),
        (replace(CASE, config=LayerConfig("lstm", 1, 3, proj_size=2)), "projection", "given"),
        (replace(CASE, config=LayerConfig("gru", 1, 3, bidirectional=True)), "directions", "2"),
        (replace(CASE, layout="padded"), "layout", "padded"),
    ],
)
def test_classes_of_a_case(case: Case, axis: str, due: str) -> None:
    found = dict(zip(AXES, classes(case), strict=True))
    assert found[axis] == due
    assert all(name in AXES[axis] for axis, name in found.items())


def test_axes_of_arrays() -> None:
    assert axes_of("in chunks, output", 3) == ("step", "row", "unit")
    assert axes_of("the gradient by input", 3) == ("step", "row", "unit")
    assert axes_of("h_n", 3) == ("lane", "row", "unit")
    assert axes_of("asked for alone, last", 2) == ("row", "unit")
    assert axes_of("the gradient by weight_ih_l0", 2) == ("gate unit", "column")


def test_a_unit_of_work_counts_all_of_its_examples_and_numbers() -> None:
    found = run_unit(
        load_checks()["values.cell"], Unit("values.cell", "gru", "float32", "cpu", 0), NumPyBackend(), "smoke"
    )
    assert found.examples >= 5
    assert [sum(counts) for counts in found.coverage] == [found.examples] * len(AXES)
    assert sum(found.spread) == found.values > 0
    assert found.worst is not None
    assert max(found.worst.along["unit"].rho) == pytest.approx(found.largest_rho, rel=0.01)
    assert "GRU(" in found.worst.case
