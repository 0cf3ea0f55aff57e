"""The search: which mistakes, alone or in pairs, give what a backend gave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from rnn_conformance.budget import Budget
from rnn_conformance.case import Case
from rnn_conformance.diagnosis.cases import other_calls, wider_cases
from rnn_conformance.diagnosis.catalogue import hypotheses
from rnn_conformance.diagnosis.hypotheses.base import Hypothesis, Kind
from rnn_conformance.diagnosis.kernel import Kernel, Results
from rnn_conformance.diagnosis.localise import localised
from rnn_conformance.diagnosis.question import Fit, Question, asked, asked_for_gradients, largest_rho
from rnn_conformance.diagnosis.result import Diagnosis, Named
from rnn_conformance.diagnosis.sizes import of_the_size
from rnn_conformance.subject import Broken, NotOffered, SaysNothing, Subject

Ask = Callable[[Subject, Case], Question]
SECONDS = 2.3  # for one search
NAMED = 6  # hypotheses that one diagnosis lists at most
LEADERS = 12  # single mistakes with each of which every other is paired
PAIRS = 3  # pairs that are looked for
LOCALISING = 0.5  # seconds more, to say where
NOTHING = "no known mistake gives these numbers"
RIGHT = "a plain call of this case is right: what the check does beyond it matters"


def diagnose(subject: Subject, case: Case, kind: Kind) -> Diagnosis:
    """What the backend's results, or gradients, of a case look like."""
    deadline = time.perf_counter() + SECONDS
    own = Subject(subject.backend)  # measures nothing of the unit of work
    try:
        question, where = deviating(own, case, asked)
        ask: Ask = asked
        if kind == "gradients" and question.right:
            question, where = deviating(own, case, asked_for_gradients)
            ask = asked_for_gradients
        if question.right:
            return Diagnosis(location=RIGHT)
    except Broken as error:
        return Diagnosis(location=f"a plain call of this case fails otherwise: {str(error)[:500]}")
    except (NotOffered, SaysNothing) as reason:
        return Diagnosis(location=f"nothing can be told from a plain call of this case: {reason}")
    fits = named(own, question, ask, deadline)
    if not fits:
        start = localised(own, question, deadline + LOCALISING)
        where = "; ".join(filter(None, [where, NOTHING, start]))
    likely = [Named(fit.hypothesis.id, fit.sentence, round(fit.rho, 3)) for fit in fits[:NAMED]]
    return Diagnosis(likely, alike=len(alike(question, fits[:NAMED])), location=where[:2000])


def deviating(subject: Subject, case: Case, ask: Ask) -> tuple[Question, str]:
    """The plain call of the case; where that is right, one of the calls near it that checks make and that is not."""
    question = ask(subject, case)
    if question.right:
        for words, other in other_calls(case):
            try:
                found = ask(subject, other)
                if not found.right:
                    return found, f"the plain call of this case is right; {words} it is not"
            except (Broken, NotOffered, SaysNothing):
                continue
    return question, ""


def named(subject: Subject, question: Question, ask: Ask, deadline: float) -> list[Fit]:
    """The mistakes that fit, best first."""
    singles = hypotheses("values" if ask is asked else "gradients")
    wide = [(same, found) for same, case in wider_cases(question.case) if (found := _wrong(subject, case, ask))]
    fits = surviving(ranked(question, fitting(question, singles, deadline)), wide, deadline)
    if not fits:
        fits = of_the_size(next((found for same, found in wide if same), question))
    if not fits:
        found = islice(fitting(question, pairs(question, singles, deadline), deadline), PAIRS)
        fits = surviving(ranked(question, found), wide, deadline)
    return fits


def _wrong(subject: Subject, case: Case, ask: Ask) -> Question | None:
    """The plain call of a case, where it can be told to be wrong."""
    try:
        question = ask(subject, case)
        return None if question.right else question
    except (Broken, NotOffered, SaysNothing):
        return None


def fitting(question: Question, tried: Iterable[Hypothesis], deadline: float) -> Iterator[Fit]:
    """Those that fit, as far as time allows."""
    for hypothesis in tried:
        if time.perf_counter() > deadline:
            return
        if fit := question.fit(hypothesis):
            yield fit


def ranked(question: Question, found: Iterable[Fit]) -> list[Fit]:
    """Best first. Those that give the same numbers stand together in the catalogue's order.

    Fitted ones stand last, and not at all where they only fit what another mistake gives without fitting.
    """
    fits, ordered = list(found), []
    left = sorted(fits, key=lambda fit: fit.left_over)
    while left:
        same = alike(question, [left[0], *(fit for fit in fits if fit in left and fit is not left[0])])
        left = [fit for fit in left if fit not in same]
        plain = [fit for fit in same if not fit.hypothesis.tuned]
        ordered += [fit for fit in fits if fit in (plain or same)]
    return sorted(ordered, key=lambda fit: fit.hypothesis.tuned)


def alike(question: Question, fits: list[Fit]) -> list[Fit]:
    """Those that give the same numbers as the first."""

    def same(one: Results, other: Results) -> bool:
        return largest_rho(one, {n: Budget(other[n], b.sigma) for n, b in question.budgets.items()}) <= 1

    return [fit for fit in fits if same(fit.predicted, fits[0].predicted)]


def surviving(fits: list[Fit], wide: list[tuple[bool, Question]], deadline: float) -> list[Fit]:
    """Those that fit wider cases too, in which more mistakes differ. `wide` says of each if it has the same structure.

    A mistake of another structure may be another one, so that such a case rules out nothing unless something fits it.
    A fitted number that meets few elements only must fit a wider case.
    """
    confirmed = False
    for same_structure, question in wide:
        if len(fits) > 1 or not confirmed:
            kept = [fit for fit in fits if any(fitting(question, [fit.hypothesis], deadline + 0.5))]
            confirmed |= bool(kept)
            fits = kept if kept or same_structure else fits
    return fits if confirmed else [fit for fit in fits if not fit.hypothesis.tuned]


def pairs(question: Question, singles: list[Hypothesis], deadline: float) -> Iterator[Hypothesis]:
    """Two mistakes at once: one of those that come nearest alone, and any other."""
    nearest: list[tuple[float, int]] = []
    for k, hypothesis in enumerate(singles):
        if time.perf_counter() > deadline:
            return
        if not hypothesis.tuned and (predicted := question.predicted_by(hypothesis)) is not None:
            nearest.append((question.left_over(predicted[1]), k))
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
