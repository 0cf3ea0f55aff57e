"""The question that a diagnosis answers: what a backend gave for one case, and what a mistaken kernel gives for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from rnn_conformance.arithmetic import Arithmetic
from rnn_conformance.budget import LAMBDA, Budget, budgets
from rnn_conformance.case import Case, upstream_of
from rnn_conformance.diagnosis.backward import differentiated
from rnn_conformance.diagnosis.hypotheses.base import Change, Hypothesis
from rnn_conformance.diagnosis.kernel import Kernel, Results, kernel_of
from rnn_conformance.oracle import Inputs, Upstream, arrays_of, gradient_truth
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
    predicted: Array  # as `Question.in_sigmas`

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
        """Whether the call is right.

        Raises:
            SaysNothing: where numbers may overflow, so that nothing can be told.
        """
        if not all(np.isfinite(b.truth).all() and np.isfinite(b.sigma).all() for b in self.budgets.values()):
            raise SaysNothing("numbers overflow")
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
        return self.arithmetic.stored(arrays_of(self.inputs))

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
            return kernel.viewed(type(arrays["input"])).results()

        return budgets(compute, self.given(), arithmetic or self.arithmetic)[0]

    @cached_property
    def exact(self) -> Kernel:
        """The right kernel, exact and without runs."""
        exact = np.longdouble if self.arithmetic.unit_roundoff < 2.0**-50 else np.float64
        return self.kernel({name: array.astype(exact) for name, array in self.given().items()}).remembering()

    def in_sigmas(self, arrays: Mapping[str, Array]) -> Array:
        """All elements in one row, in units of the right kernel's σ."""
        budgets = self.budgets.items()
        return np.concatenate(
            [np.asarray(arrays[n]).astype(b.truth.dtype).ravel() / b.sigma.ravel() for n, b in budgets]
        )

    @cached_property
    def seen(self) -> Array:
        """What the backend gave."""
        return self.in_sigmas(self.actual)

    @cached_property
    def due(self) -> Array:
        """What was due."""
        return self.in_sigmas({name: b.truth for name, b in self.budgets.items()})

    def predicted(self, kernel: Kernel) -> Results:
        """What a kernel without runs gives."""
        return {name: array.squeeze(-3) for name, array in kernel.results().items()}

    def predicted_by(self, hypothesis: Hypothesis) -> tuple[float | None, Array] | None:
        """The number that a mistake was fitted with, and what it gives in σ; None where it cannot be made."""
        try:
            kernel = hypothesis.change(self.exact)
            return None if kernel is None else (kernel.amount, self.in_sigmas(self.predicted(kernel)))
        except (ValueError, IndexError, KeyError):  # this cell, or these shapes, do not allow it
            return None

    def fit(self, hypothesis: Hypothesis) -> Fit | None:
        """How a mistake reproduces the backend's numbers; None where it does not.

        It does where each is within λ of the mistaken kernel's own σ, and the right numbers are not. One that does not
        even halve the deviation is not looked at closely.
        """
        given = self.predicted_by(hypothesis)
        if given is None:
            return None
        amount, predicted = given
        left_over = apart(self.seen, predicted)
        if not left_over <= self.deviation / 2:
            return None
        found = self.budgets_of(hypothesis.change, amount)
        rho = largest_rho(self.actual, found)
        told_apart = largest_rho({name: b.truth for name, b in self.budgets.items()}, found) > LAMBDA
        return Fit(hypothesis, amount, rho, left_over, predicted) if rho <= LAMBDA and told_apart else None


@dataclass(frozen=True)
class GradientQuestion(Question):
    """The gradients of one call."""

    upstream: Upstream

    @cached_property
    def budgets(self) -> dict[str, Budget]:
        """What a right kernel gives."""
        truth = gradient_truth(self.case.config, self.inputs, self.upstream, self.arithmetic)
        return {name: truth.budgets[name] for name in self.actual}

    def kernel(self, arrays: Mapping[str, Array]) -> Kernel:
        """The right kernel on these arrays."""
        d_state = tuple(arrays[f"d_state{k}"] for k in range(len(self.upstream.state)))
        return differentiated(super().kernel(arrays), arrays["d_output"], d_state)

    def given(self) -> dict[str, Array]:
        """The arrays that the kernel is given, and the gradients by what it gives, by name."""
        d_state = {f"d_state{k}": part[:, np.newaxis] for k, part in enumerate(self.upstream.state)}
        return super().given() | {"d_output": self.upstream.output[:, np.newaxis]} | d_state

    def budgets_of(
        self, change: Change, amount: float | None, arithmetic: Arithmetic | None = None
    ) -> dict[str, Budget]:
        """What a mistaken kernel gives. Gradients of parameters are summed in the dtype in which they are stored."""
        declared = arithmetic or self.arithmetic
        in_storage = replace(declared, accumulator_roundoff=declared.unit_roundoff)
        found = super().budgets_of(change, amount, in_storage)
        return {n: Budget(self._shaped(n, b.truth), self._shaped(n, b.sigma)) for n, b in found.items()}

    def predicted(self, kernel: Kernel) -> Results:
        """What a kernel without runs gives."""
        return {name: self._shaped(name, array) for name, array in super().predicted(kernel).items()}

    def _shaped(self, name: str, array: Array) -> Array:
        return array.reshape(self.case.config.parameter_shapes().get(name, array.shape))


def _unchanged(kernel: Kernel) -> Kernel:
    return kernel


def apart(one: Array, other: Array) -> float:
    """How far two rows in units of σ are apart. NaN and infinities agree with their like alone."""
    with np.errstate(all="ignore"):
        difference = np.abs(one - other)
    if not np.isfinite(difference).all():
        alike = (one == other) | (np.isnan(one) & np.isnan(other))
        difference = np.where(alike, 0.0, np.where(np.isfinite(difference), difference, 1e300))
    return min(float(difference.max(initial=0.0)), 1e300)


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
    """
    inputs = case.inputs()
    arithmetic = subject.backend.arithmetic(case.config.dtype)
    return Question(case, inputs, arithmetic, subject.run(case, inputs).arrays)


def asked_for_gradients(subject: Subject, case: Case) -> Question:
    """Drive the backend through the gradients of one call of a case.

    Raises:
        Broken, NotOffered: where it gives none.
    """
    inputs = case.inputs()
    upstream = upstream_of(case, inputs)
    arithmetic = subject.backend.arithmetic(case.config.dtype)
    if inputs.lengths is not None:
        subject.require_lengths()
    _, actual = subject.layer(case.config, inputs.parameters).gradients(case, inputs, upstream)
    return GradientQuestion(case, inputs, arithmetic, actual, upstream)
