"""Layout: how the same numbers lie in memory.

Catches kernels that take every array for contiguous, aligned and its own: offsets, gaps, axes in another order,
frames, rows that share memory; of the parameters, too.

Cannot see anything where a backend's own type has no strides, nor what of a layout its `from_numpy` hides.
Of the parameters it sees results alone, and only where a backend has `rebind`.
"""

from __future__ import annotations

from dataclasses import replace

from rnn_conformance.case import LAYOUTS, Case, lay_out
from rnn_conformance.check import check
from rnn_conformance.oracle import Inputs
from rnn_conformance.subject import Subject

VALUES = "torch.Tensor: a view has the same values as a contiguous copy of it, whatever its strides and offset"


@check(VALUES, needs=("values.stack",), lengths=None, layouts=LAYOUTS[1:])
def test_input(subject: Subject, case: Case) -> None:
    """Input and states at an offset, with gaps, with axes in another order or within a frame give the same results."""
    subject.verify(case)


@check(VALUES, needs=("layout.input",), bidirectional=False, unbatched=False, layouts=LAYOUTS[1:])
def test_state(subject: Subject, case: Case) -> None:
    """Final states handed on, and states that are views of larger arrays, work like copies of them."""
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    layer = subject.layer(case.config, inputs.parameters)
    now = len(inputs.input) // 2
    first = layer(inputs.input[: now + 1], inputs.hx, layout=case.layout)
    if now + 1 == len(inputs.input):
        subject.agree(first.arrays, truth.budgets)
        return
    rest = layer(inputs.input[now + 1 :], first, layout=case.layout)
    finals = {name: array for name, array in rest.arrays.items() if name != "output"}
    subject.agree(finals, truth.budgets, "after two calls, ")
    expanded = Inputs(inputs.parameters, inputs.input[:, :1].repeat(inputs.input.shape[1], axis=1), inputs.hx)
    truth = subject.truth(case.config, expanded)
    subject.agree(subject.run(replace(case, layout="expanded"), expanded).arrays, truth.budgets, "with rows expanded, ")


@check(VALUES, needs=("shapes.parameters", "layout.input"), layouts=LAYOUTS[1:], share=0.6)
def test_parameters(subject: Subject, case: Case) -> None:
    """Parameters at an offset, with gaps or transposed, as another framework's are, are read like copies of them."""
    inputs = case.inputs()
    layer = subject.layer(case.config, inputs.parameters)
    for name, parameter in layer.parameters().items():
        subject.rebind(parameter, lay_out(inputs.parameters[name], case.layout))
    truth = subject.truth(case.config, inputs)
    subject.agree(layer.of_case(case, inputs).arrays, truth.budgets, "with parameters laid out anew, ")
