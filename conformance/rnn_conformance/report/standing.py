"""The verdict of a record: one word, a mark, and the sentence that says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rnn_conformance.record import Record
from rnn_conformance.report.text import plural

Word = Literal["conforms", "conforms as declared", "does not conform", "incomplete", "inconclusive"]
Tone = Literal["good", "bad", "warn"]


@dataclass(frozen=True)
class Standing:
    """Whether a backend conforms."""

    word: Word
    mark: str
    tone: Tone
    why: str


def standing(record: Record) -> Standing:
    """The verdict: a finding outweighs an interruption, which outweighs checks that say nothing."""
    if record.findings:
        return Standing("does not conform", "✕", "bad", _failures(record))
    if not record.complete:
        return Standing(
            "incomplete", "◐", "warn", f"The run was interrupted after {plural(len(record.checks), 'unit')}."
        )
    if record.ok:
        declared = "expected_failure" in record.counts
        return Standing("conforms as declared" if declared else "conforms", "✓", "good", _passes(record))
    if record.counts.get("unexpected_pass"):
        stale = plural(record.counts["unexpected_pass"], "unit")
        return Standing("inconclusive", "?", "warn", f"Declared deviations no longer show in {stale}: remove them.")
    if record.shortfalls:
        return Standing("inconclusive", "?", "warn", f"Too little ran: {'; '.join(record.shortfalls)}.")
    if "passed" not in record.counts:
        return Standing("inconclusive", "?", "warn", "No check ran an example.")
    silent = plural(len([r for r in record.checks if r.outcome in ("inconclusive", "not_run")]), "unit")
    return Standing("inconclusive", "?", "warn", f"In {silent} no example tells right from wrong.")


def _failures(record: Record) -> str:
    checks = plural(len({result.id for result in record.findings}), "check")
    sentence = f"{checks} broken in {plural(len(record.findings), 'unit')} of {len(record.checks):,}"
    if blocked := record.counts.get("blocked"):
        sentence += f"; {blocked:,} more {'is' if blocked == 1 else 'are'} blocked by that"
    return sentence + ("." if record.complete else "; the run was interrupted.")


def _passes(record: Record) -> str:
    counts = record.counts
    sentence = f"{plural(counts['passed'], 'unit')} of {len(record.checks):,} passed"
    if declined := counts.get("not_offered"):
        sentence += f"; not offered: {declined:,}"
    if expected := counts.get("expected_failure"):
        sentence += f"; failed as declared: {expected:,}"
    if record.left_out:
        sentence += f"; left out for lack of time: {len(record.left_out):,}"
    if record.suite_units:
        sentence += f"; not asked for: {record.suite_units - len(record.checks):,} more that the suite has"
    return sentence + "."
