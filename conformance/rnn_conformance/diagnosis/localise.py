"""Where a deviation starts: the first layer, direction, step, row and unit, and the gate where it can be told.

Layers are added one by one until the stack deviates. In that layer, the oracle's cell goes one step on from each of the
backend's own states; the error budget of one step does not grow with the number of steps, so that the first state that
does not follow from the one before it is where the deviation starts, and not where it has grown large.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnn_conformance.budget import LAMBDA, Budget
from rnn_conformance.case import Case
from rnn_conformance.diagnosis.gates import gate_off
from rnn_conformance.diagnosis.kernel import kernel_of
from rnn_conformance.diagnosis.question import GradientQuestion, Question
from rnn_conformance.oracle import Inputs, arrays_of, truth_of
from rnn_conformance.strategies import resized
from rnn_conformance.subject import Broken, NotOffered, SaysNothing, Subject

Array = np.ndarray[Any, Any]
STEPS = 40  # of an LSTM, one call shows the state after each
DIRECTIONS = ("forward", "reverse")


def localised(subject: Subject, question: Question, deadline: float) -> str:
    """Where the deviation starts, in words."""
    try:
        if isinstance(question, GradientQuestion):
            return _gradients(question)
        return _results(subject, question, deadline)
    except (Broken, NotOffered, SaysNothing) as reason:
        return f"it cannot be told where the deviation starts: {reason}"


def _results(subject: Subject, question: Question, deadline: float) -> str:
    whole = question
    if question.case.lengths is not None:
        whole = _asked(subject, replace(question.case, lengths=None), replace(question.inputs, lengths=None))
        if whole.right:
            return f"with lengths alone: all of the sequences whole, the call is right; {_first(question)}"
    below: Question | None = None
    for depth in range(1, whole.case.config.num_layers + 1):
        stack = _asked(subject, *_first_layers(whole.case, whole.inputs, depth))
        if not stack.right:
            single = stack if below is None else _asked(subject, *_layer_alone(whole, below, depth - 1))
            if single.right:
                return f"layer {depth - 1} alone is right, but not on the layers below: {_first(stack)}"
            return f"layer {depth - 1}, {_within(subject, single, deadline)}"
        below = stack
    return f"the first layers are right however many there are; {_first(question)}"


def _asked(subject: Subject, case: Case, inputs: Inputs) -> Question:
    return Question(case, inputs, subject.backend.arithmetic(case.config.dtype), subject.run(case, inputs).arrays)


def _first_layers(case: Case, inputs: Inputs, depth: int) -> tuple[Case, Inputs]:
    """The first layers of a stack."""
    shallow = resized(case, num_layers=depth)
    hx = inputs.hx and tuple(part[: shallow.config.lanes] for part in inputs.hx)
    parameters = {name: inputs.parameters[name] for name in shallow.config.parameter_shapes()}
    return shallow, replace(inputs, parameters=parameters, hx=hx)


def _layer_alone(whole: Question, below: Question, layer: int) -> tuple[Case, Inputs]:
    """One layer, fed what the backend's own lower layers give."""
    config = whole.case.config
    alone = resized(whole.case, num_layers=1, input_size=config.output_size)
    lanes = slice(layer * config.num_directions, (layer + 1) * config.num_directions)
    hx = whole.inputs.hx and tuple(part[lanes] for part in whole.inputs.hx)
    parameters = {
        name: whole.inputs.parameters[name.replace("_l0", f"_l{layer}")] for name in alone.config.parameter_shapes()
    }
    return alone, replace(whole.inputs, parameters=parameters, input=below.actual["output"], hx=hx)


@dataclass(frozen=True)
class _Lane:
    """One direction of one layer: what went into each step, and what the backend had after it, in the lane's order."""

    x: Array  # (steps, batch, features)
    before: tuple[Array, ...]
    after: tuple[Array, ...]


def _within(subject: Subject, layer: Question, deadline: float) -> str:
    """Where a single layer deviates."""
    if layer.case.config.bidirectional and not layer.case.config.side_by_side:
        return _first(layer)  # the output does not show the states of each direction
    beyond = ""
    for direction in range(layer.case.config.num_directions):
        lane = _lane(subject, layer, direction, deadline)
        if lane is None:
            return f"{DIRECTIONS[direction]} direction; there was no time to find the step"
        if found := _first_step(layer, lane, direction):
            return found
        beyond = "each step follows from the backend's own state before it, so that what is off lies beside the cell: "
    return beyond + _first(layer)


def _lane(subject: Subject, layer: Question, direction: int, deadline: float) -> _Lane | None:
    """The backend's own states of one direction; None where there is no time for them."""
    inputs, config = layer.inputs, layer.case.config
    order = slice(None, None, -1 if direction else 1)
    size = config.state_sizes[0]
    steps = min(len(inputs.input), STEPS)
    h = layer.actual["output"][order][:steps, :, direction * size : (direction + 1) * size]
    x = inputs.input[order][:steps]
    after = [h]
    if config.kind == "lstm":
        cells = []
        for t in range(steps):
            if time.perf_counter() > deadline:
                return None
            part = inputs.input[len(inputs.input) - 1 - t :] if direction else inputs.input[: t + 1]
            shorter = replace(layer.case, seq_len=t + 1)
            cells.append(subject.run(shorter, replace(inputs, input=part)).arrays["c_n"][direction])
        after.append(np.stack(cells))
    first = inputs.hx or tuple(np.zeros((config.num_directions, *a.shape[1:]), a.dtype) for a in after)
    before = tuple(np.concatenate([f[direction][np.newaxis], a[:-1]]) for f, a in zip(first, after, strict=True))
    return _Lane(x, before, tuple(after))


def _first_step(layer: Question, lane: _Lane, direction: int) -> str:
    """The first state that does not follow from the one before it, in words; '' where all do."""
    steps, rows = lane.x.shape[:2]
    config = replace(layer.case.config, bidirectional=False, batch_first=False)
    ending = "_reverse" * direction
    parameters = {name: layer.inputs.parameters[name + ending] for name in config.parameter_shapes()}

    def as_rows(part: Array) -> Array:
        return part.reshape(1, steps * rows, -1)

    one_step = Inputs(parameters, as_rows(lane.x), tuple(map(as_rows, lane.before)))
    truth = truth_of(config, one_step, layer.arithmetic)
    budgets = [truth.budgets[name] for name in ("h_n", "c_n")[: len(lane.after)]]
    rho = [b.rho(as_rows(a)).reshape(a.shape) for b, a in zip(budgets, lane.after, strict=True)]
    beyond = [r > LAMBDA for r in rho]
    steps_off = [int(t) for part in beyond for t in np.flatnonzero(part.any((1, 2)))]
    if not steps_off:
        return ""
    t = min(steps_off)
    k = next(k for k in reversed(range(len(beyond))) if beyond[k][t].any())  # c before h, which is made of it
    row, unit = (int(i) for i in np.argwhere(beyond[k][t])[0])
    due = budgets[k].truth.reshape(lane.after[k].shape)[t, row, unit]
    place = f"{DIRECTIONS[direction]} direction, step {len(layer.inputs.input) - 1 - t if direction else t}"
    numbers = (
        f"{'hc'[k]} is {float(lane.after[k][t, row, unit]):.9g}, but {float(due):.9g} follows from the state before"
    )
    stored = layer.arithmetic.stored(arrays_of(one_step))
    kernel = kernel_of(config, one_step, {n: a.astype(np.float64) for n, a in stored.items()})
    at = np.arange(t * rows, (t + 1) * rows)
    gate = gate_off(kernel, at, [a[t].astype(float) for a in lane.after], [b[t] for b in beyond])
    return f"{place}, row {row}, unit {unit}: {numbers} (ρ = {rho[k][t, row, unit]:.3g}){gate}"


def _first(question: Question) -> str:
    """The first element that deviates."""
    return _first_of(question.actual, question.budgets, "")


def _first_of(actual: Mapping[str, Array], budgets: Mapping[str, Budget], what: str) -> str:
    for name, budget in budgets.items():
        beyond = budget.rho(actual[name]) > LAMBDA
        if beyond.any():
            index = tuple(int(i) for i in np.argwhere(beyond)[0])
            got, due = float(actual[name][index]), float(budget.truth[index])
            return f"{what}{name}{list(index)} is {got:.9g}, but {due:.9g} was due"
    return "nothing deviates"


def _gradients(question: GradientQuestion) -> str:
    """Which gradients are off, and the first of them on the way back: from the last layer to the first."""
    off = {n: b for n, b in question.budgets.items() if (b.rho(question.actual[n]) > LAMBDA).any()}
    right = [name for name in question.budgets if name not in off]

    def way_back(name: str) -> tuple[int, bool]:
        layer = name.rpartition("_l")[2].partition("_")[0]
        return (-int(layer) if layer.isdigit() else 1, name == "input")

    first = min(off, key=way_back)
    told = _first_of(question.actual, {first: off[first]}, "the gradient by ")
    rest = f"; also off: {', '.join(sorted(set(off) - {first}))}" if len(off) > 1 else ""
    return f"{told}{rest}; right: {', '.join(right) or 'none'}"
