"""The page of the zoo: one self-contained HTML file, drawn from the record alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import reduce
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from msgspec.structs import replace
from rnn_conformance.report import text

from .record import LEAST_KILLED, LEAST_VALUES, MOST_SECONDS, PROFILES, Module, ZooRecord, bar, verdict
from .trial import Trial


@dataclass(frozen=True)
class Row:
    """One fault and what became of it under each profile."""

    fault: Module
    trials: dict[str, list[Trial]]  # by profile, in the order of seeds

    @property
    def survived(self) -> list[Trial]:
        """The trials in which nothing was found."""
        return [trial for some in self.trials.values() for trial in some if not trial.killed]

    @property
    def first(self) -> Trial | None:
        """The trial that tells most: in order, of the harder profile, with a finding."""
        every = [trial for profile in reversed(PROFILES) for trial in self.trials.get(profile, []) if trial.killed]
        return next((trial for trial in every if trial.in_order), every[0] if every else None)


@dataclass(frozen=True)
class Total:
    """A family, or all of the zoo, in numbers."""

    name: str
    faults: int
    killed: dict[str, tuple[int, int]]
    seconds: float | None


def rows_of(record: ZooRecord) -> list[Row]:
    """One row for each fault."""
    by: dict[str, dict[str, list[Trial]]] = {fault.name: {} for fault in record.faults}
    for trial in record.trials:
        if trial.name in by:
            by[trial.name].setdefault(trial.profile, []).append(trial)
    return [
        Row(fault, {profile: sorted(some, key=lambda trial: trial.seed) for profile, some in by[fault.name].items()})
        for fault in record.faults
    ]


def total_of(name: str, rows: list[Row]) -> Total:
    """The sum over these rows."""
    killed = {}
    for profile in PROFILES:
        some = [trial for row in rows for trial in row.trials.get(profile, [])]
        killed[profile] = (sum(trial.killed for trial in some), len(some))
    timed = [trial.seconds for row in rows for trial in row.trials.get("ci", []) if trial.in_order and trial.killed]
    return Total(name, len(rows), killed, median(timed) if timed else None)


def page(record: ZooRecord) -> str:
    """The whole page."""
    rows = rows_of(record)
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row.fault.family, []).append(row)
    firsts = Counter(row.first.found[0].check for row in rows if row.first)
    found = _environment().get_template("page.html.jinja")
    return found.render(
        style=Markup(resources.files("rnn_conformance.report").joinpath("templates", "style.css").read_text("utf-8")),
        record=record,
        bar=bar(record),
        verdict=verdict(record),
        profiles=[profile for profile in PROFILES if record.of(profile)],
        families=families,
        totals=[total_of(name, some) for name, some in families.items()],
        total=total_of("all", rows),
        survivors=[row for row in rows if row.survived],
        firsts=firsts.most_common(),
        unexpected=[row for row in rows if row.first and row.first.in_order and not _as_expected(row)],
        controls=[(control, _of_control(record, control)) for control in record.controls],
        least_killed=LEAST_KILLED,
        most_seconds=MOST_SECONDS,
        least_values=LEAST_VALUES,
    )


def _as_expected(row: Row) -> bool:
    return row.first is not None and row.first.found[0].check == row.fault.caught_by


def _of_control(record: ZooRecord, control: Module) -> list[Trial]:
    """The trials of a control, those of all cells under one profile as one."""
    found = []
    for profile in PROFILES:
        cells = [trial for trial in record.trials if trial.name == control.name and trial.profile == profile]
        if cells:
            found.append(reduce(_together, cells))
    return found


def _together(a: Trial, b: Trial) -> Trial:
    rho = {dtype: max(t.largest_rho.get(dtype, 0.0) for t in (a, b)) for dtype in a.largest_rho | b.largest_rho}
    return replace(a, cell="", found=a.found + b.found, examples=a.examples + b.examples, largest_rho=rho)


def _finalized(value: Any) -> Any:
    return text.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    for name in ("number", "seconds", "short", "clipped"):
        environment.filters[name] = getattr(text, name)
    return environment
