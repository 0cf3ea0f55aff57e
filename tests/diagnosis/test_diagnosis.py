"""What a finding says of a fault of the zoo, of a pair of mistakes, and of one that nobody knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rnn_conformance import result
from rnn_conformance.backends.drop_in import DropInBackend
from rnn_conformance.case import Case
from rnn_conformance.config import LayerConfig
from rnn_conformance.diagnosis import search
from rnn_conformance.diagnosis.hypotheses.base import CATALOGUE, Hypothesis
from rnn_conformance.diagnosis.kernel import Kernel
from rnn_conformance.diagnosis.search import diagnose
from rnn_conformance.diagnosis.table import every
from rnn_conformance.execution import run_unit
from rnn_conformance.run import load_checks
from rnn_conformance.strategies import Unit
from rnn_conformance.subject import Subject
from rnn_conformance.verdict import finding_lines
from rnn_reference.cells import Cell

from tests.diagnosis.measure import measured
from tests.diagnosis.mistaken import MistakenBackend
from tests.diagnosis.table import TABLE
from tests.faults import CONTROLS, FAULTS

QUICK = (
    "gates-ordered-iofc",
    "input-and-forget-coupled",
    "no-tanh-on-cell",
    "reset-before-product",
    "recurrent-bias-lost",
    "reverse-not-flipped-back",
    "states-ordered-by-direction",
    "padding-read",
    "steps-off-by-one",
    "cell-state-in-bfloat16",
    "rows-coupled",
    "layers-detached",
    "cell-state-gradient-doubled",
)
SMALL = Case(LayerConfig("lstm", 1, 1), 2, 1)
DEEP = Case(LayerConfig("lstm", 3, 4, num_layers=2, bidirectional=True), 6, 3, values="normal", seed=1)


@pytest.fixture(autouse=True)
def _time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found must not depend on how busy the machine is."""
    monkeypatch.setattr(search, "SECONDS", 600.0)


@pytest.mark.parametrize("name", QUICK)
def test_faults_are_named(name: str) -> None:
    found = measured(name)
    assert found.first, found


def test_table_names_what_there_is() -> None:
    assert set(TABLE) <= set(FAULTS)
    assert set(TABLE.values()) <= {hypothesis.id for hypothesis in every()}


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_get_no_diagnosis(name: str) -> None:
    control = CONTROLS[name]
    for kind in ("values", "gradients"):
        for cell in control.cells:
            config = LayerConfig("rnn_tanh" if cell == "rnn" else cell, 3, 4, num_layers=2, bidirectional=True)
            found = diagnose(Subject(DropInBackend(**control.cells)), Case(config, 5, 3, values="normal"), kind)  # type: ignore[arg-type]
            assert not found.likely


def test_pair_is_named() -> None:
    one, other = CATALOGUE["gates.ifog"], CATALOGUE["weights.bias_hh-lost"]
    both = Hypothesis("both", "both", lambda kernel: other.change(one.change(kernel) or kernel))
    found = diagnose(Subject(MistakenBackend(both)), SMALL, "values")
    assert found.likely[0].id == "gates.ifog + weights.bias_hh-lost"


def _unheard_of(gate: str, unit: int, lane: int, step: int) -> Hypothesis:
    """From a step of a lane on, one unit of a gate is a tenth too small."""

    def change(kernel: Kernel) -> Kernel:
        right, taken = kernel.cell, iter(range(10**6))

        def stepped(x: Any, state: Any, p: Any) -> Any:
            new, gates = right.step(x, state, p)
            lanes_before, t = divmod(next(taken), kernel.steps)
            if lanes_before != lane or t < step:
                return new, gates
            factor = np.where(np.arange(kernel.config.hidden_size) == unit, 0.9, 1)
            gates = gates | {gate: gates[gate] * factor}
            c = gates["f"] * state[1] + gates["i"] * gates["g"]
            return (gates["o"] * np.tanh(c), c), gates

        return replace(kernel, cell=Cell(stepped, right.backward))

    return Hypothesis("unheard-of", "unheard of", change)


@pytest.mark.parametrize(
    ("lane", "place"), [(0, "layer 0, forward direction, step 2"), (1, "layer 0, reverse direction, step 3")]
)
def test_unknown_mistake_is_localised(lane: int, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SECONDS", 1.0)
    found = diagnose(Subject(MistakenBackend(_unheard_of("o", 2, lane, step=2))), DEEP, "values")
    assert not found.likely
    assert found.location.startswith(f"{search.NOTHING}; {place}, row 0, unit 2: h is ")
    assert found.location.endswith("which the gate o alone explains")


def test_failing_to_diagnose_loses_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: Any) -> None:
        raise RuntimeError("no idea")

    monkeypatch.setattr(result, "diagnose", fails)
    backend = MistakenBackend(CATALOGUE["weights.bias_hh-lost"])
    unit = Unit("values.cell", "lstm", "float32", "cpu", 0)
    found = run_unit(load_checks()["values.cell"], unit, backend, "smoke")
    assert found.outcome == "failed"
    assert found.finding is not None
    assert found.finding.diagnosis is not None
    assert found.finding.diagnosis.location == "diagnosing failed with RuntimeError: no idea"


def test_terminal_says_what_it_looks_like() -> None:
    backend = MistakenBackend(CATALOGUE["weights.bias_hh-lost"])
    unit = Unit("values.cell", "lstm", "float32", "cpu", 0)
    found = run_unit(load_checks()["values.cell"], unit, backend, "smoke")
    lines = "\n".join(finding_lines(found))
    assert "looks like: the recurrent bias is left out [weights.bias_hh-lost, ρ = " in lines
