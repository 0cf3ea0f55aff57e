"""Outcomes as they are shown: a glyph and words beside the colour, and which of several is worst."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rnn_conformance.record import CheckResult

GOOD = frozenset({"passed", "expected_failure"})
BAD = frozenset({"failed", "crashed", "timed_out", "blocked", "inconclusive", "unexpected_pass", "not_run"})


@dataclass(frozen=True)
class Mark:
    """How one outcome is shown."""

    glyph: str
    words: str
    meaning: str


MARKS = {  # the worst first
    "crashed": Mark("C", "crashed", "the process of the backend died"),
    "timed_out": Mark("T", "timed out", "a call did not return in time"),
    "failed": Mark("✕", "failed", "a case breaks the check; there is a finding"),
    "unexpected_pass": Mark("!", "unexpected pass", "a declared expectation no longer holds"),
    "blocked": Mark("B", "blocked", "fails, as a more basic check does on which it stands"),
    "inconclusive": Mark("?", "inconclusive", "no case could tell right from wrong"),
    "not_run": Mark("○", "not run", "no example ran"),
    "expected_failure": Mark("e", "expected failure", "fails as declared, with a reason"),
    "passed": Mark("✓", "passed", "every example that ran agrees"),
    "not_offered": Mark("–", "not offered", "the backend says that it does not do this"),
}


def worst(results: Iterable[CheckResult]) -> str:
    """The outcome that matters most, '' for none."""
    present = {result.outcome for result in results}
    return next((outcome for outcome in MARKS if outcome in present), "")


def tally(results: Iterable[CheckResult]) -> dict[str, int]:
    """How many came to each outcome that occurs, the worst first."""
    counts = dict.fromkeys(MARKS, 0)
    for result in results:
        counts[result.outcome] += 1
    return {outcome: count for outcome, count in counts.items() if count}


def tally_words(results: Iterable[CheckResult]) -> str:
    """`3 failed, 12 passed`."""
    return ", ".join(f"{count:,} {MARKS[outcome].words}" for outcome, count in tally(results).items())
