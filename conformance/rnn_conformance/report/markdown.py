"""Markdown for a CI summary: the verdict, the families, the findings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rnn_conformance.record import Record
from rnn_conformance.report.findings import Group, groups
from rnn_conformance.report.grid import Codes, family_of
from rnn_conformance.report.measures import Effort, bits
from rnn_conformance.report.outcomes import tally, tally_words
from rnn_conformance.report.standing import standing
from rnn_conformance.report.text import clipped, one_line, plural, precision, seconds
from rnn_conformance.report.units import places
from rnn_conformance.verdict import looks_like

MOST_FINDINGS = 20
LONGEST = 1_000
ICONS = {"good": "✅", "bad": "❌", "warn": "⚠️"}
SPECIAL = re.compile(r"[\\`*_{}\[\]<>&|~#@$^!]|(?<=[a-z]):(?=//)|(?<=www)\.", re.IGNORECASE)


def plain(text: str, longest: int = LONGEST) -> str:
    """`text` as text of one line, wherever in Markdown it stands: no markup, table, mention, link or HTML."""
    return SPECIAL.sub(lambda found: f"&#{ord(found[0])};", one_line(clipped(text, longest)))


def code(text: str, longest: int = LONGEST) -> str:
    """The same, in a typewriter's letters."""
    return f"<code>{plain(text, longest)}</code>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def summary(record: Record) -> str:
    """The record in one screen of Markdown."""
    found = standing(record)
    name = f"{code(record.backend, 200)} {plain(record.backend_version, 60)} on {plain(record.device, 60)}"
    total = Effort.of("all", record.checks)
    work = f"{total.examples:,} examples, {total.values:,} numbers compared, {seconds(record.seconds)}"
    run = f"profile {record.profile}, seed {record.seed}, suite {plain(record.suite_version, 60)}"
    parts = [f"### {ICONS[found.tone]} {name}: {found.word}", found.why, f"{work}; {run}."]
    parts += [_families(record), _bits(record), *_findings(record)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _families(record: Record) -> str:
    outcomes = list(tally(record.checks))
    rows = []
    for family in dict.fromkeys(family_of(r.id) for r in record.checks):
        counts = tally([r for r in record.checks if family_of(r.id) == family])
        rows.append([plain(family, 60), *(f"{counts[o]:,}" if o in counts else "" for o in outcomes)])
    return table(["family", *(outcome.replace("_", " ") for outcome in outcomes)], rows) if rows else ""


def _bits(record: Record) -> str:
    some = [f"{plain(row.dtype, 60)} {plain(precision(row.all))}" for row in bits(record, [])]
    return f"Effective bits: {', '.join(some)}." if some else ""


def _findings(record: Record) -> list[str]:
    found = groups(record, Codes(record))
    parts = [_finding(group) for group in found[:MOST_FINDINGS]]
    left = len(found) - MOST_FINDINGS
    return parts + ([f"{plural(left, 'more check')} broken; the report has them all."] if left > 0 else [])


def _finding(group: Group) -> str:
    first, finding = group.first, group.first.finding
    where = plain(places(shown.result for shown in group.shown), 400)
    lines = [f"**{plain(group.check, 200)}** in {where} ({tally_words(s.result for s in group.shown)})"]
    if finding is None:
        return "\n".join([*lines, f"- {plain(first.result.reason) or 'no last words'}"])
    lines += [plain(finding.sentence), f"- {plain(finding.message)}", f"- smallest case: {code(finding.case)}"]
    lines += [f"- looks like: {plain(line)}" for line in looks_like(finding)]
    if finding.command:
        lines.append(f"- replay: {code(finding.command)}")
    if group.blocks:
        lines.append(f"- blocks {plural(group.blocks, 'more unit')}")
    return "\n".join([*lines, f"- id: {code(finding.id, 200)}"])
