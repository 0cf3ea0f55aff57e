"""The page of one run: verdict, matrix, findings, environment; one HTML file that needs no network."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from math import log10
from statistics import median

from jinja2 import Environment, PackageLoader, StrictUndefined

from rnn_conformance.config import CELLS, DTYPES
from rnn_conformance.record import CheckResult, Finding, Record
from rnn_conformance.verdict import printable, verdict

MARKS = {  # glyph, words: colour is never the only sign
    "passed": ("✓", "passed"),
    "failed": ("✕", "failed"),
    "blocked": ("◌", "blocked by a more basic check that failed"),
    "inconclusive": ("?", "inconclusive"),
    "expected_failure": ("e", "failed as expected"),
    "unexpected_pass": ("!", "passed unexpectedly"),
    "not_offered": ("–", "not offered"),
    "crashed": ("☠", "crashed"),
    "timed_out": ("⏱", "timed out"),
    "not_run": ("·", "not run"),
}

ENVIRONMENT = Environment(
    loader=PackageLoader("rnn_conformance.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters["printable"] = printable
ENVIRONMENT.filters["pretty"] = lambda value: json.dumps(value, indent=1, ensure_ascii=False)


@dataclass(frozen=True)
class Group:
    """One check's findings, which mostly have one cause: the first whole, the others by name."""

    first: CheckResult
    finding: Finding
    others: list[CheckResult]


@dataclass(frozen=True)
class Strip:
    """The largest ρ of each unit of one dtype, as places from 0 to 100 on a logarithmic axis."""

    dtype: str
    places: list[float]
    limit: float
    largest: float
    bits: float | None


def groups(record: Record) -> list[Group]:
    """The findings, one group for each check that failed."""
    failed = [r for r in record.findings if r.finding is not None]
    found = []
    for _, results in groupby(failed, key=lambda r: r.id):
        first, *others = results
        if first.finding is not None:
            found.append(Group(first, first.finding, others))
    return found


def strips(record: Record) -> list[Strip]:
    """How far the measured deviations stay from λ, for each dtype that was compared."""
    found = []
    for dtype in DTYPES:
        results = [r for r in record.checks if r.dtype == dtype and r.values]
        if results:
            bits = [r.effective_bits for r in results if r.effective_bits is not None]
            rhos = [r.largest_rho for r in results]
            places = sorted({round(_place(rho), 1) for rho in rhos})
            found.append(Strip(dtype, places, _place(record.lambda_), max(rhos), median(bits) if bits else None))
    return found


def _place(rho: float) -> float:
    """0.1 at 0, 10,000 and more at 100."""
    return min(max((log10(max(rho, 1e-9)) + 1) / 5, 0.0), 1.0) * 100


def families(results: Iterable[CheckResult]) -> list[tuple[str, list[tuple[str, dict[tuple[str, str], CheckResult]]]]]:
    """The matrix: families, their checks, and each check's results by cell and dtype."""
    rows: dict[str, dict[tuple[str, str], CheckResult]] = {}
    for result in results:
        rows.setdefault(result.id, {})[(result.cell, result.dtype)] = result
    return [(f, list(some)) for f, some in groupby(rows.items(), key=lambda row: row[0].partition(".")[0])]


def page(record: Record) -> str:
    """The whole page, self-contained."""
    cells = [cell for cell in CELLS if any(r.cell == cell for r in record.checks)]
    dtypes = [dtype for dtype in DTYPES if any(r.dtype == dtype for r in record.checks)]
    not_offered: dict[str, list[CheckResult]] = {}
    for result in record.checks:
        if result.outcome == "not_offered":
            not_offered.setdefault(result.reason, []).append(result)
    return ENVIRONMENT.get_template("page.html.jinja").render(
        record=record,
        verdict=verdict(record),
        ok=record.ok,
        marks=MARKS,
        cells=cells,
        dtypes=dtypes,
        families=families(record.checks),
        groups=groups(record),
        blocked=[r for r in record.checks if r.outcome == "blocked"],
        crashed=[r for r in record.findings if r.finding is None],
        not_offered=not_offered,
        strips=strips(record),
        examples=sum(r.examples for r in record.checks),
        values=sum(r.values for r in record.checks),
        backend_share=_share(record),
    )


def _share(record: Record) -> float:
    """The share of the checks' time that was spent inside the backend."""
    seconds = sum(r.seconds for r in record.checks)
    return sum(r.backend_seconds for r in record.checks) / seconds if seconds else 0.0
