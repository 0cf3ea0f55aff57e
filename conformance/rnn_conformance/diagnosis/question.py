"""The question that a diagnosis answers: what a backend gave for one case, and what a mistaken kernel gives for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from rnn_conformance.arithmetic import Arithmetic
from rnn_conformance.budget import LAMBDA, Budget, budgets
from rnn_conformance.case import Case
from rnn_conformance.diagnosis.hypotheses.base import Change, Hypothesis
from rnn_conformance.diagnosis.kernel import Kernel, Results, kernel_of
from rnn_conformance.oracle import Inputs, arrays_of
from rnn_conformance.subject import SaysNothing, Subject

Array = np.ndarray[Any, Any]
FEW = 3  # deviating elements that a number can be fitted to, whatever the mistake


@dataclass(frozen=True)
class Fit:
    """A mistake that reproduces the backend's numbers."""

    hypothesis: Hypothesis
    amount: float | None
    rho: float  # in units of its own σ
    left_over: float  # in units of the right kernel's σ, in which different mistakes compare
    predicted: Results

    @property
    def sentence(self) -> str:
        """That of the hypothesis, with the number that was fitted."""
        amount = "" if self.amount is None else f"{self.amount:.3g}"
        return self.hypothesis.sentence.replace("{amount}", amount)


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
        return self.budgets_of(_unchanged, None)

    @cached_property
    def deviation(self) -> float:
        """How far the backend is from that."""
        return largest_rho(self.actual, self.budgets)

    @property
    def right(self) -> bool:
        """Whether the call is right."""
        return self.deviation <= LAMBDA

    @cached_property
    def few(self) -> bool:
        """Whether few elements deviate."""
        return sum(int((b.rho(self.actual[name]) > LAMBDA).sum()) for name, b in self.budgets.items()) < FEW

    def kernel(self, arrays: Mapping[str, Array]) -> Kernel:
        """The right kernel on these arrays."""
        return kernel_of(self.case.config, self.inputs, arrays, self.actual)

    def given(self) -> dict[str, Array]:
        """The arrays that the kernel is given, by name."""
        return arrays_of(self.inputs)

    def results(self, kernel: Kernel) -> Results:
        """What the kernel was asked for."""
        return kernel.results()

    def budgets_of(
        self, change: Change, amount: float | None, arithmetic: Arithmetic | None = None
    ) -> dict[str, Budget]:
        """What a mistaken kernel gives, and how far correct arithmetic strays from it.

        The mistake itself is made on plain arrays, without rounding errors of its own.
        """

        def compute(arrays: Mapping[str, Array]) -> Results:
            plain = {name: array.view(np.ndarray) for name, array in arrays.items()}
            kernel = change(replace(self.kernel(plain), amount=amount))
            assert kernel is not None
            return self.results(kernel.viewed(type(arrays["input"])))

        return budgets(compute, self.given(), arithmetic or self.arithmetic)[0]

    def mistaken(self, change: Change) -> Kernel | None:
        """The mistaken kernel, exact and without runs; None where the mistake cannot be made."""
        exact = np.longdouble if self.arithmetic.unit_roundoff < 2.0**-50 else np.float64
        return change(self.kernel({name: array.astype(exact) for name, array in self.given().items()}))

    def left_over(self, predicted: Mapping[str, Array]) -> float:
        """How far the backend is from a prediction, in units of the right kernel's σ."""
        return largest_rho(self.actual, {n: Budget(predicted[n], b.sigma) for n, b in self.budgets.items()})

    def predicted(self, kernel: Kernel) -> Results:
        """What a kernel without runs gives."""
        return {name: array.squeeze(-3) for name, array in self.results(kernel).items()}

    def fit(self, hypothesis: Hypothesis) -> Fit | None:
        """How a mistake reproduces the backend's numbers; None where it does not.

        It does where each is within λ of the mistaken kernel's own σ, and the right numbers are not. One that does not
        even halve the deviation is not looked at closely.
        """
        kernel = self.mistaken(hypothesis.change)
        if kernel is None:
            return None
        predicted = self.predicted(kernel)
        left_over = self.left_over(predicted)
        if not left_over <= self.deviation / 2:
            return None
        found = self.budgets_of(hypothesis.change, kernel.amount)
        rho = largest_rho(self.actual, found)
        told_apart = largest_rho({name: b.truth for name, b in self.budgets.items()}, found) > LAMBDA
        return Fit(hypothesis, kernel.amount, rho, left_over, predicted) if rho <= LAMBDA and told_apart else None


def _unchanged(kernel: Kernel) -> Kernel:
    return kernel


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
    return sound(question)


def sound(question: Question) -> Question:
    """The question, once its budget is known to be finite.

    Raises:
        SaysNothing: where it is not.
    """
    if not all(np.isfinite(b.truth).all() and np.isfinite(b.sigma).all() for b in question.budgets.values()):
        raise SaysNothing("numbers overflow")
    return question
