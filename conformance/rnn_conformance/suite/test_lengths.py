"""Lengths: sequences of their own lengths in one batch.

Catches padding that is read, reverse directions that start in the padding, final states from the padded end, rows
that are sorted and not sorted back.

Cannot see anything of backends that take no lengths; lengths of zero are with the edges.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnn_conformance.case import Case
from rnn_conformance.check import check
from rnn_conformance.subject import Broken, Subject
from rnn_conformance.suite import published

PACKED = "torch.nn.LSTM, Inputs: the input can also be a packed variable length sequence"


@check(PACKED, needs=("values.stack",), explicit=published.packed, lengths=True)
def test_alone(subject: Subject, case: Case) -> None:
    """Each sequence of a batch with lengths gives what it gives alone: output, final states, both directions."""
    subject.verify(case)


@check(PACKED, needs=("lengths.alone",), lengths=True)
def test_padding(subject: Subject, case: Case) -> None:
    """What stands beyond a sequence's end changes nothing, NaN included, and the output there is zero."""
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    padded = inputs.input.copy()
    filler = case.rng("padding").choice([np.nan, np.inf, -1000.0])
    for row, length in enumerate(case.lengths or ()):
        padded[length:, row] = filler
    arrays = subject.run(case, replace(inputs, input=padded)).arrays
    subject.agree(arrays, truth.budgets, f"with {filler} beyond the ends, ")
    for row, length in enumerate(case.lengths or ()):
        if np.any(arrays["output"][length:, row] != 0):
            raise Broken(f"the output of row {row} is not zero beyond its length of {length}")


@check("torch.nn.utils.rnn.pack_padded_sequence, enforce_sorted=False", needs=("lengths.alone",), lengths=True)
def test_order(subject: Subject, case: Case) -> None:
    """The order of lengths does not matter: ascending, descending or mixed."""
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    ascending = np.argsort(inputs.lengths or (), kind="stable").tolist()
    for order in (ascending, ascending[::-1], case.rng("order").permutation(len(ascending)).tolist()):
        budgets = {name: budget.part(slice(None), order) for name, budget in truth.budgets.items()}
        subject.agree(subject.run(case, inputs.rows(order)).arrays, budgets, f"with rows in the order {order}, ")


@check(PACKED, needs=("lengths.alone",), lengths=True, share=0.6)
def test_again(subject: Subject, case: Case) -> None:
    """A layer heeds the lengths of each call, not those of a call before with as many rows and steps."""
    inputs, rng = case.inputs(), case.rng("again")
    layer = subject.layer(case.config, inputs.parameters)
    layer.of_case(case, inputs)
    lengths = inputs.lengths or ()
    others = rng.integers(1, max(lengths), len(lengths), endpoint=True)
    others[rng.integers(len(lengths))] = max(lengths)
    for what, given in (
        ("other lengths", others),
        ("all rows as long as the longest", np.full_like(others, max(lengths))),
    ):
        call = replace(inputs, lengths=tuple(map(int, given)))
        truth = subject.truth(case.config, call)
        subject.agree(layer.of_case(case, call).arrays, truth.budgets, f"after a call of the same size, with {what}, ")


@check(PACKED, needs=("values.stack",), unbatched=False)
def test_full(subject: Subject, case: Case) -> None:
    """Lengths that are all the whole sequence equal no lengths."""
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    full = replace(inputs, lengths=(len(inputs.input),) * inputs.input.shape[1])
    subject.agree(subject.run(case, full).arrays, truth.budgets, "with full lengths, ")
    subject.agree(subject.run(case, inputs).arrays, truth.budgets, "without lengths, ")
