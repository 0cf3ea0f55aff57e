"""values.alone: a result that is wrong when it is the only one asked for is seen, and a right one left alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from rnn_conformance.backend import Array, Layer
from rnn_conformance.backends.numpy import NumPyBackend, OracleLayer
from rnn_conformance.config import LayerConfig
from rnn_conformance.execution import run_unit
from rnn_conformance.record import CheckResult
from rnn_conformance.run import load_checks
from rnn_conformance.strategies import Unit


class Alone(OracleLayer):
    """The oracle, but for one result where it is asked for alone."""

    result = ""

    def alone(self, name: str, input: Any, hx: Any = None, lengths: Sequence[int] | None = None) -> Any:
        due = super().alone(name, input, hx, lengths)
        return self.wrong(due, input, hx, lengths) if name == self.result else due

    def wrong(self, due: Array, input: Any, hx: Any, lengths: Any) -> Array:
        raise NotImplementedError

    def steps_first(self, output: Array) -> Array:
        """The output as steps, rows where there are any, and units."""
        return output.swapaxes(0, 1) if self.config.batch_first and output.ndim == 3 else output


class FirstLane(Alone):
    """h_n is that of the first lane, in every lane."""

    result = "h_n"

    def wrong(self, due: Array, input: Any, hx: Any, lengths: Any) -> Array:
        return np.broadcast_to(due[:1], due.shape)


class Stale(Alone):
    """c_n is that of the last call that was asked for all results, if there was any."""

    result = "c_n"
    kept: Any = None

    def forward(self, *call: Any, **options: Any) -> Any:
        self.kept = super().forward(*call, **options)
        return self.kept

    def alone(self, name: str, *call: Any, **options: Any) -> Any:
        kept = self.kept
        due = OracleLayer.alone(self, name, *call, **options)
        self.kept = kept
        return due if kept is None or name != self.result else kept[1][1]


class LastStepOfBoth(Alone):
    """What is given last is the output of the last step, in the reverse direction too."""

    result = "last"

    def wrong(self, due: Array, input: Any, hx: Any, lengths: Any) -> Array:
        output = self.steps_first(self.forward(input, hx, lengths)[0])
        if lengths is None:
            return output[-1]
        return np.stack([output[length - 1, row] for row, length in enumerate(lengths)])


class LastStepOfPadding(Alone):
    """What is given last is the output of the last step, whatever the length of the row."""

    result = "last"

    def wrong(self, due: Array, input: Any, hx: Any, lengths: Any) -> Array:
        own = due.shape[-1] // (2 if self.config.side_by_side else 1)
        at_the_end = self.steps_first(self.forward(input, hx, lengths)[0])[-1]
        wrong = due.copy()
        if not self.config.bidirectional or self.config.side_by_side:
            wrong[..., :own] = at_the_end[..., :own]
        return wrong


class WithoutState(Alone):
    """The output is that of a call without a state."""

    result = "output"

    def wrong(self, due: Array, input: Any, hx: Any, lengths: Any) -> Array:
        output: Array = self.forward(input, None, lengths)[0]
        return output


class Narrow(Alone):
    """What is given last has an axis too many."""

    result = "last"

    def wrong(self, due: Array, input: Any, hx: Any, lengths: Any) -> Array:
        return due[np.newaxis]


class Made(NumPyBackend):
    """The oracle, with layers of another class."""

    def __init__(self, made: type[OracleLayer]) -> None:
        self.made = made

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        super().layer(config, parameters)
        return self.made(config, parameters)


class Whole(OracleLayer):
    """The oracle, of which nothing can be asked for alone."""

    def alone(self, name: str, input: Any, hx: Any = None, lengths: Sequence[int] | None = None) -> Any:
        raise NotImplementedError


def result_of(made: type[OracleLayer], cell: str = "lstm", dtype: str = "float32") -> CheckResult:
    unit = Unit("values.alone", cell, dtype, "cpu", 0)
    return run_unit(load_checks()[unit.check], unit, Made(made), "ci")


@pytest.mark.parametrize("made", [FirstLane, Stale, LastStepOfBoth, LastStepOfPadding, WithoutState, Narrow])
def test_a_result_that_is_wrong_alone_is_seen(made: type[Alone]) -> None:
    result = result_of(made)
    assert result.outcome == "failed"
    assert result.finding is not None
    assert made.result in result.finding.message


@pytest.mark.parametrize(("made", "shown"), [(LastStepOfBoth, "bidirectional=True"), (LastStepOfPadding, "of lengths")])
def test_a_last_output_of_another_step_is_found_where_it_shows(made: type[Alone], shown: str) -> None:
    found = result_of(made, "gru").finding
    assert found is not None
    assert shown in found.case
    assert found.element.keys() == {"array", "row", "unit"}


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_right_results_are_left_alone(cell: str, dtype: str) -> None:
    result = result_of(OracleLayer, cell, dtype)
    assert result.outcome == "passed"
    assert result.values


def test_results_that_cannot_be_asked_for_alone_are_not_offered() -> None:
    result = result_of(Whole)
    assert result.outcome == "not_offered"
    assert "output alone is not offered" in result.reason
