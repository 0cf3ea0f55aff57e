"""Precision: the declared arithmetic, over many numbers at once.

Catches kernels that are less exact on the whole than they declare, though no single number is beyond λ, and sums that
are kept in the dtype of storage.

Cannot see arithmetic that is half as exact as declared, which a lucky draw of correct roundings resembles.
"""

from __future__ import annotations

import numpy as np

from rnn_conformance.budget import LAMBDA
from rnn_conformance.case import Case
from rnn_conformance.check import check
from rnn_conformance.subject import Broken, Subject

ROOT_MEAN_SQUARE = LAMBDA / 4  # of ρ over one array; docs/numerics.md says how it was calibrated


@check(
    "the arithmetic that the backend declares",
    needs=("values.stack",),
    values=("uniform",),
    num_layers=1,
    hidden_size=(16, 24, 33),
    input_size=(8, 17, 300),
    seq_len=(6, 12),
    batch_size=(4, 8),
    unbatched=False,
    covering=False,
    share=0.5,
)
def test_arithmetic(subject: Subject, case: Case) -> None:
    """Numbers are as exact as the declared arithmetic on the whole, not only in the worst place: the root mean square
    of ρ over each result is small.
    """
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    arrays = subject.run(case, inputs).arrays
    subject.agree(arrays, truth.budgets)
    for name, array in arrays.items():
        rho = float(np.sqrt(np.square(truth.budgets[name].rho(array)).mean()))
        if rho > ROOT_MEAN_SQUARE:
            raise Broken(f"the root mean square of ρ over {name} is {rho:.3g}, but {ROOT_MEAN_SQUARE:g} is the limit")
