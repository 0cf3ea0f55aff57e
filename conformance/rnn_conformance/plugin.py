"""The pytest plugin: options, one test for each unit of work, and a record at the end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rnn_conformance.backend import Backend, WrongUse
from rnn_conformance.check import EXAMPLES, Check, crashed_result, run_unit
from rnn_conformance.expectations import Expectation
from rnn_conformance.record import CheckResult, Record, to_json, write_atomically
from rnn_conformance.report.page import page
from rnn_conformance.run import Request, load_checks, record_of, report_folder, require_writable, units
from rnn_conformance.verdict import verdict_lines


@dataclass
class Session:
    """A run as this process sees it."""

    request: Request
    backend: Backend
    expectations: tuple[Expectation, ...]
    report: Path
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    results: dict[str, CheckResult] = field(default_factory=dict)  # by node id
    errors: list[str] = field(default_factory=list)  # node ids at which the suite itself failed
    record: Record | None = None


_KINDS: dict[str, Any] = {
    "seed": int,
    "rtol": float,
    "atol": float,
    "isolate": lambda text: text == "True",
    "call_timeout": float,
    "memory_limit": float,
}
SESSION = pytest.StashKey[Session]()
RESULT = pytest.StashKey[CheckResult]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options as on the command line, prefixed."""
    group = parser.getgroup("rnn-conformance")
    for asked in fields(Request):
        kind: Any = _KINDS.get(asked.name, str)
        choices = tuple(EXAMPLES) if asked.name == "profile" else None
        group.addoption(f"--rnn-{asked.name}", default=asked.default, type=kind, choices=choices)
    group.addoption("--rnn-report", default=None, metavar="DIR", help="folder for record.json and index.html")


def pytest_configure(config: pytest.Config) -> None:
    """Load the backend before anything is collected, so that a wrong name is said at once."""
    request = Request(**{asked.name: config.getoption(f"--rnn-{asked.name}") for asked in fields(Request)})
    try:
        backend = request.load()
        known = request.known(backend)
        given = config.getoption("--rnn-report")
        folder = Path(given) if given else report_folder(backend.name, request.device)
        if not _is_worker(config):
            require_writable(folder)
    except WrongUse as error:
        raise pytest.UsageError(str(error)) from error
    session = config.stash[SESSION] = Session(request, backend, known, folder)
    if not _is_worker(config):
        config.pluginmanager.register(Collector(session), "rnn-conformance-collector")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each cell, dtype and device."""
    check: Check | None = getattr(metafunc.function, "rnn_check", None)
    if check is not None:
        request = metafunc.config.stash[SESSION].request
        every = list(units(check, request.device, request.seed))
        metafunc.parametrize("rnn_unit", every, ids=[f"{u.cell}-{u.dtype}-{u.device}" for u in every], indirect=True)


@pytest.fixture
def rnn_unit(request: pytest.FixtureRequest) -> Callable[[Check], None]:
    """Runs a check in this test's unit of work."""
    session, unit = request.config.stash[SESSION], request.param

    def run(check: Check) -> None:
        asked = session.request
        result = run_unit(check, unit, session.backend, asked.profile, asked.rtol, asked.atol, session.expectations)
        request.node.stash[RESULT] = result
        if result.finding is not None and result.outcome == "expected_failure":
            raise pytest.xfail.Exception(result.reason)
        if result.finding is not None:
            pytest.fail(f"{result.finding.sentence}\n{result.finding.message}\n{result.finding.case}", pytrace=False)
        if result.outcome == "not_offered":
            raise pytest.skip.Exception(result.reason)
        if result.outcome != "passed":
            said = result.reason or "no example said anything"
            pytest.fail(f"{unit.check} is {result.outcome}: {said}", pytrace=False)

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the result travel with pytest's report, from worker to controller too."""
    report = yield
    if report.when == "call" and (result := item.stash.get(RESULT, None)) is not None:
        vars(report)["rnn_result"] = msgspec.to_builtins(result)
    return report


class Collector:
    """Gathers results on the controller and writes the record at the end."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.expected = 0

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the units of work, without xdist."""
        self.expected = max(self.expected, sum("rnn_unit" in getattr(i, "fixturenames", ()) for i in session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Count the units of work, with xdist."""
        self.expected = max(self.expected, len(ids))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in one result, from whichever process."""
        if found := getattr(report, "rnn_result", None):
            self.session.results[report.nodeid] = msgspec.convert(found, CheckResult)
        elif str(report.when) == "???":  # so xdist reports a worker that died
            if (crashed := self._crashed(report)) is not None:
                self.session.results[report.nodeid] = crashed
        elif report.failed:
            self.session.errors.append(f"{report.nodeid}\n{report.longreprtext}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what went wrong before any check ran."""
        if report.failed:
            self.session.errors.append(f"{report.nodeid}\n{report.longreprtext}")

    def _crashed(self, report: pytest.TestReport) -> CheckResult | None:
        """The result of the unit in which a process died."""
        for check in load_checks().values():
            for unit in units(check, self.session.request.device, self.session.request.seed):
                name = f"test_{check.family}.py::test_{check.id.partition('.')[2]}"
                if report.nodeid.endswith(f"{name}[{unit.cell}-{unit.dtype}-{unit.device}]"):
                    return crashed_result(unit, report.longreprtext)
        return None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the record and the page, of as much as was run."""
        s = self.session
        if not self.expected:
            return
        finished = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        complete = finished and len(s.results) >= self.expected and not s.errors
        s.record = record_of(s.request, s.backend, s.results.values(), s.started, complete)
        write_atomically(s.report / "record.json", to_json(s.record))
        write_atomically(s.report / "index.html", page(s.record).encode())

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The verdict, in the last lines."""
        if self.session.record is not None:
            terminalreporter.section("rnn-conformance")
            for line in verdict_lines(self.session.record, self.session.report):
                terminalreporter.line(line)
