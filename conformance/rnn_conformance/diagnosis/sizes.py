"""Errors of a size: where no certain mistake fits, whether the deviations are those that a coarser format leaves.

This is a statement about sizes alone. It says neither which numbers pass through the format nor that any do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnn_conformance.arithmetic import Arithmetic, arithmetic_of, tf32
from rnn_conformance.budget import LAMBDA
from rnn_conformance.diagnosis.hypotheses.base import Hypothesis
from rnn_conformance.diagnosis.question import Fit, Question, largest_rho

LEAST, MOST = 0.1, 2.0  # the root mean square of ρ under the coarser format: less would be finer, more coarser
LARGEST = 5.0  # ρ under the coarser format: rounding errors are all of one size
SHARE = 0.9  # rounding touches all elements: so many are beyond their budget, which a mistake in one place leaves alone
ELEMENTS = 20  # fewer do not show a size

COARSER: dict[str, tuple[str, Arithmetic]] = {
    "float32": ("float32", arithmetic_of("float32")),
    "tf32": ("TF32 or float16, a fraction of 10 bits,", tf32()),
    "bfloat16": ("bfloat16, a fraction of 7 bits,", arithmetic_of("bfloat16")),
}


def _same(kernel):  # type: ignore[no-untyped-def]
    return kernel


SIZES = {
    name: Hypothesis(f"precision.size-of-{name}", f"the errors are of the size that {words} leaves somewhere", _same)
    for name, (words, _) in COARSER.items()
}


def of_the_size(question: Question) -> list[Fit]:
    """The format whose errors are of this size, if one is."""
    found: list[tuple[float, Fit]] = []
    touched = np.abs(question.seen - question.due) > LAMBDA
    if touched.size < ELEMENTS or touched.mean() < SHARE:
        return []
    for name, (_, arithmetic) in COARSER.items():
        coarse = max(arithmetic.unit_roundoff, arithmetic.product_roundoff)
        if coarse <= max(question.arithmetic.unit_roundoff, question.arithmetic.product_roundoff):
            continue
        fewer_bits = replace(arithmetic, smallest=question.arithmetic.smallest)
        budgets = question.budgets_of(_same, None, fewer_bits)
        rho = largest_rho(question.actual, budgets)
        every = np.concatenate([b.rho(question.actual[n]).ravel() for n, b in budgets.items()])
        size = float(np.sqrt(np.square(np.minimum(every, 1e9)).mean())) if every.size else 0.0
        if rho <= LARGEST and LEAST <= size <= MOST:
            found.append((abs(np.log(size)), Fit(SIZES[name], None, rho, rho, question.due)))
    return [fit for _, fit in sorted(found, key=lambda item: item[0])[:1]]
