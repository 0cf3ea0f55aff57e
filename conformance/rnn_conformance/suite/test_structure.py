"""Structure: what layers, directions, layouts, rows and units are made of.

Catches layers that share or skip weights, directions in the wrong order or not flipped back, batch_first taken for a
reshape or applied to states, rows that touch each other, units at certain places that are treated apart.

Cannot see what is wrong alike in the whole and in its parts: the oracle's own values, which are compared too, are for
that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from rnn_reference.parameters import lanes

from rnn_conformance.case import Case
from rnn_conformance.check import check
from rnn_conformance.config import LayerConfig
from rnn_conformance.oracle import Array, Inputs
from rnn_conformance.strategies import resized
from rnn_conformance.subject import Subject
from rnn_conformance.suite import published

LAYERS = "torch.nn.LSTM: the input of layer l ≥ 2 is the hidden state of the layer before"


def lane_parameters(parameters: Mapping[str, Array], old: str, new: str) -> dict[str, Array]:
    """The parameters of one lane under another lane's names."""
    return {name.removesuffix(f"_{old}") + f"_{new}": a for name, a in parameters.items() if name.endswith(f"_{old}")}


def layer_inputs(config: LayerConfig, inputs: Inputs, layer: int, input: Array) -> tuple[LayerConfig, Inputs]:
    """One layer of a stack as a stack of its own, on this input."""
    single = replace(config, num_layers=1, input_size=input.shape[-1])
    names = lanes(config.num_layers, config.bidirectional)
    first = layer * config.num_directions
    parameters: dict[str, Array] = {}
    for old, new in zip(names[first : first + config.num_directions], lanes(1, config.bidirectional), strict=True):
        parameters |= lane_parameters(inputs.parameters, old, new)
    hx = None if inputs.hx is None else tuple(part[first : first + config.num_directions] for part in inputs.hx)
    return single, Inputs(parameters, input, hx, inputs.lengths)


@check(LAYERS, needs=("values.cell",), lengths=None)
def test_layers(subject: Subject, case: Case) -> None:
    """A stack of L layers equals L single layers, each on the output of the one below."""
    inputs, config = case.inputs(), case.config
    truth = subject.truth(config, inputs)
    subject.agree(subject.run(case, inputs).arrays, truth.budgets, "as one stack, ")
    x, finals = inputs.input, []
    for k in range(config.num_layers):
        single, own = layer_inputs(config, inputs, k, x)
        arrays = subject.run(replace(case, config=single), own).arrays
        x = arrays.pop("output")
        finals.append(arrays)
    states = {name: np.concatenate([final[name] for final in finals]) for name in finals[0]}
    subject.agree({"output": x} | states, truth.budgets, "layer by layer, ")


@check(
    "torch.nn.LSTM: for bidirectional LSTMs, forward and backward are directions 0 and 1 respectively, and "
    "output.view(seq_len, batch, num_directions, hidden_size) separates them",
    needs=("values.cell",),
    explicit=published.two_directions,
    bidirectional=True,
    merge_mode="concat",
)
def test_directions(subject: Subject, case: Case) -> None:
    """Two directions are a forward layer and a layer on the reversed sequence, side by side in output and states."""
    inputs, config = case.inputs(), case.config
    truth = subject.truth(config, inputs)
    arrays = subject.run(case, inputs).arrays
    subject.agree(arrays, truth.budgets, "in both directions at once, ")
    x, finals = inputs.input, []
    for k in range(config.num_layers):
        both, own = layer_inputs(config, inputs, k, x)
        single = replace(both, bidirectional=False)
        outputs = []
        for direction, lane in enumerate(("l0", "l0_reverse")):
            hx = None if own.hx is None else tuple(part[direction : direction + 1] for part in own.hx)
            flipped = x[::-1] if direction else x
            one = Inputs(lane_parameters(own.parameters, lane, "l0"), flipped, hx)
            result = subject.run(replace(case, config=single), one).arrays
            output = result.pop("output")
            outputs.append(output[::-1] if direction else output)
            finals.append(result)
        x = np.concatenate(outputs, axis=-1)
    states = {name: np.concatenate([final[name] for final in finals]) for name in finals[0]}
    subject.agree({"output": x} | states, truth.budgets, "one direction at a time, ")


@check(
    "torch.nn.LSTM, batch_first: input and output are (batch, seq, feature), and not the states",
    needs=("values.cell",),
    lengths=None,
    unbatched=False,
)
def test_batch_first(subject: Subject, case: Case) -> None:
    """batch_first is a transpose of input and output, and leaves states alone."""
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    for first in (False, True):
        arrays = subject.run(resized(case, batch_first=first), inputs).arrays
        subject.agree(arrays, truth.budgets, f"with batch_first={first}, ")


@check(
    "torch.nn.LSTM, Inputs: an axis of N independent sequences", needs=("values.cell",), lengths=None, unbatched=False
)
def test_batch_rows(subject: Subject, case: Case) -> None:
    """Rows of the batch are independent: permuted they give permuted results, and one alone gives its own."""
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    rows = inputs.input.shape[1]
    order = case.rng("rows").permutation(rows).tolist()
    permuted = {name: budget.part(slice(None), order) for name, budget in truth.budgets.items()}
    subject.agree(subject.run(case, inputs.rows(order)).arrays, permuted, f"with rows in the order {order}, ")
    row = order[0]
    alone = inputs.rows([row])
    if alone.lengths is not None:  # a packed batch is as long as its longest row
        alone = replace(alone, input=alone.input[: alone.lengths[0]])
    budgets = {name: budget.part(slice(None), [row]) for name, budget in truth.budgets.items()}
    budgets["output"] = budgets["output"].part(slice(len(alone.input)))
    subject.agree(subject.run(case, alone).arrays, budgets, f"with row {row} alone, ")


@check(
    "torch.nn.LSTM: the equations treat every hidden unit alike",
    needs=("values.cell",),
    proj_size=0,
    merge_mode="concat",
)
def test_units(subject: Subject, case: Case) -> None:
    """Hidden units have no order: with units of the weights permuted, the results are permuted."""
    inputs, config = case.inputs(), case.config
    truth = subject.truth(config, inputs)
    order = case.rng("units").permutation(config.hidden_size)
    columns = np.concatenate([order + k * config.hidden_size for k in range(config.num_directions)])
    parameters = {}
    for name, array in inputs.parameters.items():
        gates = len(array) // config.hidden_size
        array = array[np.concatenate([order + gate * config.hidden_size for gate in range(gates)])]
        if name.startswith("weight_hh"):
            array = array[:, order]
        elif name.startswith("weight_ih") and "_l0" not in name:
            array = array[:, columns]
        parameters[name] = array
    hx = None if inputs.hx is None else tuple(part[..., order] for part in inputs.hx)
    arrays = subject.run(case, replace(inputs, parameters=parameters, hx=hx)).arrays
    where = {"output": columns, "h_n": order, "c_n": order}
    budgets = {name: budget.part(slice(None), slice(None), where[name]) for name, budget in truth.budgets.items()}
    subject.agree(arrays, budgets, f"with units in the order {order.tolist()}, ")


@check("torch.nn.LSTM, Inputs: (L, H_in) for unbatched input", needs=("values.cell",), unbatched=True)
def test_unbatched(subject: Subject, case: Case) -> None:
    """Input without a batch axis equals a batch of one."""
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    subject.agree(subject.run(case, inputs).arrays, truth.budgets, "unbatched, ")
    subject.agree(subject.run(replace(case, batch_size=1), inputs).arrays, truth.budgets, "as a batch of one, ")
