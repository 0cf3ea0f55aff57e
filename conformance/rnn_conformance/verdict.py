"""The last lines of a run: what was found, the counts, the slowest checks, where the report lies, the verdict."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from rnn_conformance.record import CheckResult, Finding, Record


def printable(text: str) -> str:
    """`text` without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def without_places(text: str) -> str:
    """The text without this machine's folders, which last words and tracebacks name: reports are published."""
    folders = {sys.prefix, sys.base_prefix, os.path.expanduser("~")}
    with suppress(OSError):  # one that has gone
        folders.add(tempfile.gettempdir())
        folders.add(os.getcwd())
    for folder in sorted(folders - {os.sep}, key=len, reverse=True):
        text = re.sub(rf"(?<![\w./~-]){re.escape(folder + os.sep)}", "", text)  # not in the middle of a path
    return text


def verdict(record: Record) -> str:
    """One sentence: does the backend conform?"""
    name = printable(f"{record.backend} {record.backend_version} on {record.device}")
    failed = len(record.findings)
    if failed:
        checks = len({r.id for r in record.findings})
        return f"DOES NOT CONFORM: {name} breaks {_count(checks, 'check')}, with {_count(failed, 'finding')}"
    if not record.complete:
        return f"INCOMPLETE: {name} was not tried to the end"
    if record.ok:
        left = f"; {len(record.left_out)} were left out for lack of time" if record.left_out else ""
        declared = f"; {expected} fail as declared" if (expected := record.counts.get("expected_failure")) else ""
        some = (
            f"; {len(record.checks)} of the suite's {record.suite_units} were asked for" if record.suite_units else ""
        )
        return f"CONFORMS: {name} passes {_count(record.counts['passed'], 'unit')} of work{declared}{left}{some}"
    if stale := record.counts.get("unexpected_pass"):
        return f"STALE: {name} has declared deviations that no longer show, in {_count(stale, 'unit')} of work"
    if record.shortfalls:
        return f"TOO LITTLE RAN on {name}: {printable('; '.join(record.shortfalls))}"
    if "passed" not in record.counts and record.counts.get("expected_failure"):
        return f"SAYS NOTHING: all that was tried on {name} fails as declared"
    if "passed" not in record.counts:
        return f"SAYS NOTHING: no check ran an example on {name}"
    return f"SAYS NOTHING: some check of {name} ran no example that tells right from wrong"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def finding_lines(result: CheckResult, folder: Path | None = None) -> list[str]:
    """One finding, in a terminal; `folder` has its record."""
    head = f"{result.outcome.upper()} {result.id} · {result.cell} · {result.dtype} · {result.device}"
    if result.finding is None:
        return [head, *(f"    {line}" for line in printable(result.reason).splitlines())]
    found = result.finding
    return [
        head,
        f"    {found.sentence}",
        f"    {printable(found.message)}",
        f"    smallest case: {printable(found.case)}",
        *(f"    looks like: {printable(line)}" for line in looks_like(found)),
        *([f"    replay: {printable(found.command)}"] if found.command else []),
        *([f"    script: {printable(script_line(found, folder))}"] if found.script and folder is not None else []),
    ]


def script_line(found: Finding, folder: Path) -> str:
    """The command that prints the script of a finding."""
    return shlex.join(["rnn-conformance", "replay", f"{folder / 'record.json'}#{found.id}", "--script"])


def looks_like(found: Finding) -> list[str]:
    """What the diagnosis names, best first, or else where the deviation starts."""
    if found.diagnosis is None:
        return []
    named = [f"{named.sentence} [{named.id}, ρ = {named.rho:.2g}]" for named in found.diagnosis.likely]
    return named or [found.diagnosis.location] * bool(found.diagnosis.location)


def slowest(results: Iterable[CheckResult], count: int = 3) -> list[tuple[str, float]]:
    """The checks that took longest, over all their units."""
    seconds: dict[str, float] = {}
    for result in results:
        seconds[result.id] = seconds.get(result.id, 0.0) + result.seconds
    return sorted(seconds.items(), key=lambda item: -item[1])[:count]


def distinct(results: list[CheckResult]) -> list[CheckResult]:
    """One finding of each check: the first."""
    found: dict[str, CheckResult] = {}
    for result in results:
        found.setdefault(result.id, result)
    return list(found.values())


def _other_line(result: CheckResult) -> str:
    """The same check in another unit of work, and what replays it there."""
    where = f"    also in {result.cell} · {result.dtype} · {result.device}"
    if result.finding is None or not result.finding.command:
        return printable(where)
    return printable(f"{where}: {result.finding.command}")


def _stale_lines(record: Record) -> list[str]:
    stale = [r for r in record.checks if r.outcome == "unexpected_pass"]
    return [f"STALE {r.id} · {r.cell} · {r.dtype} · {r.device}: {printable(r.reason)}" for r in stale]


def _left_out_lines(record: Record) -> list[str]:
    """How much of each check there was no time for."""
    if not record.left_out:
        return []
    units = {r.id: sum(other.id == r.id for other in record.left_out) for r in record.left_out}
    said = ", ".join(f"{id} {count}" for id, count in units.items())
    budget = f"{record.time_budget:g} s" if record.time_budget is not None else "time"
    return [f"left out, for {budget} were spent (units of work of each check): {printable(said)}"]


def verdict_lines(record: Record, folder: Path) -> list[str]:
    """All of it; the verdict itself comes last."""
    lines: list[str] = []
    for result in distinct(record.findings):
        others = [r for r in record.findings if r.id == result.id and r is not result]
        lines += [*finding_lines(result, folder), *map(_other_line, others), ""]
    counts = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in sorted(record.counts.items()))
    lines += _stale_lines(record) + _left_out_lines(record)
    examples = sum(r.examples for r in record.checks)
    values = sum(r.values for r in record.checks)
    slow = ", ".join(f"{id} {seconds:.1f} s" for id, seconds in slowest(record.checks))
    return [
        *lines,
        f"{counts}; {examples:,} examples, {values:,} numbers compared, {record.seconds:.0f} s",
        f"slowest: {slow}",
        f"report: {folder / 'index.html'}",
        verdict(record),
    ]
