"""Edges: empty batches and sequences, one step, many steps, sizes around tiles.

Catches tails and tiles that are lost or read twice (up to 257 units, rows up to 65), limits on steps, cells that are
clipped, errors that grow with the number of steps, empty input that is answered with something else than the policy
says.

Cannot see mistakes at sizes beyond those: a kernel with tiles of 512 needs its own sizes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnn_conformance.case import Case
from rnn_conformance.check import check
from rnn_conformance.strategies import NARROW, SMALL, WIDE
from rnn_conformance.subject import Broken, Result, Subject

EQUATIONS = "torch.nn.LSTM, GRU and RNN: the equations hold for every size"
MODEST = ("uniform", "normal")


def initial_state(case: Case, result: Result) -> None:
    """Raise Broken unless the final state is the initial one."""
    given = case.inputs().hx
    for k, name in enumerate(name for name in ("h_n", "c_n") if name in result.arrays):
        due = np.zeros_like(result.arrays[name]) if given is None else given[k]
        if not np.array_equal(result.arrays[name], due):
            raise Broken(f"after no steps {name} must be the initial state")


@check(
    EQUATIONS,
    needs=("values.stack",),
    values=MODEST,
    num_layers=1,
    hidden_size=(*WIDE, 255, 256, 257),
    input_size=(*NARROW, *SMALL, 256, 257),
    seq_len=(1, 2, 3),
    batch_size=SMALL + NARROW,
)
def test_sizes(subject: Subject, case: Case) -> None:
    """Sizes at, below and above those of tiles and vectors give equal results: none is cut off or read twice."""
    subject.verify(case)


@check(EQUATIONS, needs=("values.stack",), seq_len=1)
def test_one_step(subject: Subject, case: Case) -> None:
    """A sequence of one step is a sequence."""
    subject.verify(case)


@check(
    EQUATIONS,
    needs=("values.stack",),
    values=("uniform", "constant", "onehot", "growing"),
    share=0.3,
    num_layers=(1, 2),
    hidden_size=SMALL,
    seq_len=(40, 50, 63, 64, 65, 100, 129, 200, 257),
    batch_size=(1, 2, 3),
)
def test_long(subject: Subject, case: Case) -> None:
    """Long sequences accumulate no more error than their budget, and nothing changes after any number of steps."""
    subject.verify(case)


@check("the backend's policy empty_batch", needs=("values.stack",), batch_size=0, unbatched=False, share=0.4)
def test_empty_batch(subject: Subject, case: Case) -> None:
    """A batch of no rows is refused, or gives empty results of the right shape, as the backend's policy says."""
    inputs = case.inputs()
    if subject.backend.policy.empty_batch == "refused":
        subject.refuses("an empty batch", lambda: subject.run(case, inputs))
    else:
        subject.run(case, inputs)


@check("the backend's policy empty_sequence", needs=("values.stack",), seq_len=0, share=0.4)
def test_empty_sequence(subject: Subject, case: Case) -> None:
    """A sequence of no steps is refused, or gives the initial state back, as the backend's policy says."""
    inputs = case.inputs()
    if subject.backend.policy.empty_sequence == "refused":
        subject.refuses("a sequence of no steps", lambda: subject.run(case, inputs))
    else:
        initial_state(case, subject.run(case, inputs))


@check(
    "the backend's policy zero_length",
    needs=("lengths.alone",),
    lengths=True,
    batch_size=(2, 3, 4),
    share=0.4,
)
def test_zero_length(subject: Subject, case: Case) -> None:
    """A length of zero is refused, or leaves that row's state as it was, as the backend's policy says."""
    lengths = case.lengths or ()
    case = replace(case, lengths=(case.seq_len, *lengths[1:-1], 0))
    inputs = case.inputs()
    if subject.backend.policy.zero_length == "refused":
        subject.refuses("a length of zero", lambda: subject.run(case, inputs))
    else:
        subject.agree(subject.run(case, inputs).arrays, subject.truth(case.config, inputs).budgets)
