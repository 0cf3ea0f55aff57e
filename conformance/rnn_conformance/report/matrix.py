"""The matrix over backends: one line for each record, one column for each family; reports/index.html."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from rnn_conformance.config import DTYPES
from rnn_conformance.record import CheckResult, Record
from rnn_conformance.report.findings import blocked, groups, links
from rnn_conformance.report.grid import Codes, family_of, known_first, unit_of
from rnn_conformance.report.measures import pooled_bits
from rnn_conformance.report.outcomes import BAD, MARKS, tally_words, worst
from rnn_conformance.report.render import render
from rnn_conformance.report.standing import Standing, standing
from rnn_conformance.run import report_folder


@dataclass(frozen=True)
class Place:
    """One family of one backend."""

    outcome: str
    good: int
    bad: int
    words: str
    link: str


@dataclass(frozen=True)
class Line:
    """One backend."""

    record: Record
    standing: Standing
    link: str
    places: list[Place | None]
    bits: list[float | None]


def matrix(records: Sequence[Record], pages: Sequence[str] | None = None) -> str:
    """The whole page, as HTML.

    Args:
        records: one for each backend and device.
        pages: where the page of each lies, relative to this one; without it, as `rnn-conformance run` lays them.
    """
    if pages is None:
        pages = [f"{report_folder(record.backend, record.device).name}/index.html" for record in records]
    families = list(dict.fromkeys(family_of(r.id) for record in records for r in record.checks))
    dtypes = known_first((r.dtype for record in records for r in record.checks if r.values), DTYPES)
    lines = [_line(record, quote(at), families, dtypes) for record, at in zip(records, pages, strict=True)]
    outcomes = {r.outcome for record in records for r in record.checks}
    return render(
        "matrix.html.jinja",
        families=families,
        dtypes=dtypes,
        lines=lines,
        outcomes=[outcome for outcome in MARKS if outcome in outcomes],
        conforming=sum(line.standing.tone == "good" for line in lines),
        declaring=sum(line.standing.word == "conforms as declared" for line in lines),
    )


def _line(record: Record, at: str, families: Sequence[str], dtypes: Sequence[str]) -> Line:
    codes = Codes(record)
    anchors = links(groups(record, codes), blocked(record, codes))
    by_family: dict[str, list[CheckResult]] = {}
    for result in record.checks:
        by_family.setdefault(family_of(result.id), []).append(result)

    def place(family: str) -> Place | None:
        if (results := by_family.get(family)) is None:
            return None
        outcome = worst(results)
        first = next(result for result in results if result.outcome == outcome)
        anchor = anchors.get(unit_of(first), f"family-{list(by_family).index(family) + 1}")
        good = sum(result.outcome == "passed" for result in results)
        bad = sum(result.outcome in BAD for result in results)
        return Place(outcome, good, bad, tally_words(results), f"{at}#{anchor}")

    bits = [pooled_bits(r for r in record.checks if r.dtype == dtype) for dtype in dtypes]
    return Line(record, standing(record), at, [place(family) for family in families], bits)
