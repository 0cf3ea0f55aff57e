"""The progress bar of a run: a pytest plugin in place of pytest's own terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from rnn_conformance.plugin import SESSION
from rnn_conformance.record import Record


class Progress:
    """Shows which check is running and what was found so far."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bar = Bar(*columns, console=Console(stderr=True))
        self.task = self.bar.add_task("collecting", total=None)
        self.record: Record | None = None
        self.errors: list[str] = []
        self.wrong_use = ""
        self.unwritten = ""  # why the record is not where it was wanted
        self.folder: Path | None = None
        self.failed: set[str] = set()
        self.bar.start()

    def stop(self) -> None:
        """Give the terminal back."""
        self.bar.stop()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Learn the number of units, without xdist."""
        if session.items:
            self.bar.update(self.task, total=len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Learn the number of units, with xdist."""
        self.bar.update(self.task, total=len(ids))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Name what is being tried."""
        self.bar.update(self.task, description=escape(_short(nodeid)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a unit that has ended, and say at once that it failed."""
        if report.when in ("call", "???"):
            self.bar.advance(self.task)
            check = _short(report.nodeid).partition(" ")[0]
            if report.failed and check not in self.failed:
                self.failed.add(check)
                self.bar.console.print(f"[red]FAILED[/red] {escape(_short(report.nodeid))}", highlight=False)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fetch the record that the plugin wrote."""
        found = session.config.stash.get(SESSION, None)
        if found is not None:
            self.record, self.folder, self.unwritten = found.record, found.report, found.unwritten
        collector: Any = session.config.pluginmanager.get_plugin("rnn-conformance-collector")
        if collector is not None:
            self.errors = collector.errors
            self.wrong_use = "" if found is None else found.wrong_use(collector.results.values())


def _short(nodeid: str) -> str:
    """`.../test_steps.py::test_chunks[lstm-float32-cpu]` as `steps.chunks lstm float32 cpu`."""
    path, _, test = nodeid.rpartition("::")
    name, _, unit = test.rstrip("]").partition("[")
    family = path.rpartition("test_")[2].removesuffix(".py")
    return f"{family}.{name.removeprefix('test_')} {unit.replace('-', ' ')}"
