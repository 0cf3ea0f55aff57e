"""What the diagnosis of a fault's own finding says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from rnn_conformance import result
from rnn_conformance.backends.drop_in import DropInBackend
from rnn_conformance.diagnosis.result import Diagnosis
from rnn_conformance.execution import run_unit
from rnn_conformance.run import load_checks
from rnn_conformance.strategies import Unit

from tests.diagnosis.table import TABLE
from tests.faults import FAULTS, Fault


@dataclass(frozen=True)
class Measured:
    """One fault's finding, and what it was taken for."""

    due: str
    diagnosis: Diagnosis | None
    case: str
    seconds: float  # of the diagnosis

    @property
    def first(self) -> bool:
        """Whether the due hypothesis is first, or gives the same numbers as the first."""
        return self.place is not None and self.diagnosis is not None and self.place < self.diagnosis.alike

    @property
    def listed(self) -> bool:
        """Whether it is named at all."""
        return self.place is not None

    @property
    def place(self) -> int | None:
        """Where it is named."""
        ids = [named.id for named in self.diagnosis.likely] if self.diagnosis else []
        return ids.index(self.due) if self.due in ids else None

    def __str__(self) -> str:
        named = [f"{n.id} {n.rho:.2g}" for n in self.diagnosis.likely] if self.diagnosis else "no deviation"
        where = self.diagnosis.location if self.diagnosis else ""
        return f"{self.due} <- {named} {where} | {self.case} | {self.seconds:.2f} s"


def measured(name: str) -> Measured:
    """Run the check that is expected to catch a fault until a number deviates, and look at its diagnosis."""
    backend, spent = DropInBackend(**FAULTS[name].cells), 0.0

    def timed(*arguments: Any) -> Diagnosis:
        nonlocal spent
        start = time.perf_counter()
        found = diagnose(*arguments)
        spent = time.perf_counter() - start
        return found

    diagnose = result.diagnose
    with patch.object(result, "diagnose", timed):
        for id, unit in _units(FAULTS[name]):
            finding = run_unit(load_checks()[id], unit, backend, "ci").finding
            if finding is not None and finding.diagnosis is not None:
                return Measured(TABLE[name], finding.diagnosis, finding.case, spent)
    return Measured(TABLE[name], None, "not found", spent)


def _units(fault: Fault) -> Iterator[tuple[str, Unit]]:
    """Its own check, and one that compares whole results, since its own may compare none with the oracle."""
    for id in dict.fromkeys((fault.caught_by, "values.stack")):
        for seed in range(3):
            for dtype in fault.dtypes or ("float32", "float64"):
                for cell in _cells(fault):
                    yield id, Unit(id, cell, dtype, "cpu", seed)


def _cells(fault: Fault) -> list[str]:
    found = []
    for cell in fault.cells:
        nonlinearity = fault.shows.get("nonlinearity", "tanh")
        found.append(f"rnn_{nonlinearity}" if cell == "rnn" else cell)
    return found
