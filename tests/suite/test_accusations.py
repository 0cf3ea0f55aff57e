"""Cases in which the suite once accused a correct kernel."""

from collections.abc import Mapping
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
from rnn_conformance.backend import Array, Layer
from rnn_conformance.backends.numpy import NumPyBackend, OracleLayer
from rnn_conformance.config import LayerConfig
from rnn_conformance.execution import run_unit
from rnn_conformance.replay import replay
from rnn_conformance.run import load_checks
from rnn_conformance.strategies import Unit
from rnn_reference import cells
from rnn_reference.activations import USUAL, Activation

LEAVES_FLOAT16 = {
    "config": {"cell": "rnn_relu", "input_size": 4, "hidden_size": 1, "bias": False, "dtype": "float16"},
    "seq_len": 20,
    "batch_size": 1,
    "seed": 178381329625,
}


def test_a_relu_rnn_that_rightly_overflows_is_no_finding_of_subnormals() -> None:
    shown = replay("special.subnormals", LEAVES_FLOAT16, backend="numpy")
    assert not shown.again
    assert "SAYS NOTHING: the result overflows" in "\n".join(shown.lines)


class ByTanh(OracleLayer):
    """Its sigmoids are ½ + ½·tanh(x/2), each operation rounded, so that a gate may be exactly 0."""

    def forward(self, *call: Any, **options: Any) -> Any:
        by_tanh = USUAL._replace(gate=Activation(lambda x: 0.5 + 0.5 * np.tanh(x * 0.5), USUAL.gate.back))
        with mock.patch.object(cells, "LSTM", cells.LSTM._replace(step=partial(cells.lstm_cell, act=by_tanh))):
            return super().forward(*call, **options)


class NoInfinity(ByTanh):
    """It makes NaN of infinite states, whatever the gates are."""

    def forward(self, input: Any, hx: Any = None, *call: Any, **options: Any) -> Any:
        lost = None if hx is None else tuple(np.where(np.isinf(part), np.nan, part).astype(part.dtype) for part in hx)
        return super().forward(input, lost, *call, **options)


class Composed(NumPyBackend):
    """The oracle, with layers of another class."""

    def __init__(self, made: type[OracleLayer]) -> None:
        self.made = made

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        return {}

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        super().layer(config, parameters)
        return self.made(config, parameters)


def test_infinity_that_meets_a_gate_rounded_to_0_is_no_finding() -> None:
    def outcome(made: type[OracleLayer]) -> str:
        unit = Unit("special.inf", "lstm", "bfloat16", "cpu", 0)
        return run_unit(load_checks()[unit.check], unit, Composed(made), "thorough").outcome

    assert outcome(ByTanh) == "passed"
    assert outcome(NoInfinity) == "failed"
