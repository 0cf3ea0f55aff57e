"""Steps: one at a time, in chunks, or all at once, and never from the future.

Catches states that are not handed on whole, first steps that are treated apart, kernels that look ahead, and, by the
residual of single steps, errors that long sequences would hide.

Cannot see a mistake that is the same in every step: the values do. Two directions cannot be stepped.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnn_conformance.case import Case
from rnn_conformance.check import check
from rnn_conformance.oracle import Array, Inputs
from rnn_conformance.subject import DrivenLayer, Result, Subject
from rnn_conformance.suite import published

TUTORIAL = (
    "PyTorch's tutorial on sequence models: stepping through the sequence gives what the whole sequence at once gives"
)


def in_chunks(layer: DrivenLayer, inputs: Inputs, cuts: list[int]) -> dict[str, Array]:
    """The results of feeding the steps between the cuts, each chunk from the state that the one before left."""
    state: Result | tuple[Array, ...] | None = inputs.hx
    outputs = []
    for start, stop in zip([0, *cuts], [*cuts, len(inputs.input)], strict=True):
        state = layer(inputs.input[start:stop], state)
        outputs.append(state.arrays["output"])
    return state.arrays | {"output": np.concatenate(outputs)} if isinstance(state, Result) else {}


@check(TUTORIAL, needs=("values.stack",), explicit=published.five_steps, bidirectional=False, unbatched=False)
def test_stepwise(subject: Subject, case: Case) -> None:
    """One step at a time, each from the state before, equals the whole sequence at once."""
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    layer = subject.layer(case.config, inputs.parameters)
    subject.agree(in_chunks(layer, inputs, list(range(1, len(inputs.input)))), truth.budgets, "step by step, ")
    subject.agree(layer(inputs.input, inputs.hx).arrays, truth.budgets, "all at once, ")


@check(TUTORIAL, needs=("values.stack",), bidirectional=False, unbatched=False)
def test_chunks(subject: Subject, case: Case) -> None:
    """Any division of the sequence into chunks gives the same."""
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    steps = len(inputs.input)
    count = case.rng("chunks").integers(0, min(steps, 4))
    cuts = sorted(case.rng("cuts").choice(np.arange(1, steps), count, replace=False).tolist()) if count else []
    layer = subject.layer(case.config, inputs.parameters)
    subject.agree(in_chunks(layer, inputs, cuts), truth.budgets, f"in chunks cut before steps {cuts}, ")


@check("torch.nn.LSTM: h_t is a function of x_t and h_(t-1)", needs=("values.stack",), bidirectional=False)
def test_causality(subject: Subject, case: Case) -> None:
    """The output of a step does not depend on later steps, however large their input."""
    inputs = case.inputs()
    truth = subject.truth(case.config, inputs)
    steps = len(inputs.input)
    now = int(case.rng("now").integers(1, steps)) if steps > 1 else 1
    future = inputs.input.copy()
    with np.errstate(over="ignore"):
        future[now:] = (future[now:].astype(float) * -256).astype(future.dtype)
    output = subject.run(case, replace(inputs, input=future)).arrays["output"]
    past = {"output": output[:now]}
    subject.agree(past, {"output": truth.budgets["output"].part(slice(now))}, f"with steps from {now} on times -256, ")


@check(
    "torch.nn.LSTM: the equations, for one step",
    needs=("values.stack",),
    num_layers=1,
    bidirectional=False,
    unbatched=False,
)
def test_residual(subject: Subject, case: Case) -> None:
    """Each step follows from the backend's own state before it, within the budget of a single step."""
    inputs = case.inputs()
    steps, rows = min(len(inputs.input), 20), inputs.input.shape[1]
    layer = subject.layer(case.config, inputs.parameters)
    after = own_states(layer, inputs, steps)
    shapes = [(1, rows, size) for size in case.config.state_sizes]
    start = inputs.hx or tuple(np.zeros(shape, inputs.input.dtype) for shape in shapes)
    before = tuple(
        np.concatenate([part, *list(states)[:-1]], axis=1) for part, states in zip(start, after, strict=True)
    )
    if not all(np.isfinite(part.astype(float)).all() for part in before):
        subject.verify(case)
    one_step = Inputs(inputs.parameters, inputs.input[:steps].reshape(1, steps * rows, -1), before)
    truth = subject.truth(case.config, one_step)
    states = {name: np.concatenate(states, axis=1) for name, states in zip(("h_n", "c_n"), after, strict=False)}
    subject.agree(states, truth.budgets, "with steps as rows, ")


def own_states(layer: DrivenLayer, inputs: Inputs, steps: int) -> list[list[Array]]:
    """The backend's own h, and c for an LSTM, after each step, (1, B, features) each.

    Of a GRU or RNN one call shows them all; of an LSTM one call for each step does.
    """
    if layer.config.kind != "lstm":
        output = layer(inputs.input[:steps], inputs.hx).arrays["output"]
        return [[output[t : t + 1] for t in range(steps)]]
    state: Result | tuple[Array, ...] | None = inputs.hx
    found: list[list[Array]] = [[], []]
    for t in range(steps):
        state = layer(inputs.input[t : t + 1], state)
        found[0].append(state.arrays["h_n"])
        found[1].append(state.arrays["c_n"])
    return found
