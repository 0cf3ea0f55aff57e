"""Many units of work in few words: checks that share the same cells and dtypes are named together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rnn_conformance.config import CELLS, DTYPES
from rnn_conformance.record import CheckResult
from rnn_conformance.report.grid import known_first


@dataclass(frozen=True)
class Bundle:
    """Checks that came to the same in the same places."""

    checks: list[str]
    places: str
    count: int  # of units


def places(results: Iterable[CheckResult]) -> str:
    """`lstm, gru × float32, float16`, cell by cell where the dtypes differ."""
    by_cell: dict[str, list[str]] = {}
    for result in results:
        by_cell.setdefault(result.cell, []).append(result.dtype)
    by_dtypes: dict[tuple[str, ...], list[str]] = {}
    for cell in known_first(by_cell, CELLS):
        by_dtypes.setdefault(tuple(known_first(by_cell[cell], DTYPES)), []).append(cell)
    return "; ".join(f"{', '.join(cells)} × {', '.join(dtypes)}" for dtypes, cells in by_dtypes.items())


def bundles(results: Iterable[CheckResult]) -> list[Bundle]:
    """Results by the places in which they are, in the order of their checks."""
    by_check: dict[str, list[CheckResult]] = {}
    for result in results:
        by_check.setdefault(result.id, []).append(result)
    by_places: dict[str, list[str]] = {}
    for check, some in by_check.items():
        by_places.setdefault(places(some), []).append(check)
    return [Bundle(checks, where, sum(len(by_check[check]) for check in checks)) for where, checks in by_places.items()]
