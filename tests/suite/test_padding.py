"""A backend that promises nothing beyond a length is looked at within it, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rnn_conformance.backend import Array, Layer, Policy
from rnn_conformance.backends.numpy import NumPyBackend, OracleLayer
from rnn_conformance.case import Case
from rnn_conformance.config import LayerConfig
from rnn_conformance.execution import run_unit
from rnn_conformance.judge import Judge
from rnn_conformance.run import load_checks
from rnn_conformance.strategies import Unit
from rnn_conformance.subject import Subject
from rnn_conformance.trace import Called, Trace

HELD = ["lengths.alone", "lengths.padding", "gradients.lengths", "gradients.parameters"]


class JunkBeyond(OracleLayer):
    """It leaves NaN beyond each length, from `first` steps after the end on, and takes in the gradients by them."""

    first = 0

    def forward(self, input: Any, hx: Any = None, lengths: Sequence[int] | None = None, training: bool = False) -> Any:
        output, state = super().forward(input, hx, lengths, training)
        rows = output.swapaxes(0, 1) if not self.config.batch_first and output.ndim == 3 else output
        for row, length in zip(rows, lengths or (), strict=False):
            row[length + self.first :] = np.nan
        return output, state

    def gradients(self, input: Any, hx: Any, output_gradient: Any, *rest: Any, **more: Any) -> Any:
        output, state, found = super().gradients(input, hx, output_gradient, *rest, **more)
        leak = np.where(np.isnan(output), output_gradient, 0).sum()
        return output, state, {name: gradient + leak.astype(gradient.dtype) for name, gradient in found.items()}


class JunkWithin(JunkBeyond):
    """The last step of each sequence is junk, too."""

    first = -1


class Junk(NumPyBackend):
    """The oracle, with layers of another class."""

    def __init__(self, made: type[JunkBeyond], padding: Any) -> None:
        self.made = made
        self.policy: Policy = replace(super().policy, padding=padding)

    def extras(self, cell: str) -> Mapping[str, tuple[Any, ...]]:
        return {}  # with which the oracle has no gradients

    def layer(self, config: LayerConfig, parameters: Mapping[str, Array]) -> Layer:
        super().layer(config, parameters)
        return self.made(config, parameters)


def outcome(check: str, backend: Junk, cell: str = "gru") -> str:
    return run_unit(load_checks()[check], Unit(check, cell, "float32", "cpu", 0), backend, "smoke").outcome


@pytest.mark.parametrize("check", HELD)
def test_what_is_not_promised_is_not_looked_at(check: str) -> None:
    assert outcome(check, Junk(JunkBeyond, "undefined")) == "passed"
    assert outcome(check, Junk(JunkBeyond, "zero")) == "failed"


@pytest.mark.parametrize("check", HELD)
def test_what_is_promised_is_looked_at(check: str) -> None:
    assert outcome(check, Junk(JunkWithin, "undefined")) == "failed"


@pytest.mark.parametrize(("padding", "found"), [("undefined", False), ("zero", True)])
@pytest.mark.parametrize("batch_first", [True, False])
def test_scripts_of_findings_look_there_neither(padding: str, found: bool, batch_first: bool) -> None:
    case = Case(LayerConfig("gru", 3, 4, batch_first=batch_first), seq_len=5, batch_size=2, lengths=(5, 3))
    backend = Junk(JunkBeyond, padding)
    trace = Trace(backend)
    Subject(trace.backend).run(case, case.inputs())
    call = trace.events[-1]
    assert isinstance(call, Called)
    wrong = Judge(backend.arithmetic("float32"), backend.policy).wrong(case.config, call)
    assert (wrong is not None) == found
