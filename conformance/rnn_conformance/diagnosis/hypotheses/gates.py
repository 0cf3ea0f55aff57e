"""Gates: their order, what they pass through, and how they make the new state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import permutations

import numpy as np
from rnn_reference.activations import sigmoid
from rnn_reference.cells import GRU, GRU_RESET_BEFORE, Array, Cell, Gates, Recurrent, State, split
from rnn_reference.parameters import GATES

from rnn_conformance.diagnosis.hypotheses.base import add, gated, mistake, rows_of, tuned, with_parameters
from rnn_conformance.diagnosis.kernel import Kernel

NAMES = {"lstm": "ifgo", "gru": "rzn"}
USERS = {
    "iofg": "ONNX's",
    "igfo": "TensorFlow's BasicLSTMCell's",
    "ifog": "Caffe's and OpenCV's",
    "zrn": "ONNX's and Keras's",
}


def reordered(kind: str, order: str) -> Callable[[Kernel], Kernel | None]:
    """Blocks of rows are taken for the gates in this order."""

    def change(kernel: Kernel) -> Kernel | None:
        if kernel.config.kind != kind:
            return None
        return by_blocks(kernel, [order.index(gate) for gate in NAMES[kind]])

    return change


def by_blocks(kernel: Kernel, blocks: list[int], only: str = "") -> Kernel | None:
    """Each gate with the parameters of the block of this number."""
    changed = {}
    for name, array in kernel.parameters.items():
        if gated(name) and name.startswith(only):
            changed[name] = np.concatenate([array[rows_of(kernel, k)] for k in blocks])
    return with_parameters(kernel, changed)


for _kind, _gates in NAMES.items():
    for _order in map("".join, permutations(_gates)):
        if _order != _gates:
            _whose = f", {USERS[_order]}," if _order in USERS else ""
            add(
                f"gates.{_order}",
                f"the gates are read in the order {', '.join(_order)}{_whose} where {', '.join(_gates)} is due",
                reordered(_kind, _order),
            )


@mistake("gates.interleaved", "the rows of parameters are read unit by unit, not gate by gate")
def _interleaved(kernel: Kernel) -> Kernel | None:
    count, size = GATES[kernel.config.kind], kernel.config.hidden_size
    if count == 1:
        return None
    at = np.arange(count * size).reshape(size, count).T.ravel()
    return with_parameters(kernel, {n: a[at] for n, a in kernel.parameters.items() if gated(n)})


def _from_other(kernel: Kernel, gate: str, other: str, sign: float) -> Kernel | None:
    """A gate with the parameters of another, times a sign: 1 - σ(x) is σ(-x)."""
    names = NAMES.get(kernel.config.kind, "")
    if gate not in names or other not in names:
        return None
    to, source = rows_of(kernel, names.index(gate)), rows_of(kernel, names.index(other))

    def change(array: Array) -> Array:
        changed = array.copy()
        changed[to] = -array[source] if sign < 0 else array[source]
        return changed

    return with_parameters(kernel, {n: change(a) for n, a in kernel.parameters.items() if gated(n)})


add(
    "gates.coupled",
    "the forget gate is 1 - i: input and forget gate are coupled",
    lambda kernel: _from_other(kernel, "f", "i", -1),
)
add(
    "gates.coupled-input",
    "the input gate is 1 - f: input and forget gate are coupled",
    lambda kernel: _from_other(kernel, "i", "f", -1),
)
add(
    "gates.update-inverted",
    "the update gate is inverted: h = z n + (1 - z) h",
    lambda kernel: _from_other(kernel, "z", "z", -1),
)
for _gate, _other in permutations("ifo", 2):
    add(
        f"gates.{_gate}-is-{_other}",
        f"the gate {_gate} is computed with the parameters of the gate {_other}",
        partial(_from_other, gate=_gate, other=_other, sign=1),
    )
for _gate, _other in permutations("rz", 2):
    add(
        f"gates.{_gate}-is-{_other}",
        f"the gate {_gate} is computed with the parameters of the gate {_other}",
        partial(_from_other, gate=_gate, other=_other, sign=1),
    )


def with_bias(kernel: Kernel, amount: float, kind: str, gate: int) -> Kernel | None:
    """The kernel with a number added to what goes into one gate."""
    if kernel.config.kind != kind:
        return None

    def step(x: Array, state: State, p: Recurrent) -> tuple[State, Gates]:
        parts = split(x, GATES[kernel.config.kind])
        parts[gate] = parts[gate] + amount
        return kernel.cell.step(np.concatenate(parts, axis=-1), state, p)

    return replace(kernel, cell=Cell(step, kernel.cell.backward))


for _amount, _word in ((1.0, "plus-one"), (-1.0, "minus-one")):
    add(
        f"gates.forget-bias-{_word}",
        f"{_amount:+g} is added to the forget gate",
        partial(with_bias, amount=_amount, kind="lstm", gate=1),
    )
for _number, _name in enumerate("ifgo"):
    for _value, _amount in (("open", 1e4), ("shut", -1e4)):
        if _name != "g":
            add(
                f"gates.{_name}-{_value}",
                f"the gate {_name} is left out: it is {'1' if _amount > 0 else '0'}",
                partial(with_bias, amount=_amount, kind="lstm", gate=_number),
            )

for _kind, _gates in NAMES.items():
    for _number, _name in enumerate(_gates):
        add(
            f"gates.{_kind}-{_name}-shifted",
            f"{{amount}} is added to what goes into the gate {_name}",
            tuned(partial(with_bias, kind=_kind, gate=_number), 0.1),
            tuned=True,
        )

Emit = Callable[[Array, State, State, Gates, Recurrent], State]


def lstm_after(after: Emit) -> Callable[[Kernel], Kernel | None]:
    """An LSTM whose new state is made anew: `after(x, before, new, gates, parameters)`, h before its projection."""

    def change(kernel: Kernel) -> Kernel | None:
        if kernel.config.kind != "lstm":
            return None

        def step(x: Array, state: State, p: Recurrent) -> tuple[State, Gates]:
            new, gates = kernel.cell.step(x, state, p)
            h, c = after(x, state, new, gates, p)
            return (h if p.w_hr is None else h @ p.w_hr.T, c), gates

        return replace(kernel, cell=Cell(step, kernel.cell.backward))

    return change


def _candidate(x: Array, state: State, p: Recurrent) -> Array:
    """The LSTM's candidate before its tanh."""
    return split(x + (state[0] @ p.w_hh.T + p.b_hh), 4)[2]


def _with_candidate(g: Array, before: State, gates: Gates) -> State:
    c = gates["f"] * before[1] + gates["i"] * g
    return gates["o"] * np.tanh(c), c


add(
    "gates.no-tanh-on-cell",
    "tanh is missing on the cell state: h = o c",
    lstm_after(lambda x, old, new, gates, p: (gates["o"] * new[1], new[1])),
)
add(
    "gates.sigmoid-on-cell",
    "the cell state goes through sigmoid, not tanh: h = o σ(c)",
    lstm_after(lambda x, old, new, gates, p: (gates["o"] * sigmoid(new[1]), new[1])),
)
add(
    "gates.output-from-old-cell",
    "the output is made of the cell state before its update",
    lstm_after(lambda x, old, new, gates, p: (gates["o"] * np.tanh(old[1]), new[1])),
)
add(
    "gates.candidate-by-sigmoid",
    "the candidate g goes through sigmoid, not tanh",
    lstm_after(lambda x, old, new, gates, p: _with_candidate(sigmoid(_candidate(x, old, p)), old, gates)),
)
add(
    "gates.candidate-linear",
    "the candidate g goes through no tanh",
    lstm_after(lambda x, old, new, gates, p: _with_candidate(_candidate(x, old, p), old, gates)),
)
add(
    "gates.cell-not-added",
    "the cell state is f c, without i g",
    lstm_after(lambda x, old, new, gates, p: _with_candidate(0 * gates["g"], old, gates)),
)


def gru_after(after: Callable[[Array, Array, Gates, Recurrent], Array]) -> Callable[[Kernel], Kernel | None]:
    """A GRU whose new state is made anew: `after(x_n, h, gates, parameters)`."""

    def change(kernel: Kernel) -> Kernel | None:
        if kernel.config.kind != "gru":
            return None

        def step(x: Array, state: State, p: Recurrent) -> tuple[State, Gates]:
            _, gates = kernel.cell.step(x, state, p)
            return (after(split(x, 3)[2], state[0], gates, p),), gates

        return replace(kernel, cell=Cell(step, kernel.cell.backward))

    return change


def _mixed(gates: Gates, n: Array, h: Array) -> Array:
    z = gates["z"]
    mixed: Array = (1 - z) * n + z * h
    return mixed


def _outside(x: Array, h: Array, gates: Gates, p: Recurrent) -> Array:
    b = 0.0 if isinstance(p.b_hh, float) else p.b_hh[2 * h.shape[-1] :]
    return _mixed(gates, np.tanh(x + (gates["r"] * (gates["m"] - b) + b)), h)


@mistake("gates.reset-before", "the reset gate acts on the state, before the recurrent product (Cho et al. 2014)")
def _reset_before(kernel: Kernel) -> Kernel | None:
    return replace(kernel, cell=GRU_RESET_BEFORE) if kernel.config.kind == "gru" else None


@mistake("gates.reset-after", "the reset gate acts after the recurrent product, where before it is due")
def _reset_after(kernel: Kernel) -> Kernel | None:
    return replace(kernel, cell=GRU) if kernel.right.cell == GRU_RESET_BEFORE else None


add(
    "gates.bias-outside-reset",
    "the candidate's recurrent bias is added outside the product with the reset gate",
    gru_after(_outside),
)
add(
    "gates.no-reset",
    "the reset gate is left out: it is 1",
    gru_after(lambda x, h, gates, p: _mixed(gates, np.tanh(x + gates["m"]), h)),
)
add(
    "gates.reset-on-input-too",
    "the reset gate multiplies the candidate's input part too",
    gru_after(lambda x, h, gates, p: _mixed(gates, np.tanh(gates["r"] * (x + gates["m"])), h)),
)
add(
    "gates.gru-candidate-by-sigmoid",
    "the candidate n goes through sigmoid, not tanh",
    gru_after(lambda x, h, gates, p: _mixed(gates, sigmoid(x + gates["r"] * gates["m"]), h)),
)
add(
    "gates.no-update",
    "the update gate is left out: h = n",
    gru_after(lambda x, h, gates, p: gates["n"]),
)
add(
    "gates.old-state-whole",
    "the old state is added whole: h = (1 - z) n + h",
    gru_after(lambda x, h, gates, p: (1 - gates["z"]) * gates["n"] + h),
)
