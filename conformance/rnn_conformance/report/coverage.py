"""Coverage of the input space: how many examples fell into each class of layers, directions, lengths, sizes, ..."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rnn_conformance.record import CheckResult, Record
from rnn_conformance.report.grid import family_of


@dataclass(frozen=True)
class Class:
    """One class of cases: how many examples fell into it, in all and by family."""

    name: str
    count: int
    share: float  # of the most frequent class on its axis
    families: list[int]


@dataclass(frozen=True)
class Coverage:
    """The classes of every axis."""

    families: list[str]
    axes: dict[str, list[Class]]


def coverage(record: Record) -> Coverage | None:
    """What was tried, or None where the record does not say."""
    by_family: dict[str, list[CheckResult]] = {}
    for result in record.checks:
        if result.coverage:
            by_family.setdefault(family_of(result.id), []).append(result)
    if not by_family:
        return None
    sums = [_sum(results) for results in by_family.values()]
    axes = {}
    for k, (axis, names) in enumerate(record.axes.items()):
        totals = [sum(some[k][place] for some in sums) for place in range(len(names))]
        axes[axis] = [
            Class(name, total, total / max(1, *totals), [some[k][place] for some in sums])
            for place, (name, total) in enumerate(zip(names, totals, strict=True))
        ]
    return Coverage(list(by_family), axes)


def _sum(results: Iterable[CheckResult]) -> list[list[int]]:
    """The examples of some units together."""
    by_axis = zip(*(result.coverage for result in results), strict=True)
    return [[sum(counts) for counts in zip(*axis, strict=True)] for axis in by_axis]
