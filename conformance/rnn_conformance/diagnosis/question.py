"""The question that a diagnosis answers: what a backend gave for one case, and what a mistaken kernel gives for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rnn_conformance.arithmetic import Arithmetic
from rnn_conformance.budget import LAMBDA, Budget, budgets
from rnn_conformance.case import Case
from rnn_conformance.diagnosis.hypotheses.base import Change
from rnn_conformance.diagnosis.kernel import Kernel, Results, kernel_of
from rnn_conformance.oracle import Inputs, arrays_of
from rnn_conformance.subject import SaysNothing, Subject

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Question:
    """One call of a backend."""

    case: Case
    inputs: Inputs
    arithmetic: Arithmetic
    actual: Mapping[str, Array]

    @cached_property
    def budgets(self) -> dict[str, Budget]:
        """What a right kernel gives."""
        return self.budgets_of(lambda kernel: kernel)

    @cached_property
    def deviation(self) -> float:
        """How far the backend is from that."""
        return largest_rho(self.actual, self.budgets)

    @property
    def right(self) -> bool:
        """Whether the call is right."""
        return self.deviation <= LAMBDA

    def kernel(self, arrays: Mapping[str, Array]) -> Kernel:
        """The right kernel on these arrays."""
        return kernel_of(self.case.config, self.inputs, arrays, self.actual)

    def compute(self, kernel: Kernel) -> Results:
        """What a kernel is asked for."""
        return kernel.results()

    def budgets_of(self, change: Change) -> dict[str, Budget]:
        """What a mistaken kernel gives, and how far correct arithmetic strays from it.

        The mistake itself is made on plain arrays, without rounding errors of its own.
        """

        def compute(arrays: Mapping[str, Array]) -> Results:
            plain = {name: array.view(np.ndarray) for name, array in arrays.items()}
            kernel = change(self.kernel(plain))
            assert kernel is not None
            return self.compute(kernel.viewed(type(arrays["input"])))

        return budgets(compute, arrays_of(self.inputs), self.arithmetic)[0]

    def predicted(self, change: Change) -> Results | None:
        """What a mistaken kernel gives; None where the mistake cannot be made."""
        exact = np.longdouble if self.arithmetic.unit_roundoff < 2.0**-50 else np.float64
        kernel = change(self.kernel({name: a.astype(exact) for name, a in arrays_of(self.inputs).items()}))
        return None if kernel is None else {n: a.squeeze(-3) for n, a in self.compute(kernel).items()}

    def left_over(self, predicted: Mapping[str, Array]) -> float:
        """How far the backend is from a prediction, in units of the right kernel's σ."""
        return largest_rho(self.actual, {n: Budget(predicted[n], b.sigma) for n, b in self.budgets.items()})

    def fit(self, change: Change) -> float | None:
        """How far the backend is from a mistaken kernel in that one's own σ; None beyond λ, or where a right kernel is
        not farther."""
        found = self.budgets_of(change)
        rho = largest_rho(self.actual, found)
        told_apart = largest_rho({name: b.truth for name, b in self.budgets.items()}, found) > LAMBDA
        return rho if rho <= LAMBDA and told_apart else None


def largest_rho(actual: Mapping[str, Array], found: Mapping[str, Budget]) -> float:
    """The largest ρ over all arrays. NaN and infinities agree with their like."""
    worst = 0.0
    for name, budget in found.items():
        rho = budget.rho(actual[name])
        given = np.asarray(actual[name]).astype(budget.truth.dtype)
        same = (given == budget.truth) | (np.isnan(given) & np.isnan(budget.truth))
        worst = max(worst, float(np.where(same, 0.0, rho).max(initial=0.0)))
    return worst


def asked(subject: Subject, case: Case) -> Question:
    """Drive the backend through one plain call of a case.

    Raises:
        Broken, NotOffered: where it gives no result.
        SaysNothing: where numbers may overflow, so that nothing can be told.
    """
    inputs = case.inputs()
    arithmetic = subject.backend.arithmetic(case.config.dtype)
    question = Question(case, inputs, arithmetic, subject.run(case, inputs).arrays)
    if not all(np.isfinite(b.truth).all() and np.isfinite(b.sigma).all() for b in question.budgets.values()):
        raise SaysNothing("numbers overflow")
    return question
