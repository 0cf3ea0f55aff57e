"""Failing examples of an earlier run are tried first in the next one; files that are no examples are not read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rnn_conformance.backend import WrongUse
from rnn_conformance.case import Case
from rnn_conformance.examples import FOLDER, LARGEST, examples_of
from rnn_conformance.execution import run_unit
from rnn_conformance.record import CheckResult
from rnn_conformance.run import load_checks
from rnn_conformance.strategies import Unit

from tests.gate.test_expectations import Right, WrongWhenWide

UNIT = Unit("values.stack", "lstm", "float64", "cpu", 1)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ran(backend: Right, seed: int) -> tuple[CheckResult, list[str]]:
    tried: list[Case] = []
    unit = replace(UNIT, seed=seed)
    check = replace(load_checks()[unit.check], covering=False, explicit=None)
    known = examples_of(unit, "mine")
    found = run_unit(check, unit, backend, "smoke", note=tried.append, database=known)
    return found, [str(case) for case in tried]


def test_the_next_run_begins_with_them_whatever_its_seed() -> None:
    first, _ = ran(WrongWhenWide(), seed=1)
    assert first.finding is not None
    assert any(FOLDER.glob("mine-cpu/*"))
    _, tried = ran(Right(), seed=2)
    assert tried[0] == first.finding.case
    _, tried = ran(Right(), seed=2)
    assert tried[0] != first.finding.case  # it passed, and is forgotten


def test_a_run_without_failures_leaves_no_file() -> None:
    assert ran(Right(), seed=1)[0].outcome == "passed"
    assert not FOLDER.exists()


def test_a_file_too_large_for_an_example_is_not_read() -> None:
    ran(WrongWhenWide(), seed=1)
    kept = next(file for file in FOLDER.glob("*/*/*/*") if file.is_file())
    with kept.open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(WrongUse, match="no example of Hypothesis's"):
        examples_of(UNIT, "mine")


def test_files_of_garbage_are_no_examples() -> None:
    ran(WrongWhenWide(), seed=1)
    for file in FOLDER.glob("*/*/*/*"):
        file.write_bytes(b"\xff\x00garbage" * 9)
    assert ran(Right(), seed=2)[0].outcome == "passed"
