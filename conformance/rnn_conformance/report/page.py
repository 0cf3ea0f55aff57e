"""The page of one record: verdict, matrix, findings, what was measured and what ran; one file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from markupsafe import escape

from rnn_conformance.record import CheckResult, Finding, Record
from rnn_conformance.report.coverage import coverage
from rnn_conformance.report.distances import distances
from rnn_conformance.report.findings import Group, blocked, groups, links
from rnn_conformance.report.grid import Codes, columns, grid, spans
from rnn_conformance.report.measures import Effort, bits, efforts
from rnn_conformance.report.outcomes import tally
from rnn_conformance.report.render import render
from rnn_conformance.report.standing import standing
from rnn_conformance.report.text import pretty
from rnn_conformance.report.units import Bundle, bundles

MOST_TEXT = 920_000  # characters of findings; beyond it they are told in brief, for the page's size
MARKUP = 550  # of them around a finding that is told in brief, and twice as many around one that is not


def page(record: Record) -> str:
    """The whole page, as HTML."""
    codes = Codes(record)
    found, held = groups(record, codes), blocked(record, codes)
    brief = sum(_length(shown.finding) + 2 * MARKUP for group in found for shown in group.shown) > MOST_TEXT
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
        brief=brief,
        scripts=scripts(found, brief),
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


def scripts(found: Sequence[Group], brief: bool) -> set[str]:
    """The anchors of the findings whose scripts are on the page, whole: in brief, of as many as there is room for
    beside what else is told, the first of each check before the others.
    """
    every = [group.first for group in found] + [shown for group in found for shown in group.others]
    if not brief:
        return {shown.anchor for shown in every}
    firsts = {group.first.anchor for group in found}
    told = sum(_length(s.finding, s.anchor in firsts) - _size(s.finding.script) + MARKUP for s in every if s.finding)
    room, taken = MOST_TEXT - told, set()
    for shown in every:
        size = _size(shown.finding.script) + MARKUP // 4 if shown.finding else 0
        if size <= room:
            room -= size
            taken.add(shown.anchor)
    return taken


def _length(finding: Finding | None, whole: bool = True) -> int:
    """The characters of a finding's own text on a page."""
    if finding is None:
        return 0
    texts = [finding.script, finding.command]
    if whole:
        texts += [finding.message, finding.case, pretty(finding.fields)]
        texts += [named.sentence for named in finding.diagnosis.likely] if finding.diagnosis else []
    return sum(map(_size, texts))


def _size(text: str) -> int:
    return len(escape(text))


def reasons(record: Record, outcome: str) -> list[tuple[str, list[Bundle]]]:
    """The units that came to `outcome`, by the reason that was given."""
    by_reason: dict[str, list[CheckResult]] = {}
    for result in record.checks:
        if result.outcome == outcome:
            by_reason.setdefault(result.reason, []).append(result)
    return [(reason, bundles(results)) for reason, results in by_reason.items()]
