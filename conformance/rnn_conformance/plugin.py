"""The pytest plugin: options, one test for each unit of work, and a record at the end.

An entry point loads it in every pytest run. Until a check is collected it imports nothing that costs time; what does is
in session.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from rnn_conformance.request import PROFILES, Request, natural, positive, seconds, switch

if TYPE_CHECKING:
    from rnn_conformance.check import Check
    from rnn_conformance.session import Session

SESSION = pytest.StashKey["Session"]()
RESULT = pytest.StashKey[dict[str, Any]]()
DEADLINE = pytest.StashKey[float]()
TYPES: dict[str, Any] = {"seed": natural, "rtol": float, "atol": float, "time_budget": seconds} | {
    "isolate": switch,
    "call_timeout": positive,
    "memory_limit": positive,
}
HELP = {
    "backend": "a name that `rnn-conformance backends` lists, or module:Class",
    "lstm": "a drop-in for torch.nn.LSTM, as module:Class",
    "gru": "a drop-in for torch.nn.GRU, as module:Class",
    "rnn": "a drop-in for torch.nn.RNN, as module:Class",
    "device": "cpu (the default), cuda or mps",
    "profile": "how hard to try: smoke, ci (the default) or thorough",
    "seed": "the cases follow from it (default: 0)",
    "rtol": "a house rule, relative, in place of the error budget",
    "atol": "a house rule, absolute, in place of the error budget",
    "expectations": "known deviations in TOML (default: the backend's own)",
    "time_budget": "spread this time, such as 60s, over the checks, and say what was left out",
    "isolate": "True or False: whether the backend runs in a process of its own (default: what may crash)",
    "call_timeout": "seconds for one call there (default: 30)",
    "memory_limit": "GiB of address space there (default: no limit)",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options as on the command line, prefixed."""
    group = parser.getgroup("rnn-conformance", "conformance of recurrent kernels (rnn_conformance.suite)")
    for asked in fields(Request):
        choices = PROFILES if asked.name == "profile" else None
        kind = TYPES.get(asked.name, str)
        flag, said = f"--rnn-{asked.name.replace('_', '-')}", HELP[asked.name]
        group.addoption(flag, default=asked.default, type=kind, choices=choices, help=said)
    group.addoption("--rnn-report", default=None, metavar="DIR", help="folder for record.json and index.html")


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker of every check, and on the controller gather results."""
    config.addinivalue_line("markers", "rnn_conformance: a check of rnn_conformance.suite")
    config.pluginmanager.register(Order(), "rnn-conformance-order")
    budget = config.getoption("--rnn-time-budget")
    worker = getattr(config, "workerinput", None)
    if budget is not None:
        config.stash[DEADLINE] = worker["rnn_deadline"] if worker else time.time() + budget
    if worker is None:
        config.pluginmanager.register(Collector(config), "rnn-conformance-collector")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist when the time is over, and whether another has died."""
    collector: Any = node.config.pluginmanager.get_plugin("rnn-conformance-collector")
    node.workerinput["rnn_isolate"] = collector.crashed
    if (deadline := node.config.stash.get(DEADLINE, None)) is not None:
        node.workerinput["rnn_deadline"] = deadline


def session_of(config: pytest.Config) -> Session:
    """What was asked for, loaded when the first check is met.

    Raises:
        WrongUse: where it cannot be.
    """
    from rnn_conformance.session import Session

    if SESSION not in config.stash:
        given = {asked.name: config.getoption(f"--rnn-{asked.name.replace('_', '-')}") for asked in fields(Request)}
        if getattr(config, "workerinput", {}).get("rnn_isolate"):
            given["isolate"] = True
        config.stash[SESSION] = Session.of(Request(**given), config.getoption("--rnn-report"))
    return config.stash[SESSION]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each cell, dtype and device."""
    check: Check | None = getattr(metafunc.function, "rnn_check", None)
    if check is None:
        return
    from rnn_conformance.backend import WrongUse
    from rnn_conformance.run import units

    try:
        request = session_of(metafunc.config).request
    except WrongUse as error:
        raise pytest.Collector.CollectError(f"rnn-conformance: {error}") from error
    every = list(units(check, request.device, request.seed))
    metafunc.parametrize("rnn_unit", every, ids=[f"{u.cell}-{u.dtype}-{u.device}" for u in every], indirect=True)


def is_check(item: pytest.Item) -> bool:
    """Whether this test is one unit of work of a check."""
    return hasattr(getattr(item, "function", None), "rnn_check")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a check, so that -m can choose it, and -k by the name that findings have."""
    if is_check(item):
        item.add_marker("rnn_conformance")
        item.extra_keyword_matches.add(item.function.rnn_check.id)  # type: ignore[attr-defined]


class Order:
    """The order of units of work, before others change it."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """What finds most comes first."""
        if not any(map(is_check, items)):
            return
        from rnn_conformance.run import rank

        def place(item: Any) -> tuple[int, int, int]:
            return rank(item.callspec.params["rnn_unit"])

        ours = iter(sorted(filter(is_check, items), key=place))
        items[:] = [next(ours) if is_check(item) else item for item in items]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a resumed run knows; where time is short, begin with what says most."""
    if known := _known(config):
        left = [item for item in items if not (is_check(item) and _name(item) in known)]
        config.hook.pytest_deselected(items=[item for item in items if item not in left])
        items[:] = left
    if config.stash.get(DEADLINE, None) is None or SESSION not in config.stash:
        return
    from rnn_conformance.session import spread

    ours = iter(spread([item for item in items if is_check(item)]))
    items[:] = [next(ours) if is_check(item) else item for item in items]


def _known(config: pytest.Config) -> set[str]:
    """The units of which a resumed run knows the result."""
    if (worker := getattr(config, "workerinput", None)) is not None:
        return set(worker.get("rnn_done", ()))
    collector: Any = config.pluginmanager.get_plugin("rnn-conformance-collector")
    return set(collector.known)


def _name(item: Any) -> str:
    unit = item.callspec.params["rnn_unit"]
    return f"{unit.check}[{unit.cell}-{unit.dtype}-{unit.device}]"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let the backend go."""
    if (session := config.stash.get(SESSION, None)) is not None:
        session.close()


@pytest.fixture
def rnn_unit(request: pytest.FixtureRequest) -> Callable[[Check], None]:
    """Runs a check in this test's unit of work."""

    def run(check: Check) -> None:
        session = session_of(request.config)
        result = session.run(check, request.param, request.config.stash.get(DEADLINE, None))
        request.node.stash[RESULT] = session.sent(result)
        session.tell(result)

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the result travel with pytest's report, from worker to controller too."""
    report = yield
    if report.when == "call" and (result := item.stash.get(RESULT, None)) is not None:
        vars(report)["rnn_result"] = result
    return report


class Collector:
    """Gathers results on the controller and writes the record at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.expected = 0
        self.errors: list[str] = []  # where the suite itself failed
        self.results: dict[str, dict[str, Any]] = {}  # by node id
        self.known: dict[str, dict[str, Any]] = {}  # results of the run that is resumed, by unit
        self.spent = 0.0  # seconds of that run
        self.crashed = False  # whether a worker of xdist has died: those that take its place run backends isolated
        self.started = time.time()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the units of work, without xdist."""
        self.expected = max(self.expected, sum(map(is_check, session.items)))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Count the units of work, with xdist."""
        self.expected = max(self.expected, sum(self._is_unit(id) for id in ids))

    def _is_unit(self, nodeid: str) -> bool:
        if "float" not in nodeid.rpartition("[")[2]:
            return False
        from rnn_conformance.session import unit_of

        return unit_of(nodeid, self.config.getoption("--rnn-device"), self.config.getoption("--rnn-seed")) is not None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in one result, from whichever process."""
        if found := getattr(report, "rnn_result", None):
            self.results[report.nodeid] = found
        elif report.failed and self._is_unit(report.nodeid):
            if str(report.when) == "???":  # so xdist reports a worker that died
                self.crashed = True
                found = session_of(self.config).crashed(report.nodeid, report.longreprtext)
                self.results[report.nodeid] = vars(report)["rnn_result"] = found
            else:
                self.errors.append(f"{report.nodeid}\n{report.longreprtext}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what went wrong before any check ran."""
        if report.failed:
            self.errors.append(f"{report.nodeid}\n{report.longreprtext}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the record and the page, of as much as was run."""
        if exitstatus == pytest.ExitCode.INTERRUPTED and (xdist := self.config.pluginmanager.get_plugin("dsession")):
            xdist.nodemanager.EXIT_TIMEOUT = 0.2  # seconds that workers have to end by themselves
        if (self.results or self.known) and not session_of(self.config).wrong_use(self.results.values()):
            every = [*self.known.values(), *self.results.values()]
            ends = (
                pytest.ExitCode.OK,
                pytest.ExitCode.TESTS_FAILED,
                *[pytest.ExitCode.NO_TESTS_COLLECTED] * bool(self.known),
            )
            finished = exitstatus in ends
            complete = finished and len(self.results) >= self.expected and not self.errors
            session_of(self.config).write(every, self.started, self.spent, complete)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The verdict, in the last lines."""
        session = self.config.stash.get(SESSION, None)
        if session is not None and session.record is not None:
            terminalreporter.section("rnn-conformance")
            for line in session.last_lines():
                terminalreporter.line(line)
