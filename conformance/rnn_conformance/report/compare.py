"""Two records compared: what broke, was mended, appeared, vanished, got slower or less exact, and what else differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from rnn_conformance.record import CheckResult, Record
from rnn_conformance.report.grid import Unit, unit_of
from rnn_conformance.report.outcomes import BAD, GOOD, MARKS
from rnn_conformance.report.standing import Standing, standing
from rnn_conformance.report.text import number, seconds

SLOWER = 2.0  # times, and
SLOWER_SECONDS = 0.5  # at least so much
LESS_EXACT = 0.5  # bits

What = Literal["backend", "suite", "profile", "environment", "policy"]
Kind = Literal["broke", "mended", "appeared", "vanished", "moved", "slower", "less_exact"]
KINDS: dict[Kind, str] = {
    "broke": "Broke",
    "mended": "Mended",
    "appeared": "Appeared",
    "vanished": "Vanished",
    "moved": "Otherwise changed",
    "slower": "Got slower",
    "less_exact": "Got less exact",
}
FIELDS: dict[What, tuple[str, ...]] = {
    "backend": ("backend", "backend_version", "device"),
    "suite": ("suite_version", "lambda_"),
    "profile": ("profile", "seed", "complete", "time_budget"),
}


@dataclass(frozen=True)
class Change:
    """One unit that is not what it was; of one that got slower, the whole check."""

    kind: Kind
    result: CheckResult  # in the new record, or in the old where it vanished
    before: str
    after: str


@dataclass(frozen=True)
class Difference:
    """Something beside the results that the two records do not share."""

    what: What
    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Comparison:
    """What became of a backend between two records."""

    old: Record
    new: Record
    changes: list[Change]
    differences: list[Difference]

    def of(self, kind: Kind) -> list[Change]:
        """The changes of one kind."""
        return [change for change in self.changes if change.kind == kind]

    @property
    def same_cases(self) -> bool:
        """Whether both runs tried the same cases, so that figures can be compared."""
        return all(getattr(self.old, name) == getattr(self.new, name) for name in ("suite_version", "profile", "seed"))

    @property
    def regressed(self) -> bool:
        """Whether the new record is worse.

        It is where a unit broke, where one appeared that is not right, where one that passed is there no more, and,
        of equal cases, where one got less exact. Slower is reported and no more: a machine's load is not a backend's.
        """
        appeared_bad = any(change.result.outcome in BAD for change in self.of("appeared"))
        lost = any(change.result.outcome in GOOD for change in self.of("vanished"))
        cut_short = self.old.complete and not self.new.complete
        return bool(
            self.of("broke") or appeared_bad or lost or cut_short or (self.same_cases and self.of("less_exact"))
        )

    @property
    def standings(self) -> tuple[Standing, Standing]:
        """Both verdicts."""
        return standing(self.old), standing(self.new)


def compare(old: Record, new: Record) -> Comparison:
    """What changed from `old` to `new`; units for which either had no time are not compared."""
    no_time = {unit_of(result) for record in (old, new) for result in record.left_out}
    before, after = ({u: r for r in record.checks if (u := unit_of(r)) not in no_time} for record in (old, new))
    changes = [*_outcomes(before, after), *_slower(before, after), *_less_exact(before, after)]
    order = list(KINDS)
    return Comparison(old, new, sorted(changes, key=lambda c: order.index(c.kind)), list(_differences(old, new)))


def _outcomes(before: dict[Unit, CheckResult], after: dict[Unit, CheckResult]) -> Iterator[Change]:
    for unit in before | after:
        was, now = before.get(unit), after.get(unit)
        if (kind := _kind(was, now)) and (result := now if kind != "vanished" else was):
            yield Change(kind, result, _words(was), _words(now))


def _words(result: CheckResult | None) -> str:
    if result is None:
        return "absent"
    return MARKS[result.outcome].words + (f" by {result.reason}" if result.outcome == "blocked" else "")


def _tried(result: CheckResult | None) -> bool:
    return result is not None and result.outcome != "not_offered"


def _kind(was: CheckResult | None, now: CheckResult | None) -> Kind | None:
    """What became of a unit; one that is not offered counts as absent."""
    if was is None or now is None or not (_tried(was) and _tried(now)):
        return "appeared" if _tried(now) else "vanished" if _tried(was) else None
    if was.outcome == now.outcome:
        return None
    if was.outcome in GOOD and now.outcome in BAD:
        return "broke"
    if was.outcome in BAD and now.outcome in GOOD:
        return "mended"
    return "moved"


def _slower(before: dict[Unit, CheckResult], after: dict[Unit, CheckResult]) -> Iterator[Change]:
    """Checks in which the backend took longer for an example, over the units that pass in both records."""
    units: dict[str, list[Unit]] = {}
    for unit, now in after.items():
        was = before.get(unit)
        if was is not None and was.outcome == now.outcome == "passed":
            units.setdefault(unit[0], []).append(unit)
    for check, some in units.items():
        (old, old_runs), (new, new_runs) = (_spent([side[unit] for unit in some]) for side in (before, after))
        due = old * new_runs / old_runs if old_runs else old
        if new > SLOWER * due and new - due > SLOWER_SECONDS:
            yield Change("slower", after[some[0]], f"{seconds(due)} in {check}", seconds(new))


def _spent(results: list[CheckResult]) -> tuple[float, int]:
    return sum(r.backend_seconds for r in results), sum(r.examples for r in results)


def _less_exact(before: dict[Unit, CheckResult], after: dict[Unit, CheckResult]) -> Iterator[Change]:
    for unit, now in after.items():
        old, new = before[unit].effective_bits if unit in before else None, now.effective_bits
        if old is None or new is None or not (isfinite(old) and isfinite(new)):
            continue
        if old - new > LESS_EXACT:
            yield Change("less_exact", now, f"{number(old)} bits", f"{number(new)} bits")


def _differences(old: Record, new: Record) -> Iterator[Difference]:
    for what, names in FIELDS.items():
        for name in names:
            was, now = str(getattr(old, name)), str(getattr(new, name))
            if was != now:
                yield Difference(what, name.strip("_").replace("_", " "), was, now)
    if len(old.left_out) != len(new.left_out):
        yield Difference("profile", "units left out", str(len(old.left_out)), str(len(new.left_out)))
    for what, left, right in _mappings(old, new):
        for name in left | right:
            was, now = (str(side.get(name, "absent")) for side in (left, right))
            if was != now:
                yield Difference(what, name, was, now)


def _mappings(old: Record, new: Record) -> Iterator[tuple[What, dict[str, Any], dict[str, Any]]]:
    yield "environment", dict(old.environment), dict(new.environment)
    yield "policy", dict(old.policy), dict(new.policy)
