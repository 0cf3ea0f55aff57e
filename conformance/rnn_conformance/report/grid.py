"""The matrix of one record: families and checks in rows, cells and dtypes in columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rnn_conformance.config import CELLS, DTYPES
from rnn_conformance.record import CheckResult, Record
from rnn_conformance.report.outcomes import MARKS, tally_words, worst
from rnn_conformance.report.text import one_line

Unit = tuple[str, str, str, str]  # check, cell, dtype, device


@dataclass(frozen=True)
class Column:
    """One cell in one dtype on one device."""

    cell: str
    dtype: str
    device: str
    first: bool  # of its cell


@dataclass(frozen=True)
class Slot:
    """One place of the matrix."""

    outcome: str
    title: str
    codes: str  # family, cell, dtype and outcome as numbers, for the filter
    link: str = ""


@dataclass(frozen=True)
class Row:
    """One check, or one family."""

    name: str
    slots: list[Slot | None]


@dataclass(frozen=True)
class Family:
    """One family with its checks."""

    name: str
    total: Row
    rows: list[Row]


def family_of(id: str) -> str:
    """The part of a check's id before the dot."""
    return id.partition(".")[0]


def unit_of(result: CheckResult) -> Unit:
    """What a result is the result of."""
    return result.id, result.cell, result.dtype, result.device


def known_first(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Each name once, the known ones in their own order, then the others."""
    present = list(dict.fromkeys(names))
    return [name for name in known if name in present] + [name for name in present if name not in known]


def columns(results: Sequence[CheckResult]) -> list[Column]:
    """The columns that occur, cell by cell."""
    present = {(result.cell, result.dtype, result.device) for result in results}
    made: list[Column] = []
    for cell in known_first((r.cell for r in results), CELLS):
        for dtype in known_first((r.dtype for r in results), DTYPES):
            for device in dict.fromkeys(r.device for r in results):
                if (cell, dtype, device) in present:
                    made.append(Column(cell, dtype, device, not made or made[-1].cell != cell))
    return made


def spans(made: Sequence[Column]) -> dict[str, int]:
    """How many columns each cell has."""
    widths: dict[str, int] = {}
    for column in made:
        widths[column.cell] = widths.get(column.cell, 0) + 1
    return widths


class Codes:
    """Families, cells, dtypes and outcomes of a record as numbers, so that a filter meets no foreign text."""

    def __init__(self, record: Record) -> None:
        self.names = {
            "family": list(dict.fromkeys(family_of(r.id) for r in record.checks)),
            "cell": known_first((r.cell for r in record.checks), CELLS),
            "dtype": known_first((r.dtype for r in record.checks), DTYPES),
            "outcome": [o for o in MARKS if o in record.counts],
        }
        self._numbers = {kind: {name: k for k, name in enumerate(names)} for kind, names in self.names.items()}

    def of(self, result: CheckResult) -> str:
        """The four numbers of one result."""
        names = {"family": family_of(result.id), "cell": result.cell, "dtype": result.dtype, "outcome": result.outcome}
        return ",".join(str(self._numbers[kind][name]) for kind, name in names.items())


def grid(record: Record, links: Mapping[Unit, str], codes: Codes) -> list[Family]:
    """All families with their checks."""
    made = columns(record.checks)
    families: dict[str, dict[str, dict[tuple[str, str, str], CheckResult]]] = {}
    for result in record.checks:
        by_place = families.setdefault(family_of(result.id), {}).setdefault(result.id, {})
        by_place[result.cell, result.dtype, result.device] = result

    def slot(result: CheckResult | None) -> Slot | None:
        if result is None:
            return None
        return Slot(result.outcome, _title(result), codes.of(result), links.get(unit_of(result), ""))

    def total(results: list[CheckResult]) -> Slot | None:
        if not results:
            return None
        outcome = worst(results)
        one = next(r for r in results if r.outcome == outcome)
        title = f"{family_of(one.id)} · {one.cell} · {one.dtype}: {tally_words(results)}"
        return Slot(outcome, one_line(title), codes.of(one), links.get(unit_of(one), ""))

    def family(name: str, checks: dict[str, dict[tuple[str, str, str], CheckResult]]) -> Family:
        places = [(c.cell, c.dtype, c.device) for c in made]
        rows = [Row(id, [slot(found.get(place)) for place in places]) for id, found in checks.items()]
        totals = [total([found[place] for found in checks.values() if place in found]) for place in places]
        return Family(name, Row(name, totals), rows)

    return [family(name, checks) for name, checks in families.items()]


def _title(result: CheckResult) -> str:
    title = f"{result.id} · {result.cell} · {result.dtype}: {MARKS[result.outcome].words}"
    return one_line(f"{title} by {result.reason[:200]}" if result.outcome == "blocked" else title)
