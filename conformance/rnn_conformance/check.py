"""Checks: one property each, with a stable id, a sentence that states it, and its source; and how one is run."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from math import log2, sqrt
from typing import Any, Protocol

from hypothesis import HealthCheck, Phase, Verbosity, given, reject, seed, settings
from hypothesis.errors import FlakyFailure, FlakyReplay, Unsatisfiable
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from rnn_conformance import world
from rnn_conformance.backend import Backend
from rnn_conformance.backends import describe
from rnn_conformance.case import Case
from rnn_conformance.config import LayerConfig
from rnn_conformance.covering import Share, covering_cases
from rnn_conformance.diagnosis.result import Diagnosis
from rnn_conformance.diagnosis.search import diagnose
from rnn_conformance.expectations import Expectation
from rnn_conformance.isolate import IsolatedBackend, death_of
from rnn_conformance.measured import Measured, trimmed
from rnn_conformance.record import CheckResult, Finding, Outcome
from rnn_conformance.script import script_of
from rnn_conformance.strategies import Unit, cases
from rnn_conformance.subject import Broken, Deviation, NotOffered, SaysNothing, Subject

EXAMPLES = {"smoke": 2, "ci": 10, "thorough": 200}  # that Hypothesis draws
COVERING: dict[str, Share] = {"smoke": "cells", "ci": "dtypes", "thorough": "whole"}  # before them
REFUSALS = 40  # cases in a row that a backend does not offer, after which no more are drawn
SEARCH = 40  # cases drawn where one before them has failed, for a failure that can be made smaller
SHRINKS = 150  # cases tried to make a failing one smaller
DEATHS = {"crashed": 60, "timed_out": 3}  # of them those that may end the backend's process, which takes time
Body = Callable[[Subject, Case], None]


class Log(Protocol):
    """Where a state machine tells what it found."""

    def fail(self, case: Case, error: Broken) -> None:
        """It broke here."""

    def lived(self) -> None:
        """One life has ended well."""

    def refuse(self, reason: str) -> None:
        """The backend does not offer the case."""

    def note(self, case: Case) -> None:
        """Take down what is to be tried."""

    @property
    def tired(self) -> bool:
        """Whether no new failure is looked for."""


Machine = Callable[[Unit, Subject, Log], type[RuleBasedStateMachine]]


@dataclass(frozen=True)
class Check:
    """One property of every recurrent layer."""

    id: str
    sentence: str
    source: str
    body: Body
    drawn: dict[str, Any]  # what it fixes of the cases that are drawn
    needs: tuple[str, ...] = ()  # checks without which this one says nothing
    cells: tuple[str, ...] = ()  # those that it is about; empty for all
    explicit: Callable[[Unit], list[Case]] | None = None  # cases that always run first
    share: float = 1.0  # of a profile's examples
    covering: bool = True  # whether it begins with the covering set
    machine: Machine | None = None  # a state machine in place of cases that are drawn
    offered: bool = True  # whether it is about configs that the backend offers
    dtypes: tuple[str, ...] = ()  # those that it is about; empty for all
    deadly: bool = False  # whether it has ended processes of released libraries, so that it runs in isolation alone

    @property
    def family(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]

    @property
    def module(self) -> str:
        """The name of the module that has it."""
        return self.body.__module__


CHECKS: dict[str, Check] = {}


def check(
    source: str,
    *,
    needs: tuple[str, ...] = (),
    cells: tuple[str, ...] = (),
    explicit: Callable[[Unit], list[Case]] | None = None,
    share: float = 1.0,
    covering: bool = True,
    machine: Machine | None = None,
    offered: bool = True,
    dtypes: tuple[str, ...] = (),
    deadly: bool = False,
    **drawn: Any,
) -> Callable[[Body], Callable[[Any], None]]:
    """Make a check of a function `test_NAME(subject, case)` in a module `test_FAMILY`: its id is FAMILY.NAME.

    The function's docstring is the sentence that it checks. `drawn` goes to `strategies.cases`.
    """

    def made(body: Body) -> Callable[[Any], None]:
        family = body.__module__.rpartition("test_")[2]
        name = body.__name__.removeprefix("test_")
        sentence = " ".join((body.__doc__ or "").split())
        id = f"{family}.{name}"
        made_check = Check(
            id, sentence, source, body, drawn, needs, cells, explicit, share, covering, machine, offered, dtypes, deadly
        )
        CHECKS[made_check.id] = made_check

        def test(rnn_unit: Any) -> None:
            rnn_unit(made_check)

        test.__name__ = test.__qualname__ = body.__name__
        test.__doc__ = body.__doc__
        test.__module__ = body.__module__
        test.rnn_check = made_check  # type: ignore[attr-defined]
        return test

    return made


@dataclass
class _Run:
    """The examples of one unit of work as they go by."""

    check: Check
    subject: Subject
    examples: int = 0
    inconclusive: int = 0
    not_offered: dict[str, int] = field(default_factory=dict)
    unsupported: int = 0  # of these, cases whose config the backend does not support
    expectations: tuple[Expectation, ...] = ()
    failure: tuple[Case, Broken] | None = None
    expected: tuple[Case, Broken, Expectation] | None = None
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
        if not self.examples and sum(self.not_offered.values()) > REFUSALS:
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
            self.expected = self.expected or (case, error, expectation)
        else:
            self.failure = (case, error)

    def lived(self) -> None:
        """Count one life of the check's machine."""
        self.examples += 1

    def refuse(self, reason: str) -> None:
        """Count a case that the backend does not offer."""
        self.not_offered[reason] = self.not_offered.get(reason, 0) + 1

    def attempt(self, case: Case) -> bool:
        """Try one case; whether it said anything.

        Raises:
            Broken: where the backend is at fault.
        """
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
                self.expected = self.expected or (case, error, expectation)
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


def run_unit(
    check: Check,
    unit: Unit,
    backend: Backend,
    profile: str,
    rtol: float | None = None,
    atol: float | None = None,
    expectations: tuple[Expectation, ...] = (),
    note: Callable[[Case], None] = lambda case: None,
) -> CheckResult:
    """Run one check in one unit of work: explicit cases, then what Hypothesis draws, down to the smallest failure.

    Args:
        note: takes down each case before it is tried.
    """
    start = time.perf_counter()
    before = world.snapshot(backend)
    run = _Run(check, Subject(backend, Measured(), rtol, atol), expectations=expectations, note=note)
    explicit_failure = None
    printed = check.explicit(unit) if check.explicit else []
    extras = backend.extras(unit.cell)
    covering = covering_cases(unit, check.drawn, COVERING[profile], extras) if check.covering else []
    few = backend.max_examples
    if few is not None:
        printed, covering = [], _few([case for case in printed + covering if _offered(backend, case)], few, unit)
    for case in printed + covering:
        try:
            run.attempt(case)
        except Broken as error:
            explicit_failure = explicit_failure or run.failure
            if error.outcome == "timed_out":
                break
    run.failure = None
    world.restore(backend, before)
    tried = len(printed) + len(covering)
    examples = max(1, round(EXAMPLES[profile] * check.share))
    if explicit_failure:
        examples = max(examples, SEARCH)
    if few is not None:  # drawn where there are no others, and one more, for the first that is drawn is trivial
        examples = 0 if tried else min(examples, few + 1)
    refused = sum(run.not_offered.values()) == tried and not (run.unsupported == tried and _offers_some(backend, unit))
    if examples and (not tried or not refused):
        _generate(run, unit, examples)
    world.restore(backend, before)
    return _result(run, unit, run.failure or explicit_failure, time.perf_counter() - start)


def _offers_some(backend: Backend, unit: Unit) -> bool:
    """Whether it supports the plainest config of this unit, so that others are worth drawing."""
    extras = {name: values[0] for name, values in backend.extras(unit.cell).items()}
    return backend.supports(LayerConfig(unit.cell, 1, 1, dtype=unit.dtype, device=unit.device, **extras)) is None


def _offered(backend: Backend, case: Case) -> bool:
    """Whether a backend says that it takes this case."""
    policy = backend.policy
    taken = (case.lengths is None or policy.lengths) and (case.batch_size is not None or policy.unbatched)
    return taken and not backend.supports(case.config)


def _few(cases: list[Case], count: int, unit: Unit) -> list[Case]:
    """So many of the cases, others in other units, so that all of them have their turn."""
    first = unit.entropy % max(len(cases), 1)
    return (cases + cases)[first : first + min(count, len(cases))]


def _generate(run: _Run, unit: Unit, examples: int) -> None:
    """Let Hypothesis draw cases and shrink a failing one; the smallest stays in `run.failure`."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=10,
        database=None,
        deadline=None,
        derandomize=False,
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )

    @seed(unit.entropy)
    @chosen
    @given(cases(unit, **dict(run.subject.backend.extras(unit.cell)) | run.check.drawn))
    def drawn(case: Case) -> None:
        if not run.shrink(case):
            reject()

    try:
        if run.check.machine is None:
            drawn()
        else:
            run_state_machine_as_test(seed(unit.entropy)(run.check.machine(unit, run.subject, run)), settings=chosen)
    except (Broken, FlakyFailure, FlakyReplay, ExceptionGroup):
        if run.failure is None and run.expected is None:
            raise
    except Unsatisfiable:
        return


def _result(run: _Run, unit: Unit, failure: tuple[Case, Broken] | None, seconds: float) -> CheckResult:
    measured = run.subject.measured
    if failure is not None:
        outcome: Outcome = failure[1].outcome
    elif run.expected is not None:
        outcome = "expected_failure"
    elif run.spared is not None:
        outcome = "unexpected_pass"
    elif run.examples:
        outcome = "passed"
    elif run.not_offered:
        outcome = "not_offered"
    else:
        outcome = "inconclusive" if run.inconclusive else "not_run"
    reason = "; ".join(run.not_offered) if outcome == "not_offered" else ""
    if outcome == "expected_failure" and run.expected is not None:
        failure, reason = run.expected[:2], run.expected[2].reason
    if outcome == "unexpected_pass" and run.spared is not None:
        reason = f"expected to fail where {run.spared.where} ({run.spared.reason}), and did not: take that back"
    return CheckResult(
        id=unit.check,
        cell=unit.cell,
        dtype=unit.dtype,
        device=unit.device,
        outcome=outcome,
        examples=run.examples,
        inconclusive=run.inconclusive,
        seconds=round(seconds, 4),
        backend_seconds=round(measured.backend_seconds, 4),
        values=measured.values,
        largest_rho=_finite(measured.largest_rho),
        spread=trimmed(measured.spread),
        worst=measured.worst_case,
        coverage=measured.coverage,
        effective_bits=_effective_bits(run, unit),
        reason=reason,
        finding=None if failure is None else finding_of(run.check, *failure, run.subject, diagnosis_of(run, *failure)),
    )


def _finite(rho: float) -> float:
    return min(rho, 1e300)


def _effective_bits(run: _Run, unit: Unit) -> float | None:
    """-log2 of the roundoff that would show the measured spread."""
    measured = run.subject.measured
    if not measured.values or not measured.sum_of_squares:
        return None
    u = run.subject.backend.arithmetic(unit.dtype).unit_roundoff
    return round(-log2(u * sqrt(measured.sum_of_squares / measured.values)), 2)


def diagnosis_of(run: _Run, case: Case, error: Broken) -> Diagnosis | None:
    """Which mistake a deviation looks like. A failure to tell is told, and loses no finding."""
    if not isinstance(error, Deviation):
        return None
    try:
        return diagnose(run.subject, case, "gradients" if run.check.family == "gradients" else "values")
    except Exception as failed:
        return Diagnosis(location=f"diagnosing failed with {describe(failed)[:500]}")
    finally:
        death_of(run.subject.backend)


def finding_of(
    check: Check, case: Case, error: Broken, subject: Subject, diagnosis: Diagnosis | None = None
) -> Finding:
    """What a report says of the smallest case that breaks a check."""
    deviation = error if isinstance(error, Deviation) else None
    return Finding(
        id=f"{check.id}-{zlib.crc32(f'{case}{error}'.encode()):08x}",
        sentence=check.sentence,
        source=check.source,
        message=str(error),
        case=str(case),
        fields=case.to_dict(),
        rho=None if deviation is None else _finite(deviation.rho),
        element={} if deviation is None else deviation.element,
        diagnosis=diagnosis,
        script=script_of(check, case, error, subject),
    )


def crashed_result(check: Check, unit: Unit, last_words: str, case: Case | None) -> CheckResult:
    """The result of a unit in which the suite's own process died, while it was trying this case."""
    said = " ".join(last_words[:2000].split())
    finding = None
    if case is not None:
        finding = Finding(
            id=f"{check.id}-{zlib.crc32(f'{case}'.encode()):08x}",
            sentence=check.sentence,
            source=check.source,
            message=f"the suite's own process died: {said}",
            case=str(case),
            fields=case.to_dict(),
        )
    return CheckResult(
        id=unit.check,
        cell=unit.cell,
        dtype=unit.dtype,
        device=unit.device,
        outcome="crashed",
        examples=0,
        inconclusive=0,
        seconds=0.0,
        backend_seconds=0.0,
        values=0,
        largest_rho=0.0,
        reason=said,
        finding=finding,
    )
