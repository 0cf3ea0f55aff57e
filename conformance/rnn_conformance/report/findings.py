"""Findings as a page shows them: one check's together, the first whole, each with an anchor that stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rnn_conformance.record import CheckResult, Finding, Record
from rnn_conformance.report.grid import Codes, Unit, unit_of
from rnn_conformance.report.text import anchor
from rnn_conformance.report.units import places


@dataclass(frozen=True)
class Shown:
    """One failed unit."""

    result: CheckResult
    finding: Finding | None  # a process that died leaves none
    anchor: str
    codes: str


@dataclass(frozen=True)
class Group:
    """The failed units of one check, which mostly have one cause."""

    check: str
    first: Shown
    others: list[Shown]
    blocks: int  # units that are blocked by it

    @property
    def shown(self) -> list[Shown]:
        """All of them."""
        return [self.first, *self.others]

    @property
    def guess(self) -> str:
        """The mistake that its first finding looks like most."""
        diagnosis = self.first.finding.diagnosis if self.first.finding else None
        return diagnosis.likely[0].sentence if diagnosis and diagnosis.likely else ""


@dataclass(frozen=True)
class Blocked:
    """The units of one check that one more basic check blocks."""

    check: str
    by: str
    results: list[CheckResult]
    anchor: str
    codes: list[str]

    @property
    def where(self) -> str:
        """In which cells and dtypes."""
        return places(self.results)

    @property
    def message(self) -> str:
        """What was seen in the first of them."""
        return next((r.finding.message for r in self.results if r.finding is not None), "")


def groups(record: Record, codes: Codes) -> list[Group]:
    """The failed units, one group for each check."""
    taken: set[str] = set()
    by_check: dict[str, list[Shown]] = {}
    for result in record.findings:
        name = result.finding.id if result.finding else "-".join(unit_of(result))
        shown = Shown(result, result.finding, _unique(anchor(name), taken), codes.of(result))
        by_check.setdefault(result.id, []).append(shown)
    reasons = [result.reason for result in record.checks if result.outcome == "blocked"]
    return [Group(check, shown[0], shown[1:], reasons.count(check)) for check, shown in by_check.items()]


def blocked(record: Record, codes: Codes) -> list[Blocked]:
    """The blocked units by the check that blocks and by their own."""
    by_both: dict[tuple[str, str], list[CheckResult]] = {}
    for result in record.checks:
        if result.outcome == "blocked":
            by_both.setdefault((result.reason, result.id), []).append(result)
    return [
        Blocked(check, by, results, f"blocked-{k}", [codes.of(r) for r in results])
        for k, ((by, check), results) in enumerate(by_both.items(), 1)
    ]


def links(groups: Sequence[Group], blocked: Iterable[Blocked]) -> Mapping[Unit, str]:
    """Where each unit that has something to read is read."""
    found = {unit_of(shown.result): shown.anchor for group in groups for shown in group.shown}
    for some in blocked:
        found |= {unit_of(result): some.anchor for result in some.results}
    return found


def _unique(name: str, taken: set[str]) -> str:
    """`name`, or the first of name-2, name-3, ... that is not taken."""
    free, k = name, 1
    while free in taken:
        k += 1
        free = f"{name}-{k}"
    taken.add(free)
    return free
