"""Activations: another function, an approximation, or a bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from rnn_reference.activations import sigmoid
from rnn_reference.cells import Array, Cell, Gates, Recurrent, State

from rnn_conformance.diagnosis.hypotheses.base import Change, add, tuned
from rnn_conformance.diagnosis.hypotheses.sequences import stepping
from rnn_conformance.diagnosis.kernel import Kernel
from rnn_conformance.diagnosis.operations import Operations, relu_as, sigmoid_as, tanh_as

Function = Callable[[Array], Array]


def operating(operations: Operations, kinds: str = "lstm gru rnn_tanh rnn_relu") -> Change:
    """The kernel with other operations, in these cells."""

    def change(kernel: Kernel) -> Kernel | None:
        own = kernel.config.cell in kinds.split()
        return replace(kernel, operations={**kernel.operations, **operations}) if own else None

    return change


def stepped(function: Function, per_unit: int) -> Function:
    """A function looked up in a table of this many entries for each unit of x, at the nearest."""
    return lambda x: function(_nearest(x, per_unit))


def _nearest(x: Array, per_unit: int) -> Array:
    near: Array = (np.rint(x.view(np.ndarray) * per_unit) / per_unit).view(type(x))
    return near


def interpolated(function: Function, per_unit: int) -> Function:
    """A function looked up in a table, between two entries along the straight line."""

    def looked_up(x: Array) -> Array:
        below = (np.floor(x.view(np.ndarray) * per_unit) / per_unit).view(type(x))
        low, high = function(below), function(below + 1 / per_unit)
        between: Array = low + (high - low) * ((x - below) * per_unit)
        return between

    return looked_up


def rational(x: Array) -> Array:
    """X (27 + x²) / (27 + 9 x²), the Padé approximant of tanh, held at ±1 from ±3 on."""
    near = np.maximum(np.minimum(x, 3), -3)
    y: Array = near * (27 + near * near) / (27 + 9 * near * near)
    return y


def _bounded(low: float, high: float, function: Function) -> Function:
    return lambda x: np.minimum(np.maximum(function(x), low), high)


GATED = "lstm gru"
WITH_TANH = "lstm gru rnn_tanh"
_SIGMOIDS: tuple[tuple[str, str, Function], ...] = (
    ("hard", "the straight line 0.2 x + 0.5 between 0 and 1, old Keras's", _bounded(0, 1, lambda x: 0.2 * x + 0.5)),
    ("hard-sixth", "the straight line x / 6 + 0.5 between 0 and 1", _bounded(0, 1, lambda x: x / 6 + 0.5)),
    ("hard-quarter", "the straight line x / 4 + 0.5 between 0 and 1", _bounded(0, 1, lambda x: x / 4 + 0.5)),
    ("softsign", "x / (1 + |x|) / 2 + 0.5", lambda x: x / (1 + np.abs(x)) / 2 + 0.5),
    ("rational", "made of a rational tanh, good to two digits", lambda x: rational(x / 2) / 2 + 0.5),
)
for _id, _words, _function in _SIGMOIDS:
    add(f"activations.sigmoid-{_id}", f"sigmoid is {_words}", operating(sigmoid_as(_function), GATED))
_TANHS: tuple[tuple[str, str, Function], ...] = (
    ("rational", "the rational function x (27 + x²) / (27 + 9 x²), good to two digits", rational),
    ("hard", "the straight line between -1 and 1", _bounded(-1, 1, lambda x: x)),
    ("softsign", "x / (1 + |x|)", lambda x: x / (1 + np.abs(x))),
    ("relu", "relu", lambda x: np.maximum(x, 0)),
    ("sigmoid", "sigmoid", sigmoid),
    ("identity", "left out", lambda x: x),
)
for _id, _words, _function in _TANHS:
    add(f"activations.tanh-{_id}", f"tanh is {_words}", operating(tanh_as(_function), WITH_TANH))
for _count in (4096, 1024, 512, 256, 128, 64, 32, 16):
    for _id, _words, _table in (("", "the nearest entry", stepped), ("-interpolated", "interpolated", interpolated)):
        add(
            f"activations.sigmoid-table-{_count}{_id}",
            f"sigmoid is looked up in a table of step 1/{_count}, {_words}",
            operating(sigmoid_as(_table(sigmoid, _count)), GATED),
        )
        add(
            f"activations.tanh-table-{_count}{_id}",
            f"tanh is looked up in a table of step 1/{_count}, {_words}",
            operating(tanh_as(_table(np.tanh, _count)), WITH_TANH),
        )
_RELUS: tuple[tuple[str, str, Function], ...] = (
    ("tanh", "tanh: the nonlinearity is ignored", np.tanh),
    ("identity", "left out", lambda x: x),
    ("leaky", "leaky: it lets a hundredth of negative numbers through", lambda x: np.maximum(x, 0.01 * x)),
    ("capped-at-six", "capped at 6", _bounded(0, 6, lambda x: x)),
    ("capped-at-one", "capped at 1", _bounded(0, 1, lambda x: x)),
    ("softplus", "log(1 + exp(x))", lambda x: np.logaddexp(x, 0 * x)),
)
for _id, _words, _function in _RELUS:
    add(f"activations.relu-{_id}", f"relu is {_words}", operating(relu_as(_function), "rnn_relu"))


def _clip(part: Array, bound: float) -> Array:
    return np.minimum(np.maximum(part, -bound), bound)


def clipped_cell(bound: float) -> Change:
    """C within ± a bound, before h is made of it."""

    def change(kernel: Kernel) -> Kernel | None:
        if kernel.config.kind != "lstm":
            return None

        def step(x: Array, state: State, p: Recurrent) -> tuple[State, Gates]:
            (h, c), gates = kernel.cell.step(x, state, p)
            clipped = _clip(c, bound)
            if np.array_equal(clipped, c):
                return (h, c), gates
            h = gates["o"] * np.tanh(clipped)
            return (h if p.w_hr is None else h @ p.w_hr.T, clipped), gates

        return replace(kernel, cell=Cell(step, kernel.cell.backward))

    return change


def clipped_products(bound: float) -> Change:
    """What goes into the gates within ± a bound."""

    def change(kernel: Kernel) -> Kernel:
        return replace(
            kernel,
            operations={
                **kernel.operations,
                np.exp: lambda x: np.exp(_clip(x, bound)),
                np.tanh: lambda x: np.tanh(_clip(x, bound)),
            },
        )

    return change


for _bound in (0.5, 1, 2, 3, 5, 10):
    add(f"activations.cell-clipped-{_bound:g}", f"the cell state is clipped at ±{_bound:g}", clipped_cell(_bound))
    add(
        f"activations.gates-clipped-{_bound:g}",
        f"what goes into sigmoid and tanh is clipped at ±{_bound:g}",
        clipped_products(_bound),
    )
    add(
        f"activations.state-clipped-{_bound:g}",
        f"the hidden state is clipped at ±{_bound:g}",
        stepping(lambda state, new, bound=_bound: (_clip(new[0], bound), *new[1:])),  # type: ignore[misc]
    )


def _clipped_as_seen(kernel: Kernel) -> Kernel | None:
    seen = kernel.seen.get("c_n", np.ones(1))
    largest = float(np.abs(seen.astype(float)).max(initial=0))
    if not 0 < largest < np.inf:
        return None
    clipped = clipped_cell(largest)(kernel)
    return None if clipped is None else replace(clipped, amount=largest)


add("activations.cell-clipped-as-seen", "the cell state is clipped at ±{amount}", _clipped_as_seen, tuned=True)


def _inexact(name: str) -> Callable[[Kernel, float], Kernel | None]:
    """An activation with an error of this size, as approximations have."""

    def build(kernel: Kernel, amount: float) -> Kernel | None:
        def near_tanh(x: Array) -> Array:
            y: Array = np.tanh(x)
            near: Array = y + amount * y * (1 - y * y)
            return near

        def near_sigmoid(x: Array) -> Array:
            y: Array = sigmoid(x)
            near: Array = y + amount * y * (1 - y)
            return near

        changed = tanh_as(near_tanh) if name == "tanh" else sigmoid_as(near_sigmoid)
        return operating(changed, WITH_TANH if name == "tanh" else GATED)(kernel)

    return build


add("activations.tanh-off", "tanh is off by {amount} y (1 - y²)", tuned(_inexact("tanh"), 1e-3), tuned=True)
add("activations.sigmoid-off", "sigmoid is off by {amount} y (1 - y)", tuned(_inexact("sigmoid"), 1e-3), tuned=True)


def _leaking(kernel: Kernel, amount: float) -> Kernel | None:
    return operating(relu_as(lambda x: np.maximum(x, 0) + amount * np.minimum(x, 0)), "rnn_relu")(kernel)


add("activations.relu-slope", "relu lets {amount} of negative numbers through", tuned(_leaking, 0.1), tuned=True)
