"""The search: which mistakes, alone or in pairs, give what a backend gave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, islice, product

from rnn_conformance.case import Case
from rnn_conformance.diagnosis.cases import other_calls, wider_cases
from rnn_conformance.diagnosis.catalogue import hypotheses
from rnn_conformance.diagnosis.hypotheses.base import CATALOGUE, Hypothesis, Kind
from rnn_conformance.diagnosis.kernel import Kernel
from rnn_conformance.diagnosis.localise import localised
from rnn_conformance.diagnosis.question import Array, Fit, Question, apart, asked, asked_for_gradients
from rnn_conformance.diagnosis.result import Diagnosis, Named
from rnn_conformance.diagnosis.sizes import of_the_size
from rnn_conformance.subject import Broken, NotOffered, SaysNothing, Subject

PAIRED = ("gates", "weights", "states", "directions", "layers", "lengths", "gradients")  # families of pairs
Ask = Callable[[Subject, Case], Question]
SECONDS = 2.3  # for one search
NAMED = 6  # hypotheses that one diagnosis lists at most
SAME = 1.0  # σ by which two mistakes may differ and give the same numbers
NEAR = 1e3  # a pair farther than this many σ is not looked at closely
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
    if not any(fit.hypothesis.id in CATALOGUE or "+" in fit.hypothesis.id for fit in fits):
        start = localised(own, question, deadline + LOCALISING)
        where = "; ".join(filter(None, [where, NOTHING, start]))
    likely = [Named(fit.hypothesis.id, fit.sentence, round(fit.rho, 3)) for fit in fits[:NAMED]]
    return Diagnosis(likely, alike=len(alike(fits[:NAMED])), location=where[:2000])


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
    wide = [
        (alike_built, found)
        for alike_built, case in wider_cases(question.case)
        if (found := _wrong(subject, case, ask))
    ]
    fits = surviving(ranked(fitting(question, singles, deadline)), wide, deadline)
    if not fits:
        fits = of_the_size(next((found for alike_built, found in wide if alike_built), question))
    if not fits:
        both = islice(fitting(question, pairs(question, singles, deadline), deadline), PAIRS)
        fits = surviving(ranked(both), wide, deadline)
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


def ranked(found: Iterable[Fit]) -> list[Fit]:
    """Best first. Those that give the same numbers stand together in the catalogue's order.

    Fitted ones stand last, and not at all where they only fit what another mistake gives without fitting.
    """
    fits, ordered = list(found), []
    left = sorted(fits, key=lambda fit: fit.left_over)
    while left:
        same = alike([left[0], *(fit for fit in fits if fit in left and fit is not left[0])])
        left = [fit for fit in left if fit not in same]
        plain = [fit for fit in same if not fit.hypothesis.tuned]
        ordered += [fit for fit in fits if fit in (plain or same)]
    return sorted(ordered, key=lambda fit: fit.hypothesis.tuned)


def alike(fits: list[Fit]) -> list[Fit]:
    """Those that give the same numbers as the first."""
    return [fit for fit in fits if apart(fit.predicted, fits[0].predicted) <= SAME]


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
    """Two mistakes at once that come near what the backend gave.

    Mistakes that give the same numbers here stand for each other until a pair comes near: then each of the one is
    paired with each of the other.
    """
    groups = _groups(question, list(filter(_paired, singles)), deadline)
    for one, other in combinations(groups, 2):
        if time.perf_counter() > deadline:
            return
        predicted = question.predicted_by(_together(one[0], other[0]))
        if predicted is not None and apart(question.seen, predicted[1]) <= min(NEAR, question.deviation / 2):
            yield from (_together(a, b) for a, b in product(one, other))


def _paired(hypothesis: Hypothesis) -> bool:
    """Whether a mistake is tried in pairs: one that is fitted is not, nor one of precision, a table or a bound."""
    family, _, name = hypothesis.id.partition(".")
    return not hypothesis.tuned and (
        family in PAIRED or (family == "activations" and not any(c.isdigit() for c in name))
    )


def _groups(question: Question, singles: list[Hypothesis], deadline: float) -> list[list[Hypothesis]]:
    """The mistakes that make a difference here, those that make the same one together."""
    found: list[tuple[Array, list[Hypothesis]]] = []
    for hypothesis in singles:
        given = question.predicted_by(hypothesis) if time.perf_counter() < deadline else None
        if given is None or apart(given[1], question.due) <= SAME:
            continue
        group = next((group for predicted, group in found if apart(given[1], predicted) <= SAME), None)
        if group is None:
            found.append((given[1], [hypothesis]))
        else:
            group.append(hypothesis)
    return [group for _, group in found]


def _together(one: Hypothesis, other: Hypothesis) -> Hypothesis:
    def change(kernel: Kernel) -> Kernel | None:
        changed = one.change(kernel)
        return None if changed is None else other.change(changed)

    return Hypothesis(f"{one.id} + {other.id}", f"{one.sentence}; and {other.sentence}", change, one.kind)
