"""The search: which mistakes, alone or in pairs, give what a backend gave."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from rnn_conformance.budget import Budget
from rnn_conformance.case import Case
from rnn_conformance.diagnosis.catalogue import hypotheses
from rnn_conformance.diagnosis.hypotheses.base import Change, Hypothesis, Kind
from rnn_conformance.diagnosis.kernel import Kernel, Results
from rnn_conformance.diagnosis.question import Question, asked, largest_rho
from rnn_conformance.diagnosis.result import Diagnosis, Named
from rnn_conformance.diagnosis.wider import wider_cases
from rnn_conformance.subject import Broken, NotOffered, SaysNothing, Subject

SECONDS = 3.0  # for one diagnosis
NAMED = 5  # hypotheses that one diagnosis lists at most
LEADERS = 12  # single mistakes with each of which every other is paired


@dataclass(frozen=True)
class Fit:
    """A mistake that reproduces the backend's numbers."""

    hypothesis: Hypothesis
    rho: float
    left_over: float  # in units of the right kernel's σ, in which different mistakes compare
    predicted: Results


def diagnose(subject: Subject, case: Case, kind: Kind) -> Diagnosis:
    """What the backend's results, or gradients, of a case look like."""
    deadline = time.perf_counter() + SECONDS
    own = Subject(subject.backend)  # measures nothing of the unit of work
    try:
        question = asked(own, case)
        if question.right:
            return Diagnosis(location=RIGHT)
        fits = named(own, question, kind, deadline)
    except Broken as error:
        return Diagnosis(location=f"a plain call of this case fails otherwise: {str(error)[:500]}")
    except (NotOffered, SaysNothing) as reason:
        return Diagnosis(location=f"nothing can be told from a plain call of this case: {reason}")
    likely = [Named(fit.hypothesis.id, fit.hypothesis.sentence, round(fit.rho, 3)) for fit in fits[:NAMED]]
    return Diagnosis(likely)


RIGHT = "a plain call of this case is right: what the check does beyond it matters"


def named(subject: Subject, question: Question, kind: Kind, deadline: float) -> list[Fit]:
    """The mistakes that fit, best first."""
    singles = hypotheses(kind)
    fits = ranked(question, list(fitting(question, singles, deadline)))
    if not fits:
        fits = ranked(question, list(islice(fitting(question, pairs(question, singles, deadline), deadline), 3)))
    return told_apart(subject, question, fits, deadline)


def fitting(question: Question, tried: Iterable[Hypothesis], deadline: float) -> Iterator[Fit]:
    """Those that fit, as far as time allows. One that does not even halve the deviation is not looked at closely."""
    for hypothesis in tried:
        if time.perf_counter() > deadline:
            return
        predicted = question.predicted(hypothesis.change)
        if predicted is None:
            continue
        left_over = question.left_over(predicted)
        if left_over > question.deviation / 2:
            continue
        rho = question.fit(hypothesis.change)
        if rho is not None:
            yield Fit(hypothesis, rho, left_over, predicted)


def ranked(question: Question, fits: list[Fit]) -> list[Fit]:
    """Best first. Those that give the same numbers stand together, in the catalogue's order."""
    ordered: list[Fit] = []
    left = sorted(fits, key=lambda fit: fit.left_over)
    while left:
        best = left[0].predicted
        same = [fit for fit in fits if fit in left and _same(question, fit.predicted, best)]
        ordered += same
        left = [fit for fit in left if fit not in same]
    return ordered


def _same(question: Question, one: Results, other: Results) -> bool:
    return largest_rho(one, {n: Budget(other[n], b.sigma) for n, b in question.budgets.items()}) <= 1


def told_apart(subject: Subject, question: Question, fits: list[Fit], deadline: float) -> list[Fit]:
    """Those that fit a wider case too, on which more mistakes differ, where the backend deviates there."""
    for case in wider_cases(question.case):
        if not fits or time.perf_counter() > deadline:
            return fits
        try:
            wide = asked(subject, case)
        except (Broken, NotOffered, SaysNothing):
            continue
        if not wide.right:
            return [fit for fit in fits if any(fitting(wide, [fit.hypothesis], deadline + 1))]
    return fits


def pairs(question: Question, singles: list[Hypothesis], deadline: float) -> Iterator[Hypothesis]:
    """Two mistakes at once: one of those that come nearest alone, and any other."""
    nearest: list[tuple[float, int]] = []
    for k, hypothesis in enumerate(singles):
        if time.perf_counter() > deadline:
            return
        predicted = question.predicted(hypothesis.change)
        if predicted is not None:
            nearest.append((question.left_over(predicted), k))
    possible = sorted(k for _, k in nearest)
    for _, k in sorted(nearest)[:LEADERS]:
        for other in possible:
            if k != other:
                yield _together(singles[k], singles[other])


def _together(one: Hypothesis, other: Hypothesis) -> Hypothesis:
    def change(kernel: Kernel) -> Kernel | None:
        changed = one.change(kernel)
        return None if changed is None else other.change(changed)

    return Hypothesis(f"{one.id} + {other.id}", f"{one.sentence}; and {other.sentence}", change, one.kind)


__all__ = ["Change", "Fit", "diagnose"]
