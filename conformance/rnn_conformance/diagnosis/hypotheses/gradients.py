"""Gradients: lost, doubled, scaled, detached, transposed, or summed over too little."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
from rnn_reference.cells import Array, Cell, Factors, Gates, Recurrent, State
from rnn_reference.parameters import GATES

from rnn_conformance.diagnosis.backward import Backward, gradients_alone, summed
from rnn_conformance.diagnosis.hypotheses import base
from rnn_conformance.diagnosis.hypotheses.base import gated, rows_of
from rnn_conformance.diagnosis.hypotheses.gates import NAMES
from rnn_conformance.diagnosis.hypotheses.precision import FORMATS
from rnn_conformance.diagnosis.kernel import Kernel, Results

Change = Callable[[Backward], Backward | None]
OfOne = Callable[[Backward, str, Array], Array]  # of the gradient by a name


def add(id: str, sentence: str, change: Change, tuned: bool = False) -> None:
    """Register one hypothesis about gradients."""
    base.add(f"gradients.{id}", sentence, change, "gradients", tuned)  # type: ignore[arg-type]


GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "input": ("the input", ("input",)),
    "h_0": ("h_0", ("h_0",)),
    "c_0": ("c_0", ("c_0",)),
    "states": ("the initial states", ("h_0", "c_0")),
    "weight_ih": ("the input weights", ("weight_ih",)),
    "weight_hh": ("the recurrent weights", ("weight_hh",)),
    "weight_hr": ("the projection", ("weight_hr",)),
    "weights": ("every weight", ("weight",)),
    "bias_ih": ("the input bias", ("bias_ih",)),
    "bias_hh": ("the recurrent bias", ("bias_hh",)),
    "bias": ("every bias", ("bias",)),
    "parameters": ("every parameter", ("weight", "bias")),
    "all": ("everything", ("",)),
}


def of(starts: tuple[str, ...], change: OfOne) -> Change:
    """Other gradients by what is named so; none where that is all the same for want of such names."""

    def leave(kernel: Kernel, results: Results) -> Results:
        assert isinstance(kernel, Backward)
        return {n: change(kernel, n, a) if n.startswith(starts) else a for n, a in results.items()}

    def changed(kernel: Backward) -> Backward | None:
        named = [*kernel.parameters, "input", *("h_0", "c_0")[: len(kernel.hx) if kernel.with_hx else 0]]
        if len({start for start in starts for name in named if name.startswith(start)}) < len(starts):
            return None
        return replace(kernel, leave=(*kernel.leave, leave))

    return changed


def times(factor: Callable[[Backward], float]) -> OfOne:
    """The gradient times a number."""
    return lambda kernel, name, gradient: gradient * factor(kernel)


def scaled(starts: tuple[str, ...]) -> Change:
    """Gradients by what is named so times a number that is fitted."""

    def build(kernel: Kernel, amount: float) -> Kernel | None:
        assert isinstance(kernel, Backward)
        return of(starts, times(lambda kernel: 1 + amount))(kernel)

    return base.tuned(build, -0.01)  # type: ignore[return-value]


def _lengths(kernel: Backward) -> Sequence[int]:
    return kernel.lengths or [kernel.steps] * kernel.rows


for _id, (_words, _starts) in GROUPS.items():
    add(f"{_id}-lost", f"{_words} has a gradient of zeros", of(_starts, times(lambda kernel: 0.0)))
    add(f"{_id}-doubled", f"the gradient by {_words} is doubled", of(_starts, times(lambda kernel: 2.0)))
    add(f"{_id}-halved", f"the gradient by {_words} is halved", of(_starts, times(lambda kernel: 0.5)))
    add(f"{_id}-negated", f"the gradient by {_words} has the wrong sign", of(_starts, times(lambda kernel: -1.0)))
    add(
        f"{_id}-mean-over-rows",
        f"the gradient by {_words} is a mean over rows, not a sum",
        of(_starts, times(lambda kernel: 1 / max(kernel.rows, 1))),
    )
    add(
        f"{_id}-mean-over-steps",
        f"the gradient by {_words} is a mean over steps, not a sum",
        of(_starts, times(lambda kernel: 1 / max(kernel.steps, 1))),
    )
    add(
        f"{_id}-mean",
        f"the gradient by {_words} is a mean over steps and rows, not a sum",
        of(_starts, times(lambda kernel: 1 / max(sum(_lengths(kernel)), 1))),
    )
    add(f"{_id}-scaled", f"the gradient by {_words} is multiplied by 1 + {{amount}}", scaled(_starts), tuned=True)


for _id in ("input", "parameters", "all"):
    _words, _starts = GROUPS[_id]
    for _bound in (0.1, 0.5, 1.0, 5.0):
        add(
            f"{_id}-clipped-{_bound:g}",
            f"the gradient by {_words} is clipped to ±{_bound:g}",
            of(_starts, lambda kernel, name, g, bound=_bound: np.minimum(np.maximum(g, -bound), bound)),  # type: ignore[misc]
        )
    for _format in ("float16", "bfloat16", "float32", "tf32"):
        add(
            f"{_id}-in-{_format}",
            f"the gradient by {_words} is rounded to {FORMATS[_format][0]}",
            of(_starts, lambda kernel, name, g, r=FORMATS[_format][2]: r(g)),  # type: ignore[misc]
        )


def _of_lanes(keep: Callable[[str], bool]) -> OfOne:
    """Zeros but for the lanes that are kept: of a parameter by its ending, of a state by its place."""

    def change(kernel: Backward, name: str, gradient: Array) -> Array:
        if name in ("h_0", "c_0"):
            kept = np.array([float(keep(lane)) for lane in kernel.lanes])
            some: Array = gradient * kept.reshape(-1, *[1] * (gradient.ndim - 1))
            return some
        return gradient if keep(name.partition("_l")[2] and f"l{name.rpartition('_l')[2]}") else gradient * 0

    return change


for _id, _names in (
    ("states", ("h_0", "c_0")),
    ("parameters", ("weight", "bias")),
    ("h_0", ("h_0",)),
    ("c_0", ("c_0",)),
):
    for _lanes, _whose, _keep in (
        ("upper", "upper layers", lambda lane: lane.startswith("l0")),
        ("first", "the first layer", lambda lane: not lane.startswith("l0")),
        ("reverse", "the reverse direction", lambda lane: not lane.endswith("_reverse")),
        ("forward", "the forward direction", lambda lane: lane.endswith("_reverse")),
    ):

        def _some_lost(kernel: Backward, names: tuple[str, ...] = _names, keep: Any = _keep) -> Backward | None:
            states = ("h_0", "c_0")[: len(kernel.hx)] if names == ("h_0", "c_0") else names
            kept = [keep(lane) for lane in kernel.lanes]
            return of(states, _of_lanes(keep))(kernel) if any(kept) and not all(kept) else None

        what = "initial states" if _id == "states" else _id
        add(f"{_id}-lost-{_lanes}", f"the {what} of {_whose} have a gradient of zeros", _some_lost)


# The order of the input's gradients


def _along(change: Callable[[Array], Array]) -> Change:
    return of(("input",), lambda kernel, name, g: change(g))


def _rolled(part: Array, by: int) -> Array:
    """Steps shifted, with zeros where there are none."""
    moved = np.roll(part, by, axis=0)
    at = 0 if by > 0 else -1
    return np.concatenate([np.zeros_like(part[:1]), moved[1:]] if at == 0 else [moved[:-1], np.zeros_like(part[:1])])


def _only(step: int) -> Callable[[Array], Array]:
    def change(part: Array) -> Array:
        kept = np.zeros(len(part))
        kept[step] = 1
        return part * kept.reshape(-1, *[1] * (part.ndim - 1))

    return change


add("input-time-reversed", "the gradient by the input comes in reverse order of steps", _along(lambda g: g[::-1]))
add("input-one-step-late", "the gradient by the input comes one step late", _along(lambda g: _rolled(g, 1)))
add("input-one-step-early", "the gradient by the input comes one step early", _along(lambda g: _rolled(g, -1)))
add("input-last-step-only", "only the last step's input has a gradient", _along(_only(-1)))
add("input-first-step-only", "only the first step's input has a gradient", _along(_only(0)))
add("input-rows-reversed", "the gradient by the input has its rows in reverse", _along(lambda g: g[..., ::-1, :]))

# Results whose gradients do not count, or not as they should


def _upstream(output: Callable[[Array], Array], *parts: Callable[[Array], Array]) -> Change:
    """Other gradients by output, h_n and c_n."""

    def change(kernel: Backward) -> Backward | None:
        assert kernel.d_output is not None
        d_state = tuple(f(part) for f, part in zip(parts, kernel.d_state, strict=False))
        return replace(kernel, d_output=output(kernel.d_output), d_state=d_state)

    return change


def _zeros(part: Array) -> Array:
    return part * 0


def _kept(part: Array) -> Array:
    return part


def _twice(part: Array) -> Array:
    return part * 2


add("h_n-ignored", "no gradient goes through h_n", _upstream(_kept, _zeros, _kept))
add(
    "c_n-ignored",
    "no gradient goes through c_n",
    lambda kernel: _upstream(_kept, _kept, _zeros)(kernel) if len(kernel.hx) == 2 else None,
)
add(
    "final-state-ignored",
    "no gradient goes through h_n and c_n",
    lambda kernel: _upstream(_kept, _zeros, _zeros)(kernel) if len(kernel.hx) == 2 else None,
)
add("output-ignored", "no gradient goes through the output", _upstream(_zeros, _kept, _kept))
add("h_n-doubled", "the gradient through h_n counts twice", _upstream(_kept, _twice, _kept))
add(
    "c_n-doubled",
    "the gradient through c_n counts twice",
    lambda kernel: _upstream(_kept, _kept, _twice)(kernel) if len(kernel.hx) == 2 else None,
)
add("output-doubled", "the gradient through the output counts twice", _upstream(_twice, _kept, _kept))
add("output-last-step-only", "only the last step's output passes a gradient on", _upstream(_only(-1), _kept, _kept))


def _final_lanes(keep: Callable[[Backward, int], bool]) -> Change:
    """Of h_n and c_n, only these lanes pass a gradient on."""

    def change(kernel: Backward) -> Backward | None:
        kept = np.array([float(keep(kernel, k)) for k in range(len(kernel.lanes))])
        if kept.all():
            return None
        parts = tuple(part * kept.reshape(-1, *[1] * (part.ndim - 1)) for part in kernel.d_state)
        return replace(kernel, d_state=parts)

    return change


add(
    "final-state-of-last-layer-only",
    "of h_n and c_n, only the last layer's pass a gradient on",
    _final_lanes(lambda kernel, k: k >= len(kernel.lanes) - kernel.config.num_directions),
)
add(
    "final-state-of-forward-only",
    "of h_n and c_n, only the forward direction's pass a gradient on",
    _final_lanes(lambda kernel, k: not kernel.lanes[k].endswith("_reverse")),
)


# What is detached


def _down(keep: Callable[[Backward, str], bool]) -> Change:
    """Only these lanes pass a gradient on to their input."""

    def change(kernel: Backward) -> Backward | None:
        if all(keep(kernel, lane) for lane in kernel.lanes):
            return None
        return replace(kernel, down=lambda lane, d_input: d_input if keep(kernel, lane) else d_input * 0)

    return change


add("detached-layers", "no gradient goes from a layer to the one below", _down(lambda kernel, lane: lane[:2] == "l0"))
add(
    "detached-reverse",
    "the reverse direction passes no gradient to its input",
    _down(lambda kernel, lane: not lane.endswith("_reverse")),
)
add(
    "detached-forward",
    "the forward direction passes no gradient to its input, where there is a reverse one",
    _down(lambda kernel, lane: lane.endswith("_reverse") or not kernel.config.bidirectional),
)


def _cut(keep: Callable[[int, int], bool], parts: tuple[int, ...] = (0, 1), at_start: bool = False) -> Change:
    """Steps pass no gradient on to the one before, but where it is kept: `keep(taken, steps)`.

    Args:
        parts: h (0) and c (1).
        at_start: whether the initial state gets none either.
    """

    def cut(lane: str, taken: int, steps: int, d_state: State) -> State:
        if keep(taken, steps) or (taken < 0 and not at_start):
            return d_state
        return tuple(part * 0 if k in parts else part for k, part in enumerate(d_state))

    def change(kernel: Backward) -> Backward | None:
        if len(parts) == 1 and len(kernel.hx) == 1:
            return None
        return replace(kernel, cut=cut)

    return change


add("detached-steps", "no gradient goes from a step to the one before", _cut(lambda taken, steps: False))
add(
    "detached-steps-and-state",
    "no gradient goes from a step to the one before, nor to the initial state",
    _cut(lambda taken, steps: False, at_start=True),
)
for _part, _name in enumerate("hc"):
    add(
        f"detached-{_name}",
        f"no gradient goes through {_name} from a step to the one before",
        _cut(lambda taken, steps: False, (_part,)),
    )
add(
    "detached-after-first-step",
    "no gradient goes from the second step to the first",
    _cut(lambda taken, steps: taken != 0),
)
for _length in (2, 4, 8, 16, 32, 64):
    add(
        f"truncated-{_length}",
        f"backpropagation goes through {_length} steps at most, counted from the first",
        _cut(lambda taken, steps, length=_length: (taken + 1) % length != 0),  # type: ignore[misc]
    )
    add(
        f"truncated-{_length}-from-last",
        f"backpropagation goes through the last {_length} steps only",
        _cut(lambda taken, steps, length=_length: steps - taken - 1 != length, at_start=True),  # type: ignore[misc]
    )


# What parameters sum


def _summing(change: Callable[[Sequence[Array]], Array], starts: str = "") -> Change:
    def total(name: str, by_step: Sequence[Array]) -> Array:
        return change(by_step) if name.startswith(starts) else summed(name, by_step)

    return lambda kernel: replace(kernel, sum=total)


for _id, _words, _starts_with in (
    ("parameters", "every parameter", ""),
    ("weight_hh", "the recurrent weights", "weight_hh"),
    ("weight_ih", "the input weights", "weight_ih"),
    ("bias", "every bias", "bias"),
):
    add(
        f"{_id}-last-step-only",
        f"the gradient by {_words} counts the last step alone",
        _summing(lambda by_step: by_step[-1], _starts_with),
    )
    add(
        f"{_id}-first-step-only",
        f"the gradient by {_words} counts the first step alone",
        _summing(lambda by_step: by_step[0], _starts_with),
    )
    add(
        f"{_id}-without-last-step",
        f"the gradient by {_words} leaves the last step out",
        _summing(lambda by_step: summed("", [*by_step[:-1], 0 * by_step[-1]]), _starts_with),
    )
    add(
        f"{_id}-without-first-step",
        f"the gradient by {_words} leaves the first step out",
        _summing(lambda by_step: summed("", [0 * by_step[0], *by_step[1:]]), _starts_with),
    )


def _rows_counted(keep: Callable[[int], Array], starts: tuple[str, ...]) -> Change:
    """Parameters whose gradients count some rows alone."""

    def leave(kernel: Kernel, results: Results) -> Results:
        assert isinstance(kernel, Backward)
        assert kernel.d_output is not None
        kept = keep(kernel.rows)[:, np.newaxis]
        some = gradients_alone(
            kernel, d_output=kernel.d_output * kept, d_state=tuple(part * kept for part in kernel.d_state)
        )
        return {n: some[n] if n.startswith(starts) else a for n, a in results.items()}

    return lambda kernel: replace(kernel, leave=(*kernel.leave, leave)) if kernel.rows > 1 else None


for _id, _words, _keep_rows in (
    ("first-row-only", "counts the first row alone", lambda n: (np.arange(n) == 0).astype(float)),
    ("last-row-only", "counts the last row alone", lambda n: (np.arange(n) == n - 1).astype(float)),
    ("without-last-row", "leaves the last row out", lambda n: (np.arange(n) < n - 1).astype(float)),
):
    add(f"parameters-{_id}", f"the gradient by every parameter {_words}", _rows_counted(_keep_rows, ("weight", "bias")))
    add(f"bias-{_id}", f"the gradient by every bias {_words}", _rows_counted(_keep_rows, ("bias",)))

# Rows, columns and gates of parameters


def _last_axis(kernel: Backward, name: str, gradient: Array, change: Callable[[Array], Array]) -> Array:
    """A change of a parameter's rows, which of a bias lie along the last axis."""
    if name.startswith("bias"):
        return change(gradient.swapaxes(-1, -2)).swapaxes(-1, -2)
    return change(gradient)


def _blocks(blocks: Sequence[int | None]) -> OfOne:
    """Gates whose gradients are those of other gates, or zeros."""

    def change(kernel: Backward, name: str, gradient: Array) -> Array:
        if not gated(name):
            return gradient

        def rows(array: Array) -> Array:
            parts = [
                0 * array[..., rows_of(kernel, 0), :] if k is None else array[..., rows_of(kernel, k), :]
                for k in blocks
            ]
            return np.concatenate(parts, axis=-2)

        return _last_axis(kernel, name, gradient, rows)

    return change


def _of_kind(kind: str, change: Change) -> Change:
    return lambda kernel: change(kernel) if kernel.config.kind == kind else None


def _parameters(change: OfOne) -> Change:
    def changed(kernel: Backward) -> Backward | None:
        return of(("weight", "bias") if kernel.config.bias else ("weight",), change)(kernel)

    return changed


for _kind, _gates in NAMES.items():
    for _order in map("".join, permutations(_gates)):
        if _order != _gates:
            add(
                f"order-{_order}",
                f"the gradients of the gates are stacked in the order {', '.join(_order)} where "
                f"{', '.join(_gates)} is due",
                _of_kind(_kind, _parameters(_blocks([_gates.index(gate) for gate in _order]))),
            )
    for _number, _gate in enumerate(_gates):
        _lost = [None if k == _number else k for k in range(len(_gates))]
        add(
            f"{_kind}-{_gate}-parameters-lost",
            f"the parameters of the gate {_gate} have a gradient of zeros",
            _of_kind(_kind, _parameters(_blocks(_lost))),
        )


def _transposed(start: str) -> Change:
    """Each gate's square block of a weight's gradient, transposed."""

    def change(kernel: Backward, name: str, gradient: Array) -> Array:
        size = kernel.config.hidden_size
        if gradient.shape[-1] != size:
            return gradient
        blocks = [gradient[..., rows_of(kernel, k), :].swapaxes(-1, -2) for k in range(GATES[kernel.config.kind])]
        return np.concatenate(blocks, axis=-2)

    return of((start,), change)


def _reread(kernel: Backward, name: str, gradient: Array) -> Array:
    """The memory of the gradient, written column by column."""
    return np.swapaxes(gradient, -1, -2).reshape(gradient.shape)


for _start, _words in (("weight_hh", "the recurrent weights"), ("weight_ih", "the input weights")):
    add(f"{_start}-transposed", f"the gradient by {_words} is transposed for each gate", _transposed(_start))
    add(f"{_start}-by-columns", f"the gradient by {_words} is written column by column", of((_start,), _reread))


def _as_other(start: str, other: str) -> Change:
    """The gradient by one bias in the place of the other's."""

    def leave(kernel: Kernel, results: Results) -> Results:
        taken = {n: results[n.replace(start, other)] for n in results if n.startswith(start)}
        return results | taken

    return lambda kernel: replace(kernel, leave=(*kernel.leave, leave)) if kernel.config.bias else None


add("bias_hh-is-bias_ih", "the recurrent bias has the input bias's gradient", _as_other("bias_hh", "bias_ih"))
add("bias_ih-is-bias_hh", "the input bias has the recurrent bias's gradient", _as_other("bias_ih", "bias_hh"))

# The backward pass of the cell

CellBack = Callable[[State, State, Gates, Recurrent, Callable[..., Any]], tuple[Array, State, Factors]]


def _cell(change: CellBack, kinds: str = "lstm gru rnn") -> Change:
    """A cell whose derivative is made anew: `change(gradient, before, left, parameters, right)`."""

    def changed(kernel: Backward) -> Backward | None:
        if kernel.config.kind not in kinds.split():
            return None
        right = kernel.cell

        def backward(gradient: State, before: State, left: Gates, p: Recurrent) -> tuple[Array, State, Factors]:
            return change(gradient, before, left, p, right.backward)

        return replace(kernel, cell=Cell(right.step, backward))

    return changed


def _without(d_product: Array, gate: int, size: int) -> Array:
    kept = d_product.copy()
    kept[..., gate * size : (gate + 1) * size] = 0
    return kept


def _gate_lost(gate: int) -> CellBack:
    """One gate passes no gradient on."""

    def change(
        gradient: State, before: State, left: Gates, p: Recurrent, right: Callable[..., Any]
    ) -> tuple[Array, State, Factors]:
        d_x, d_state, factors = right(gradient, before, left, p)
        ((d_product, h), *_) = factors["weight_hh"]
        size = d_x.shape[-1] // (p.w_hh.shape[0] // (left["c"] if "c" in left else left["h"]).shape[-1])
        kept = _without(d_product, gate, size)
        back = d_state[0] - (d_product - kept) @ p.w_hh
        return _without(d_x, gate, size), (back, *d_state[1:]), factors | {"weight_hh": [(kept, h)]}

    return change


for _kind, _gates in NAMES.items():
    for _number, _gate in enumerate(_gates):
        add(
            f"{_kind}-{_gate}-gate-lost",
            f"the gate {_gate} passes no gradient on",
            _cell(_gate_lost(_number), _kind),
        )


def _with_recurrent(change: Callable[[Array], Array]) -> CellBack:
    """The derivative with other recurrent weights."""
    return lambda gradient, before, left, p, right: right(gradient, before, left, p._replace(w_hh=change(p.w_hh)))


def _each_transposed(w: Array) -> Array:
    size = w.shape[-1]
    if w.shape[0] % size:
        return w
    return np.concatenate([w[k : k + size].swapaxes(-1, -2) for k in range(0, w.shape[0], size)])


add(
    "back-through-transposed-weights",
    "the backward pass goes through recurrent weights that are transposed for each gate",
    lambda kernel: None if kernel.config.proj_size else _cell(_with_recurrent(_each_transposed))(kernel),
)
add(
    "back-through-no-weights",
    "the backward pass leaves the recurrent product out",
    _cell(_with_recurrent(np.zeros_like)),
)
add(
    "cell-not-carried",
    "the gradient by the cell state does not go through the forget gate to the step before",
    _cell(
        lambda gradient, before, left, p, right: (lambda d_x, d, factors: (d_x, (d[0], d[1] * 0), factors))(
            *right(gradient, before, left, p)
        ),
        "lstm",
    ),
)
add(
    "state-not-carried",
    "the gradient by the state does not go directly, times z, to the step before",
    _cell(
        lambda gradient, before, left, p, right: (
            lambda d_x, d, factors: (d_x, (d[0] - gradient[0] * left["z"],), factors)
        )(*right(gradient, before, left, p)),
        "gru",
    ),
)


def _residual_lost(
    gradient: State, before: State, left: Gates, p: Recurrent, right: Callable[..., Any]
) -> tuple[Array, State, Factors]:
    """The gradient by the state before without what residual hands straight on."""
    d_x, d_state, factors = right(gradient, before, left, p)
    return d_x, (d_state[0] - d_x,), factors


add(
    "residual-lost",
    "the gradient by the state does not go directly, as residual adds it, to the step before",
    lambda kernel: _cell(_residual_lost)(kernel) if kernel.config.residual else None,
)


def _new_state_in_factors(
    gradient: State, before: State, left: Gates, p: Recurrent, right: Callable[..., Any]
) -> tuple[Array, State, Factors]:
    """Recurrent weights whose gradient is made of the state after the step."""
    d_x, d_state, factors = right(gradient, before, left, p)
    return d_x, d_state, factors | {"weight_hh": [(d, left["h"]) for d, _ in factors["weight_hh"]]}


add(
    "weight_hh-from-new-state",
    "the gradient by the recurrent weights is made of the state after each step, not before it",
    _cell(_new_state_in_factors),
)


def _reset_left_out(
    gradient: State, before: State, left: Gates, p: Recurrent, right: Callable[..., Any]
) -> tuple[Array, State, Factors]:
    """A GRU whose candidate's recurrent product gets its gradient without the reset gate."""
    d_x, d_state, factors = right(gradient, before, left, p)
    ((d_product, h),) = factors["weight_hh"]
    return d_x, (d_state[0] + (d_x - d_product) @ p.w_hh,), {"weight_hh": [(d_x, h)]}


add(
    "reset-left-out",
    "the gradient of the candidate's recurrent product is not multiplied by the reset gate",
    _cell(_reset_left_out, "gru"),
)


def _behind(change: Callable[[str, Mapping[str, Array], Backward], Array]) -> Change:
    """A backward pass through other parameters than the forward pass."""
    return lambda kernel: replace(
        kernel, behind={name: change(name, kernel.parameters, kernel) for name in kernel.parameters}
    )


add(
    "back-through-forward-weights",
    "the backward pass of the reverse direction goes through the forward direction's weights",
    lambda kernel: (
        _behind(lambda name, parameters, kernel: parameters[name.removesuffix("_reverse")])(kernel)
        if kernel.config.bidirectional
        else None
    ),
)
