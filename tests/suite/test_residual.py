"""residual: a kernel that adds the state before as was asked for is left alone; another is seen and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rnn_conformance.backend import Array, Layer
from rnn_conformance.backends.numpy import NumPyBackend, OracleLayer
from rnn_conformance.config import LayerConfig
from rnn_conformance.diagnosis import search
from rnn_conformance.diagnosis.hypotheses.base import CATALOGUE
from rnn_conformance.diagnosis.kernel import stack_of
from rnn_conformance.execution import run_unit
from rnn_conformance.record import CheckResult
from rnn_conformance.run import load_checks
from rnn_conformance.strategies import Unit
from rnn_reference.cells import Cell, Gates, Recurrent, State

from tests.diagnosis.mistaken import MistakenBackend

CELLS = ("rnn_tanh", "rnn_relu")


class Ignoring(NumPyBackend):
    """The oracle, which never adds the state before."""

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A layer without residual."""
        return super().layer(replace(config, residual=False), parameters)


class Unasked(NumPyBackend):
    """The oracle, which always adds the state before."""

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A layer with residual."""
        return super().layer(replace(config, residual=True), parameters)


class AddedAfter(OracleLayer):
    """The oracle without residual, whose new state is added to the one before it."""

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        """The results of that."""
        stack = stack_of(replace(self.config, residual=False), input)

        def step(x: Array, state: State, p: Recurrent) -> tuple[State, Gates]:
            ((new,), gates) = stack.cell.step(x, state, p)
            return (new + state[0],), gates

        wrong = replace(stack, cell=Cell(step, stack.cell.backward))
        return wrong.call(input, self.held, hx, self.config.batch_first, lengths, None, False)


class After(NumPyBackend):
    """Where residual is asked for, the state before is added to what leaves the nonlinearity."""

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A layer with that mistake."""
        return AddedAfter(config, parameters) if config.residual else super().layer(config, parameters)


class WithIdentity(NumPyBackend):
    """A correct variation: an identity is added to the recurrent weights, and nothing to what enters."""

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A layer without residual, with such weights."""
        if config.residual:
            one = np.eye(config.hidden_size)
            parameters = {n: (a + one).astype(a.dtype) if "weight_hh" in n else a for n, a in parameters.items()}
        return super().layer(replace(config, residual=False), parameters)


def result_of(check: str, backend: NumPyBackend, cell: str, dtype: str = "float32") -> CheckResult:
    """One check."""
    return run_unit(load_checks()[check], Unit(check, cell, dtype, "cpu", 0), backend, "ci")


@pytest.fixture
def _time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is named must not depend on how busy the machine is."""
    monkeypatch.setattr(search, "SECONDS", 600.0)


@pytest.mark.usefixtures("_time_enough")
@pytest.mark.parametrize(
    ("backend", "check", "asked", "name"),
    [
        (Ignoring(), "values.cell", True, "beyond.residual-ignored"),
        (Unasked(), "values.cell", False, "beyond.residual-unasked"),
        (After(), "values.cell", True, "beyond.residual-after"),
        (
            MistakenBackend(CATALOGUE["gradients.residual-lost"]),
            "gradients.parameters",
            True,
            "gradients.residual-lost",
        ),
    ],
    ids=["ignored", "unasked", "after", "lost on the way back"],
)
@pytest.mark.parametrize("cell", CELLS)
def test_a_state_that_is_added_elsewhere_is_seen_and_named(
    cell: str, backend: NumPyBackend, check: str, asked: bool, name: str
) -> None:
    result = result_of(check, backend, cell)
    assert result.outcome == "failed"
    assert result.finding is not None
    assert result.finding.fields["config"]["residual"] is asked
    assert result.finding.diagnosis is not None
    found = result.finding.diagnosis
    assert name in [named.id for named in found.likely[: found.alike]]


@pytest.mark.parametrize("check", ["values.stack", "steps.chunks", "structure.units", "lengths.alone", "edges.long"])
@pytest.mark.parametrize("backend", [NumPyBackend(), WithIdentity()], ids=["the oracle", "in the weights"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_state_that_is_added_as_was_asked_for_passes(cell: str, backend: NumPyBackend, check: str) -> None:
    assert result_of(check, backend, cell).outcome == "passed"


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_through_what_is_added_pass(cell: str, dtype: str) -> None:
    for check in ("gradients.parameters", "gradients.state"):
        result = result_of(check, NumPyBackend(), cell, dtype)
        assert result.outcome == "passed", result.finding


def test_saturated_units_stay_within_one() -> None:
    assert result_of("special.saturation", NumPyBackend(), "rnn_tanh").outcome == "passed"


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gated_cells_have_none(cell: str) -> None:
    with pytest.raises(ValueError, match=f"residual is defined for the RNN only, not for the {cell.upper()}"):
        LayerConfig(cell, 2, 3, residual=True)
