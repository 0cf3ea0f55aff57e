"""Steps and rows: shifted, exchanged, lost, or coupled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from rnn_reference.cells import Array, Cell, Gates, Recurrent, State

from rnn_conformance.diagnosis.hypotheses.base import Change, add, mistake, on_results, tuned
from rnn_conformance.diagnosis.kernel import Kernel, Results

Sequence = Callable[[Array], Array]


def fed(change: Sequence) -> Change:
    """The stack's input in another form."""
    return lambda kernel: replace(kernel, x=change(kernel.x))


def every_lane_fed(change: Sequence) -> Change:
    """The input of every lane in another form."""

    def changed(kernel: Kernel) -> Kernel:
        right = kernel.enter
        return replace(kernel, enter=lambda part, lane: right(change(part), lane))

    return changed


def put_out(change: Sequence) -> Change:
    """The stack's output in another form."""
    return on_results(lambda kernel, results: results | {"output": change(results["output"])})


def every_lane_put_out(change: Sequence) -> Change:
    """The output of every lane in another form."""

    def changed(kernel: Kernel) -> Kernel:
        right = kernel.exit
        return replace(kernel, exit=lambda part, lane: change(right(part, lane)))

    return changed


def later(part: Array) -> Array:
    """Each step what the step before was, the first as it is."""
    return np.concatenate([part[:1], part[:-1]])


def later_from_zeros(part: Array) -> Array:
    """Each step what the step before was, the first zeros."""
    return np.concatenate([np.zeros_like(part[:1]), part[:-1]])


def sooner(part: Array) -> Array:
    """Each step what the next is, the last as it is."""
    return np.concatenate([part[1:], part[-1:]])


def sooner_to_zeros(part: Array) -> Array:
    """Each step what the next is, the last zeros."""
    return np.concatenate([part[1:], np.zeros_like(part[:1])])


def last_repeated(part: Array) -> Array:
    """The last step as the one before it."""
    return np.concatenate([part[:-1], part[-2:-1]]) if len(part) > 1 else part


def last_lost(part: Array) -> Array:
    """The last step zeros."""
    return np.concatenate([part[:-1], np.zeros_like(part[-1:])])


def first_lost(part: Array) -> Array:
    """The first step zeros."""
    return np.concatenate([np.zeros_like(part[:1]), part[1:]])


def only_last(part: Array) -> Array:
    """Every step as the last."""
    return np.concatenate([part[-1:]] * len(part)) if len(part) else part


def only_first(part: Array) -> Array:
    """Every step as the first."""
    return np.concatenate([part[:1]] * len(part)) if len(part) else part


def square_exchanged(part: Array) -> Array:
    """Steps and rows exchanged, where there are as many."""
    return part.swapaxes(0, -2) if part.shape[0] == part.shape[-2] else part


def reread(part: Array) -> Array:
    """The memory of (steps, batch, features) read as (batch, steps, features)."""
    steps, runs, batch, features = part.shape
    return part.swapaxes(0, 1).reshape(runs, batch, steps, features).transpose(2, 0, 1, 3)


def rewritten(part: Array) -> Array:
    """The memory of (batch, steps, features) where (steps, batch, features) is due."""
    steps, runs, batch, features = part.shape
    return part.transpose(1, 2, 0, 3).reshape(runs, steps, batch, features).swapaxes(0, 1)


def rows(order: Callable[[int], Array]) -> Sequence:
    """Rows in another order."""
    return lambda part: part[..., order(part.shape[-2]), :]


_IN_AND_OUT: tuple[tuple[str, str, Sequence], ...] = (
    ("one-step-late", "that of the step before; the first is its own", later),
    ("one-step-late-from-zeros", "that of the step before; the first is zeros", later_from_zeros),
    ("one-step-early", "that of the next step; the last is its own", sooner),
    ("one-step-early-to-zeros", "that of the next step; the last is zeros", sooner_to_zeros),
    ("of-last-step", "that of the last step", only_last),
    ("of-first-step", "that of the first step", only_first),
    ("reversed", "that of the sequence in reverse", lambda part: part[::-1]),
    ("row-early", "that of the next row", rows(lambda n: np.roll(np.arange(n), -1))),
    ("row-late", "that of the row before", rows(lambda n: np.roll(np.arange(n), 1))),
    ("rows-reversed", "that of the rows in reverse", rows(lambda n: np.arange(n)[::-1])),
    ("of-first-row", "that of the first row", rows(lambda n: np.zeros(n, int))),
    ("capped-at-row-four", "that of the fourth row from there on", rows(lambda n: np.minimum(np.arange(n), 3))),
)
for _id, _words, _change in _IN_AND_OUT:
    add(f"time.input-{_id}", f"the input of each step is {_words}", fed(_change))
    if "row" not in _id:
        add(f"time.every-input-{_id}", f"the input of each step of every layer is {_words}", every_lane_fed(_change))
    add(f"time.output-{_id}", f"the output of each step is {_words}", put_out(_change))
add("time.first-input-lost", "the first step's input is read as zeros", fed(first_lost))
add("time.last-input-lost", "the last step's input is read as zeros", fed(last_lost))
add("time.last-output-lost", "the last step's output is zeros", put_out(last_lost))
add("time.first-output-lost", "the first step's output is zeros", put_out(first_lost))
add("time.last-output-repeated", "the last step repeats the output of the one before", put_out(last_repeated))


@mistake("time.last-step-repeated-forward", "in each forward direction the last step repeats the one before")
def _last_repeated_forward(kernel: Kernel) -> Kernel:
    right = kernel.exit

    def exit(part: Array, lane: str) -> Array:
        part = right(part, lane)
        return part if lane.endswith("_reverse") else last_repeated(part)

    return replace(kernel, exit=exit)


add("time.input-square-exchanged", "an input of as many steps as rows is transposed", fed(square_exchanged))
add("time.output-square-exchanged", "an output of as many steps as rows is transposed", put_out(square_exchanged))
add("time.input-batch-first-ignored", "steps and batch of the input are confused: batch_first misread", fed(reread))
add(
    "time.output-batch-first-ignored",
    "steps and batch of the output are confused: batch_first misread",
    put_out(rewritten),
)


@mistake("time.batch-first-ignored", "steps and batch are confused on the way in and out: batch_first misread")
def _batch_first_ignored(kernel: Kernel) -> Kernel | None:
    if kernel.steps != kernel.rows or kernel.lengths is not None:
        return None
    wrong = replace(kernel, x=square_exchanged(kernel.x))
    return put_out(square_exchanged)(wrong)


@mistake("time.rows-in-sequence", "each row starts from the final state of the row before it")
def _rows_in_sequence(kernel: Kernel) -> Kernel | None:
    if kernel.rows == 1 or kernel.lengths is not None:
        return None

    def leave(right: Kernel, results: Results) -> Results:
        hx, found = tuple(part[..., :1, :] for part in right.hx), []
        for row in range(right.rows):
            alone = replace(right, x=right.x[..., row : row + 1, :], hx=hx, leave=())
            found.append(alone.results())
            hx = tuple(found[-1][name] for name in ("h_n", "c_n")[: len(hx)])
        return {name: np.concatenate([result[name] for result in found], axis=-2) for name in results}

    return replace(kernel, leave=(leave, *kernel.leave))


def stepping(change: Callable[[State, State], State]) -> Change:
    """Each step from another state: `change(state, new)` is what is handed on after a step."""

    def changed(kernel: Kernel) -> Kernel:
        def step(x: Array, state: State, p: Recurrent) -> tuple[State, Gates]:
            new, gates = kernel.cell.step(x, state, p)
            return change(state, new), gates

        return replace(kernel, cell=Cell(step, kernel.cell.backward))

    return changed


def with_state(change: Callable[[State], State]) -> Change:
    """Each step reads another state than the one before left."""

    def changed(kernel: Kernel) -> Kernel:
        def step(x: Array, state: State, p: Recurrent) -> tuple[State, Gates]:
            return kernel.cell.step(x, change(state), p)

        return replace(kernel, cell=Cell(step, kernel.cell.backward))

    return changed


def _first_row(state: State) -> State:
    return tuple(part[..., np.zeros(part.shape[-2], int), :] for part in state)


@mistake("time.no-state", "every step starts from zeros")
def _no_state(kernel: Kernel) -> Kernel | None:
    zeros = with_state(lambda state: tuple(0 * part for part in state))
    plain = kernel.config.kind == "rnn" and not kernel.config.residual
    return None if plain else zeros(kernel)  # where it is `weights.no-recurrence`


add(
    "time.c-forgotten",
    "every step starts from a c of zeros",
    lambda kernel: with_state(lambda s: (s[0], 0 * s[1]))(kernel) if len(kernel.hx) == 2 else None,
)
add("time.state-of-first-row", "every step of every row starts from the first row's state", with_state(_first_row))


@mistake("time.state-never-updated", "every step starts from the initial state")
def _never_updated(kernel: Kernel) -> Kernel | None:
    if kernel.lengths is not None:
        return None
    return replace(kernel, cell=Cell(_Stale(kernel.cell, kernel.steps, 0).step, kernel.cell.backward))


@mistake("time.state-two-steps-old", "every step reads the h of two steps before")
def _two_steps_old(kernel: Kernel) -> Kernel | None:
    if kernel.lengths is not None:
        return None
    return replace(kernel, cell=Cell(_Stale(kernel.cell, kernel.steps, 1).step, kernel.cell.backward))


class _Stale:
    """A cell that reads an old h. Lanes run one after another, so that counting steps shows where one begins."""

    def __init__(self, cell: Cell, steps: int, age: int) -> None:
        self.cell, self.steps, self.age, self.count = cell, steps, age, 0
        self.held: list[State] = []

    def step(self, x: Array, state: State, p: Recurrent) -> tuple[State, Gates]:
        if self.count % self.steps == 0:
            self.held = [state]
        self.count += 1
        self.held.append(state)
        old = self.held[0] if not self.age else (self.held[-2][0], *state[1:])
        return self.cell.step(x, old, p)


def leaking(source: Sequence) -> Callable[[Kernel, float], Kernel | None]:
    """Every lane's input with a part of something else in it."""
    return lambda kernel, amount: every_lane_fed(lambda part: part + amount * source(part))(kernel)


def state_leaking(source: Sequence) -> Callable[[Kernel, float], Kernel | None]:
    """Every step's h with a part of something else in it, where there are several rows."""

    def build(kernel: Kernel, amount: float) -> Kernel | None:
        read = with_state(lambda state: (state[0] + amount * source(state[0]), *state[1:]))
        return read(kernel) if kernel.rows > 1 else None

    return build


for _id, _words, _source in (
    ("next-row", "the next row's", rows(lambda n: np.roll(np.arange(n), -1))),
    ("previous-row", "the previous row's", rows(lambda n: np.roll(np.arange(n), 1))),
):
    add(
        f"time.leak-of-{_id}",
        f"{{amount}} of {_words} state leaks into each row's",
        tuned(state_leaking(_source), 1e-3),
        tuned=True,
    )
for _id, _words, _source in (
    ("next-step", "the next step's", sooner_to_zeros),
    ("previous-step", "the previous step's", later_from_zeros),
):
    add(
        f"time.leak-of-{_id}",
        f"{{amount}} of {_words} input leaks into each step's",
        tuned(leaking(_source), 1e-3),
        tuned=True,
    )
for _part, _name in enumerate("hc"):

    def _decaying(kernel: Kernel, amount: float, part: int = _part) -> Kernel | None:
        def grown(old: State, new: State) -> State:
            return tuple(p * (1 + amount) if k == part else p for k, p in enumerate(new))

        return stepping(grown)(kernel) if part < len(kernel.hx) else None

    add(
        f"time.{_name}-scaled",
        f"after each step {_name} is multiplied by 1 + {{amount}}",
        tuned(_decaying, -1e-3),
        tuned=True,
    )


def _scaled_output(kernel: Kernel, amount: float) -> Kernel | None:
    return put_out(lambda output: output * (1 + amount))(kernel)


add("output.scaled", "the output is multiplied by 1 + {amount}", tuned(_scaled_output, -1e-3), tuned=True)
add("output.zero", "every result is zeros", on_results(lambda k, r: {name: 0 * array for name, array in r.items()}))
add("output.output-zero", "the output is zeros", on_results(lambda k, r: r | {"output": 0 * r["output"]}))
add("output.negated", "every result is negated", on_results(lambda k, r: {n: -a for n, a in r.items()}))
add("output.doubled", "the output is doubled", on_results(lambda k, r: r | {"output": 2 * r["output"]}))


@mistake("output.last-unit-lost", "the last unit of h is zero in output and state")
def _last_unit_lost(kernel: Kernel) -> Kernel | None:
    if kernel.config.state_sizes[0] == 1:
        return None

    def lost(state: State, new: State) -> State:
        return (np.concatenate([new[0][..., :-1], 0 * new[0][..., -1:]], axis=-1), *new[1:])

    return stepping(lost)(kernel)
