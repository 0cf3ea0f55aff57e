"""The part of a command-line run that keeps its journal: a pytest plugin, on the controller alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rnn_conformance.journal import Journal
from rnn_conformance.record import CheckResult


class Keeper:
    """Writes every result down as it comes, and spares units of which a resumed run knows the result."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.done = {name_of(result): msgspec.to_builtins(result) for result in journal.results}

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Hand on what is known."""
        collector: Any = session.config.pluginmanager.get_plugin("rnn-conformance-collector")
        collector.known, collector.spent = dict(self.done), self.journal.spent

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of xdist what is known."""
        node.workerinput["rnn_done"] = sorted(self.done)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a result down."""
        found = getattr(report, "rnn_result", None)
        if found and "outcome" in found:
            self.journal.add(msgspec.convert(found, CheckResult))


def name_of(result: CheckResult) -> str:
    """The unit of work of a result, as the last part of a test's name has it."""
    return f"{result.id}[{result.cell}-{result.dtype}-{result.device}]"
