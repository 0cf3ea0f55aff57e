"""The examples of one unit of work as they go by: what they came to, and when to look no further."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rnn_conformance.case import Case
from rnn_conformance.check import Check
from rnn_conformance.expectations import Expectation
from rnn_conformance.isolate import IsolatedBackend, death_of
from rnn_conformance.subject import Broken, NotOffered, SaysNothing, Subject

REFUSALS = 40  # cases in a row that a backend does not offer, after which no more are drawn
SKIPS = 100  # cases in a row within regions of expectations that have shown their failure, likewise
SHRINKS = 150  # cases tried to make a failing one smaller
DEATHS = {"crashed": 60, "timed_out": 3}  # of them those that may end the backend's process, which takes time


@dataclass
class Attempts:
    """The examples of one unit of work as they go by."""

    check: Check
    subject: Subject
    examples: int = 0
    inconclusive: int = 0
    not_offered: dict[str, int] = field(default_factory=dict)
    unsupported: int = 0  # of these, cases whose config the backend does not support
    expectations: tuple[Expectation, ...] = ()
    failure: tuple[Case, Broken] | None = None
    expected: dict[Expectation, tuple[Case, Broken]] = field(default_factory=dict)  # the first failure in its region
    skipped: int = 0  # cases in a row that were not tried, for their region had its failure
    spared: Expectation | None = None  # an expectation whose region was entered without harm
    failures: dict[Case, Broken] = field(default_factory=dict)
    shrinks: int = 0
    deaths: dict[str, int] = field(default_factory=dict)
    note: Callable[[Case], None] = lambda case: None

    def shrink(self, case: Case) -> bool:
        """`attempt`, but for the cost of shrinking: beyond a number of attempts no new failure is looked for."""
        if case in self.failures:
            self.failure = (case, self.failures[case])
            raise self.failures[case]
        if self.skipped > SKIPS or (not self.examples and sum(self.not_offered.values()) > REFUSALS):
            return True
        self.shrinks += bool(self.failures)
        if self.shrinks > SHRINKS or self.tired:
            return True
        try:
            return self.attempt(case)
        except Broken as error:
            self.failures[case] = error
            self.grow_tired(error)
            raise

    def grow_tired(self, error: Broken) -> None:
        """Count a failure that may have ended the backend's process."""
        self.deaths[error.outcome] = self.deaths.get(error.outcome, 0) + 1

    @property
    def tired(self) -> bool:
        """Whether its process died so often that no new failure is looked for."""
        return any(self.deaths.get(kind, 0) >= most for kind, most in DEATHS.items())

    def fail(self, case: Case, error: Broken) -> None:
        """Keep a failure of the check's machine, of which the last is the smallest."""
        if death := death_of(self.subject.backend):
            error = type(death)(str(error))
        self.grow_tired(error)
        if expectation := self.expectation(case):
            self.expected.setdefault(expectation, (case, error))
        else:
            self.failure = (case, error)

    def lived(self) -> None:
        """Count one life of the check's machine."""
        self.examples += 1

    def refuse(self, reason: str) -> None:
        """Count a case that the backend does not offer."""
        self.not_offered[reason] = self.not_offered.get(reason, 0) + 1

    def attempt(self, case: Case) -> bool:
        """Try one case, unless it is known; whether it said anything.

        Raises:
            Broken: where the backend is at fault.
        """
        if self.known(case):
            self.skipped += 1
            return False
        self.skipped = 0
        self.subject.measured.case = case
        self.note(case)
        try:
            self.body(case)
        except SaysNothing:
            self.inconclusive += 1
            return False
        except NotOffered as reason:
            self.refuse(str(reason))
            return False
        except Broken as error:
            self.count(case)
            if expectation := self.expectation(case):
                self.expected.setdefault(expectation, (case, error))
                return True
            self.failure = (case, error)
            raise
        self.count(case)
        if (expectation := self.expectation(case)) and not expectation.sometimes:
            self.spared = self.spared or expectation
        return True

    def body(self, case: Case) -> None:
        """The check itself; whatever it makes of an error, the death of the backend's process breaks it."""
        try:
            if self.check.deadly and not isinstance(self.subject.backend, IsolatedBackend):
                raise NotOffered("such calls have ended processes: they are made in isolation alone")
            if self.check.offered and (reason := self.subject.supports(case.config)):
                self.unsupported += 1
                raise NotOffered(reason)
            self.check.body(self.subject, case)
        finally:
            if death := death_of(self.subject.backend):
                raise death

    def count(self, case: Case) -> None:
        """Count a case that said something."""
        self.examples += 1
        self.subject.measured.count(case)

    def expectation(self, case: Case) -> Expectation | None:
        """The declared deviation to which a failure in this case would belong."""
        return next((e for e in self.expectations if e.covers(self.check.id, case)), None)

    def known(self, case: Case) -> bool:
        """Whether it lies in a region that has shown its failure: another would take the place of a case outside."""
        return self.expectation(case) in self.expected
