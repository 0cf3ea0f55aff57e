"""How far from the truth results lay: a plot of each family, and of each check its spread and its worst case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rnn_conformance.record import CheckResult, Record
from rnn_conformance.report.grid import Codes, family_of
from rnn_conformance.report.plots import Axis, axis_of, largest_of_units, profile, spread

ALONG = ("step", "unit", "lane", "gate unit", "column")  # the axes along which ρ is shown, two at most
TITLES = {"step": "over time", "unit": "over units", "lane": "over layers and directions"}


@dataclass(frozen=True)
class Distances:
    """One check that compares numbers."""

    check: str
    codes: list[str]
    spread: Markup | None
    largest: CheckResult  # the unit with the largest ρ
    profiles: list[tuple[str, Markup]]  # of its worst case


@dataclass(frozen=True)
class FamilyDistances:
    """One family with its checks."""

    name: str
    plot: Markup
    largest: float
    codes: list[str]
    failed: bool
    checks: list[Distances]


def distances(record: Record, codes: Codes) -> list[FamilyDistances]:
    """Every family that compares numbers."""
    axis = axis_of(record)
    families: dict[str, dict[str, list[CheckResult]]] = {}
    for result in record.checks:
        if result.values:
            families.setdefault(family_of(result.id), {}).setdefault(result.id, []).append(result)
    found = []
    for name, checks in families.items():
        results = [result for some in checks.values() for result in some]
        plot = largest_of_units(name, results, record.lambda_, axis)
        told = [_of_check(id, some, record, codes, axis) for id, some in checks.items()]
        filtered = sorted({codes.of(r) for r in results})
        failed = any(result.outcome == "failed" for result in results)
        found.append(FamilyDistances(name, plot, max(r.largest_rho for r in results), filtered, failed, told))
    return found


def _of_check(id: str, results: Sequence[CheckResult], record: Record, codes: Codes, axis: Axis) -> Distances:
    largest = max(results, key=lambda r: r.largest_rho)
    along = largest.worst.along if largest.worst else {}
    axes = [name for name in ALONG if name in along and len(along[name].rho) > 1][:2]
    return Distances(
        id,
        sorted({codes.of(r) for r in results}),
        spread(id, results, record.bins, record.lambda_, axis) if any(r.spread for r in results) else None,
        largest,
        [(TITLES.get(name, f"over {name}s"), profile(name, along[name], record.lambda_)) for name in axes],
    )
