"""The result of one unit of work, and the finding of the smallest case that broke its check."""

from __future__ import annotations

import zlib
from math import log2, sqrt

from rnn_conformance.attempts import Attempts
from rnn_conformance.backends import describe
from rnn_conformance.case import Case
from rnn_conformance.check import Check
from rnn_conformance.diagnosis.result import Diagnosis
from rnn_conformance.diagnosis.search import diagnose
from rnn_conformance.isolate import death_of
from rnn_conformance.measured import trimmed
from rnn_conformance.record import CheckResult, Finding, Outcome
from rnn_conformance.script import script_of
from rnn_conformance.strategies import Unit
from rnn_conformance.subject import BackendRaised, Broken, Deviation, Subject
from rnn_conformance.verdict import without_places


def result_of(run: Attempts, unit: Unit, failure: tuple[Case, Broken] | None, seconds: float) -> CheckResult:
    """What a unit of work came to, once its examples have gone by."""
    measured = run.subject.measured
    if failure is not None:
        outcome: Outcome = failure[1].outcome
    elif run.expected:
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
    if outcome == "expected_failure":
        failure = next(iter(run.expected.values()))
        reason = "; ".join(dict.fromkeys(expectation.reason for expectation in run.expected))
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


def _effective_bits(run: Attempts, unit: Unit) -> float | None:
    """-log2 of the roundoff that would show the measured spread; None where what is declared to be wrong is in it."""
    measured = run.subject.measured
    if any(error.outcome == "failed" and not isinstance(error, BackendRaised) for _, error in run.expected.values()):
        return None
    if not measured.values or not measured.sum_of_squares:
        return None
    u = run.subject.backend.arithmetic(unit.dtype).unit_roundoff
    return round(-log2(u * sqrt(measured.sum_of_squares / measured.values)), 2)


def diagnosis_of(run: Attempts, case: Case, error: Broken) -> Diagnosis | None:
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
        message=without_places(str(error)),
        case=str(case),
        fields=case.to_dict(),
        rho=None if deviation is None else _finite(deviation.rho),
        element={} if deviation is None else deviation.element,
        diagnosis=diagnosis,
        script=script_of(check, case, error, subject),
    )


def crashed_result(check: Check, unit: Unit, last_words: str, case: Case | None) -> CheckResult:
    """The result of a unit in which the suite's own process died, while it was trying this case."""
    said = without_places(" ".join(last_words[:2000].split()))
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
    return result_without_examples(unit, "crashed", said, finding)


def result_without_examples(unit: Unit, outcome: Outcome, reason: str, finding: Finding | None = None) -> CheckResult:
    """The result of a unit of which no example is known to have been tried to its end."""
    return CheckResult(
        id=unit.check,
        cell=unit.cell,
        dtype=unit.dtype,
        device=unit.device,
        outcome=outcome,
        examples=0,
        inconclusive=0,
        seconds=0.0,
        backend_seconds=0.0,
        values=0,
        largest_rho=0.0,
        reason=reason,
        finding=finding,
    )
