"""The run as one pytest process sees it: the backend loaded, units of work run, and the record at the end."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rnn_conformance.backend import Backend, WrongUse
from rnn_conformance.check import Check
from rnn_conformance.config import CELLS, DTYPES
from rnn_conformance.examples import examples_of
from rnn_conformance.execution import run_unit
from rnn_conformance.expectations import Expectation
from rnn_conformance.isolate import IsolatedBackend
from rnn_conformance.journal import Notebook, forget_notebooks, last_tried
from rnn_conformance.record import CheckResult, Record, to_json, write_atomically
from rnn_conformance.report.page import page
from rnn_conformance.request import Request
from rnn_conformance.result import crashed_result
from rnn_conformance.run import left_out, load_checks, record_of, report_folder, require_writable, units, with_command
from rnn_conformance.strategies import Unit
from rnn_conformance.verdict import script_line, verdict_lines

WRONG_USE = "wrong use"  # in place of a result: what the user is to change


@dataclass
class Session:
    """A run as this process sees it."""

    request: Request
    backend: Backend
    expectations: tuple[Expectation, ...]
    report: Path
    notebook: Notebook
    record: Record | None = None
    unwritten: str = ""  # why the record could not be written where it was wanted
    isolated: Backend | None = None  # the same backend in a process of its own, once that is needed

    @classmethod
    def of(cls, request: Request, report: str | None) -> Session:
        """Load what is asked for.

        Raises:
            WrongUse: where it cannot be.
        """
        backend = request.load()
        known = request.known(backend)
        folder = Path(report) if report else report_folder(backend.name, request.device)
        require_writable(folder)
        return cls(request, backend, known, folder, Notebook(folder))

    def run(self, check: Check, unit: Unit, deadline: float | None) -> CheckResult | str:
        """One unit of work, unless the time is over; or what the user is to change."""
        if deadline is not None and time.time() > deadline:
            return left_out(unit, self.request)
        asked = self.request
        try:
            note = partial(self.notebook.note, unit)
            backend = self.alone() if check.deadly else self.backend
            kept = examples_of(unit, self.backend.name)
            return run_unit(check, unit, backend, asked.profile, asked.rtol, asked.atol, self.expectations, note, kept)
        except WrongUse as error:
            return str(error)

    def alone(self) -> Backend:
        """The backend in a process of its own."""
        if self.request.isolated:
            return self.backend
        if self.isolated is None:
            self.isolated = replace(self.request, isolate=True).load()
        return self.isolated

    def sent(self, result: CheckResult | str) -> dict[str, Any]:
        """A result as it crosses to another process."""
        found: dict[str, Any] = {WRONG_USE: result} if isinstance(result, str) else msgspec.to_builtins(result)
        return found

    def tell(self, result: CheckResult | str) -> None:
        """Tell pytest what a unit came to."""
        if isinstance(result, str):
            pytest.fail(result, pytrace=False)
        if result.finding is not None and result.outcome == "expected_failure":
            raise pytest.xfail.Exception(result.reason)
        if result.finding is not None:
            found = with_command(result, self.request).finding or result.finding
            told = [found.sentence, found.message, found.case, f"replay: {found.command}"]
            told += [f"script: {script_line(found, self.report)}"] * bool(found.script)
            pytest.fail("\n".join(told), pytrace=False)
        if result.outcome in ("not_offered", "not_run") and result.reason:
            raise pytest.skip.Exception(result.reason)
        if result.outcome != "passed":
            said = result.reason or "no example said anything"
            pytest.fail(f"{result.id} is {result.outcome}: {said}", pytrace=False)

    def crashed(self, nodeid: str, last_words: str) -> dict[str, Any]:
        """The result of the unit in which a process died: run again in isolation, which shows the smallest case; or
        where that ends well, with the case that was being tried.
        """
        unit = unit_of(nodeid, self.request.device, self.request.seed)
        if unit is None:
            return self.sent(f"no unit is called {nodeid}")
        check, asked = load_checks()[unit.check], self.request
        if not asked.isolated:
            again = run_unit(check, unit, self.alone(), asked.profile, asked.rtol, asked.atol, self.expectations)
            if again.outcome in ("crashed", "timed_out"):
                return self.sent(again)
        return self.sent(crashed_result(check, unit, last_words, last_tried(self.report, unit)))

    def close(self) -> None:
        """Let go of processes and files."""
        self.notebook.close()
        for backend in (self.backend, self.isolated):
            if isinstance(backend, IsolatedBackend):
                backend.close()

    def wrong_use(self, results: Iterable[dict[str, Any]]) -> str:
        """What the user is to change, where that came out on the way."""
        return next((result[WRONG_USE] for result in results if WRONG_USE in result), "")

    def write(self, results: Iterable[dict[str, Any]], started: float, spent: float, complete: bool) -> None:
        """Write the record and the page of a run that started at this time, after so many seconds of earlier parts."""
        began = datetime.fromtimestamp(started, UTC)
        found = [msgspec.convert(result, CheckResult) for result in results]
        self.record = record_of(self.request, self.backend, found, began, spent, complete)
        try:
            self._write(self.record)
        except WrongUse as error:  # a full disk, or a folder that has gone: what was found is not to be lost
            self.report, self.unwritten = Path(tempfile.mkdtemp(prefix="rnn-conformance-")), str(error)
            with suppress(WrongUse):
                self._write(self.record)
        forget_notebooks(self.report)

    def _write(self, record: Record) -> None:
        write_atomically(self.report / "record.json", to_json(record))
        write_atomically(self.report / "index.html", page(record).encode())

    def last_lines(self) -> list[str]:
        """The verdict, and what leads to it."""
        return [] if self.record is None else verdict_lines(self.record, self.report)


@cache
def _units(device: str, seed: int) -> dict[str, Unit]:
    """Each unit by the last part of its test's node id, in rnn_conformance.suite and in a user's own tree."""
    found = {}
    for check in load_checks().values():
        name = check.id.partition(".")[2]
        for unit in units(check, device, seed):
            row = f"[{unit.cell}-{unit.dtype}-{unit.device}]"
            found[f"test_{check.family}.py::test_{name}{row}"] = unit
            found[f"test_{check.family}_{name}{row}"] = unit
    return found


def unit_of(nodeid: str, device: str, seed: int) -> Unit | None:
    """The unit of work that a test is, if it is one."""
    path, _, name = nodeid.rpartition("::")
    known = _units(device, seed)
    file = path.replace("\\", "/").rpartition("/")[2]
    return known.get(f"{file}::{name}") or known.get(name)


def spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """Units of work in the order in which any beginning of it says most.

    In each round every check of all cells and dtypes has one unit, of another cell and dtype than in the round before;
    within a round the families take turns.
    """
    families: dict[str, int] = {}
    turn: dict[str, int] = {}
    for check in load_checks().values():
        turn[check.id] = families.setdefault(check.family, 0)
        families[check.family] += 1
    family = {name: place for place, name in enumerate(families)}
    cells = {name: place for place, name in enumerate(CELLS)}
    dtypes = {name: place for place, name in enumerate(DTYPES)}

    def place(item: pytest.Item) -> tuple[int, int, int]:
        unit: Unit = item.callspec.params["rnn_unit"]  # type: ignore[attr-defined]
        column, row = cells.get(unit.cell, 0), dtypes.get(unit.dtype, 0)
        shift = (row - column) % len(DTYPES)
        own_family = family[unit.check.partition(".")[0]]
        start = (turn[unit.check] + own_family) % len(CELLS)
        return shift * len(CELLS) + (column - start) % len(CELLS), turn[unit.check], own_family

    return sorted(items, key=place)
