"""Minimum counts: how many examples a profile promises, and where a run fell short of them.

A check that silently runs on nothing passes; this is the guard against it. A unit of work that is offered promises
half of the examples that its profile draws for it (`check.EXAMPLES` times the check's share; half, since a backend that
offers few configs lets others be drawn in vain), one that fails as expected its failure alone, for more of that region
are not tried, and a family what its units promise together. A family that is offered and had no time for a single unit
has fallen short too.
"""

from __future__ import annotations

from collections.abc import Iterable

from rnn_conformance.check import CHECKS, Check
from rnn_conformance.execution import EXAMPLES
from rnn_conformance.record import CheckResult

RAN = frozenset({"passed", "expected_failure", "unexpected_pass", "inconclusive"})


def promised(check: Check, profile: str, most: int | None = None, outcome: str = "passed") -> int:
    """The examples of one unit of work of this check with this outcome, on a backend that takes so many at most."""
    if outcome == "expected_failure":
        return 1
    drawn = round(EXAMPLES[profile] * check.share)
    return max(1, (drawn if most is None else min(drawn, most)) // 2)


def shortfalls(results: Iterable[CheckResult], profile: str, most: int | None = None) -> list[str]:
    """A sentence for each family that ran fewer examples than the profile promises. One that failed says enough."""
    families: dict[str, list[CheckResult]] = {}
    for result in results:
        if result.id in CHECKS:
            families.setdefault(CHECKS[result.id].family, []).append(result)
    found = []
    for family, units in families.items():
        ran = [unit for unit in units if unit.outcome in RAN]
        due, examples = (
            sum(promised(CHECKS[unit.id], profile, most, unit.outcome) for unit in ran),
            sum(unit.examples for unit in ran),
        )
        if all(unit.outcome == "not_run" for unit in units):
            found.append(f"{family} ran in none of its {len(units)} units of work")
        elif examples < due:
            found.append(f"{family} ran {examples} examples, where the profile {profile} promises {due}")
    return found
