"""The page of one record: verdict, matrix, findings, what was measured and what ran; one file that needs no network."""

from __future__ import annotations

from itertools import groupby

from msgspec.json import encode

from rnn_conformance.record import CheckResult, Record
from rnn_conformance.report.coverage import coverage
from rnn_conformance.report.distances import distances
from rnn_conformance.report.findings import blocked, groups, links
from rnn_conformance.report.grid import Codes, columns, grid, spans
from rnn_conformance.report.measures import Effort, bits, efforts
from rnn_conformance.report.outcomes import tally
from rnn_conformance.report.render import render
from rnn_conformance.report.standing import standing
from rnn_conformance.report.units import Bundle, bundles

MOST_TEXT = 800_000  # characters of findings; beyond it they are told in brief, for the page's size


def page(record: Record) -> str:
    """The whole page, as HTML."""
    codes = Codes(record)
    found, held = groups(record, codes), blocked(record, codes)
    return render(
        "page.html.jinja",
        script="page.js",
        record=record,
        standing=standing(record),
        tally=tally(record.checks),
        columns=columns(record.checks),
        spans=spans(columns(record.checks)),
        families=grid(record, links(found, held), codes),
        codes=codes,
        groups=found,
        first=sorted(found, key=lambda group: -group.blocks)[:3],
        brief=sum(len(encode(shown.finding)) for group in found for shown in group.shown) > MOST_TEXT,
        blocked=[(by, list(some)) for by, some in groupby(held, key=lambda one: one.by)],
        silent=reasons(record, "inconclusive"),
        idle=reasons(record, "not_run"),
        stale=reasons(record, "unexpected_pass"),
        expected=reasons(record, "expected_failure"),
        not_offered=reasons(record, "not_offered"),
        bits=bits(record, codes.names["cell"]),
        distances=distances(record, codes),
        coverage=coverage(record),
        efforts=efforts(record),
        total=Effort.of("all", record.checks),
        several_devices=len({result.device for result in record.checks}) > 1,
    )


def reasons(record: Record, outcome: str) -> list[tuple[str, list[Bundle]]]:
    """The units that came to `outcome`, by the reason that was given."""
    by_reason: dict[str, list[CheckResult]] = {}
    for result in record.checks:
        if result.outcome == outcome:
            by_reason.setdefault(result.reason, []).append(result)
    return [(reason, bundles(results)) for reason, results in by_reason.items()]
