"""Values: output, h_n and c_n equal the oracle's.

Catches mistakes in the equations of a cell (gates in another order, biases lost or added twice, activations exchanged
or approximated, the reset gate on the wrong side), in how layers and directions are joined, in initial and final
states, in results that are computed otherwise when they are asked for alone, and arithmetic that is less exact than
declared.

Cannot see what shows at certain sizes, lengths or layouts only, or after an earlier call; nor deviations below some
ten roundings.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rnn_conformance.case import Case
from rnn_conformance.check import check
from rnn_conformance.config import LayerConfig
from rnn_conformance.oracle import STATES, Array
from rnn_conformance.strategies import Unit
from rnn_conformance.subject import Broken, NotOffered, Subject
from rnn_conformance.suite import published

EQUATIONS = "torch.nn.LSTM, GRU and RNN: the equations at the head of each page"


@check(
    EQUATIONS,
    needs=("shapes.result",),
    num_layers=1,
    bidirectional=False,
    batch_first=False,
    proj_size=0,
    unbatched=False,
)
def test_cell(subject: Subject, case: Case) -> None:
    """One layer in one direction computes its cell's equations: gates in torch.nn's order, biases, and new states."""
    subject.verify(case)


def deep(unit: Unit) -> list[Case]:
    """Stacks of more layers than others draw."""
    both: dict[str, Any] = {"bidirectional": True, "proj_size": 2 if unit.cell == "lstm" else 0}
    configs = [
        LayerConfig(unit.cell, 2, 3, num_layers=n, dtype=unit.dtype, device=unit.device, **more)
        for n, more in ((4, both), (6, {}))
    ]
    return [Case(config, seq_len=4, batch_size=2, values="normal", seed=unit.entropy) for config in configs]


@check(
    EQUATIONS,
    needs=("values.cell",),
    explicit=lambda unit: published.two_layers(unit) + published.two_directions(unit) + deep(unit),
)
def test_stack(subject: Subject, case: Case) -> None:
    """Output and final states of any stack equal the oracle's within the case's error budget."""
    subject.verify(case)


@check("torch.nn.LSTM, Inputs: (h_0, c_0) default to zeros if not provided", needs=("values.stack",), hx=False)
def test_default_state(subject: Subject, case: Case) -> None:
    """A state left out equals a state of zeros."""
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    subject.agree(subject.run(case, inputs).arrays, truth.budgets, "without hx, ")
    shapes = [(case.config.lanes, inputs.input.shape[1], size) for size in case.config.state_sizes]
    zeros = tuple(np.zeros(shape, inputs.input.dtype) for shape in shapes)
    subject.agree(subject.run(case, replace(inputs, hx=zeros)).arrays, truth.budgets, "with hx of zeros, ")


@check(
    "torch.nn.LSTM, Outputs: h_n is the final hidden state, in reverse that of the first step",
    needs=("values.cell",),
    lengths=None,
    merge_mode="concat",
)
def test_final_state(subject: Subject, case: Case) -> None:
    """In the last layer, h_n is the output of each row's last step, and for the reverse direction of its first."""
    inputs, config = case.inputs(), case.config
    arrays = subject.run(case, inputs).arrays
    size = config.state_sizes[0]
    unit_roundoff = subject.backend.arithmetic(config.dtype).unit_roundoff
    for row in range(inputs.input.shape[1]):
        length = len(inputs.input) if inputs.lengths is None else inputs.lengths[row]
        for direction, step in enumerate((length - 1, 0)[: config.num_directions]):
            last = arrays["output"][step, row, direction * size : (direction + 1) * size].astype(float)
            final = arrays["h_n"][config.lanes - config.num_directions + direction, row].astype(float)
            if not np.allclose(final, last, rtol=2 * unit_roundoff, atol=0, equal_nan=True):
                raise Broken(
                    f"h_n of row {row}, direction {direction}, is {final}, but the output of step {step} is {last}"
                )


@check(
    "ONNX's operators LSTM, GRU and RNN: each of Y, Y_h and Y_c is optional; keras.layers.LSTM, return_sequences: "
    "whether to return the last output in the output sequence, or the full sequence; return_state",
    needs=("values.stack",),
    lengths=None,
)
def test_alone(subject: Subject, case: Case) -> None:
    """A result equals the oracle's when it is the only one that is asked for: the output, h_n, c_n, or of the output
    what each direction gives last; from a new layer, and from one that was called before.
    """
    inputs, config = case.inputs(), case.config
    layer = subject.layer(config, inputs.parameters)
    found: dict[str, Array] = {}
    refused = []
    for name in ("output", *STATES[: len(config.state_sizes)], "last"):
        try:
            found[name] = layer.alone(name, case, inputs)
        except NotOffered as reason:
            refused.append(reason)
    if not found:
        raise refused[0]
    budgets = dict(subject.truth(config, inputs).budgets)
    if "last" in found:
        budgets |= subject.last_truth(config, inputs).budgets
    subject.agree(found, budgets, "asked for alone, ")
    layer.of_case(case, replace(inputs, input=-inputs.input[::-1]))
    for name in found:
        subject.agree({name: layer.alone(name, case, inputs)}, budgets, "asked for alone after another call, ")
