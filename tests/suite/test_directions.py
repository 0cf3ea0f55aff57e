"""merge_mode: a kernel that joins directions as was asked for is left alone, and another way to join them is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from rnn_conformance.backend import Array, Layer
from rnn_conformance.backends.numpy import NumPyBackend
from rnn_conformance.config import LayerConfig
from rnn_conformance.execution import run_unit
from rnn_conformance.record import CheckResult
from rnn_conformance.run import load_checks
from rnn_conformance.strategies import Unit


class Summing(NumPyBackend):
    """The oracle, which adds directions where their mean was asked for."""

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        """A layer of another merge_mode."""
        mode = "sum" if config.merge_mode == "ave" else config.merge_mode
        return super().layer(replace(config, merge_mode=mode), parameters)


def result_of(check: str, backend: NumPyBackend, cell: str) -> CheckResult:
    """One check in float32."""
    return run_unit(load_checks()[check], Unit(check, cell, "float32", "cpu", 0), backend, "ci")


@pytest.mark.parametrize("check", ["values.stack", "gradients.parameters"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_directions_joined_in_another_way_are_seen(cell: str, check: str) -> None:
    result = result_of(check, Summing(), cell)
    assert result.outcome == "failed"
    assert result.finding is not None
    assert result.finding.fields["config"]["merge_mode"] == "ave"


@pytest.mark.parametrize("check", ["structure.directions", "structure.layers", "values.final_state", "lengths.alone"])
def test_directions_joined_as_was_asked_for_pass(check: str) -> None:
    for cell in ("lstm", "gru"):
        assert result_of(check, NumPyBackend(), cell).outcome == "passed"


def test_sums_of_saturated_directions_may_lie_beyond_one() -> None:
    unit = Unit("special.saturation", "rnn_tanh", "float64", "cpu", 0)
    assert run_unit(load_checks()[unit.check], unit, NumPyBackend(), "ci").outcome == "passed"
