"""Weights and biases: lost, doubled, transposed, or those of another direction or layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from rnn_reference.cells import Array
from rnn_reference.parameters import GATES

from rnn_conformance.diagnosis.hypotheses.base import Change, add, each, gated, mistake, rows_of, tuned, with_parameters
from rnn_conformance.diagnosis.kernel import Kernel


def times(kernel: Kernel, start: str, factor: float) -> Kernel | None:
    """The kernel with parameters of this name times a number."""
    return each(kernel, start, lambda array: array * factor)


def larger(kernel: Kernel, amount: float, start: str) -> Kernel | None:
    """The kernel with parameters of this name times 1 + `amount`."""
    return times(kernel, start, 1 + amount)


for _start, _words in (("bias_ih", "the input bias"), ("bias_hh", "the recurrent bias"), ("bias", "every bias")):
    for _factor, _id, _verb in ((0.0, "lost", "is left out"), (2.0, "doubled", "is added twice")):
        add(
            f"weights.{_start}-{_id}",
            f"{_words} {_verb}",
            partial(times, start=_start, factor=_factor),
        )


for _start, _words in (
    ("weight_ih", "the input's product"),
    ("weight_hh", "the recurrent product"),
    ("weight_hr", "the projection"),
    ("bias", "every bias"),
):
    add(
        f"weights.{_start}-scaled",
        f"{_words} is too large by the factor 1 + {{amount}}",
        tuned(partial(larger, start=_start), 0.01),
        tuned=True,
    )


def partner(first: str, second: str) -> Change:
    """Where a bias of one kind is due, that of the other is used."""

    def change(kernel: Kernel) -> Kernel | None:
        p = kernel.parameters
        return with_parameters(kernel, {n: p[n.replace(first, second)] for n in p if n.startswith(first)})

    return change


add("weights.input-bias-for-both", "the input bias is used for the recurrent one too", partner("bias_hh", "bias_ih"))
add("weights.recurrent-bias-for-both", "the recurrent bias is used for the input's too", partner("bias_ih", "bias_hh"))


@mistake("weights.biases-swapped", "input bias and recurrent bias are swapped")
def _biases_swapped(kernel: Kernel) -> Kernel | None:
    p = kernel.parameters
    swapped = {n: p[n.replace("_ih", "_hh")] for n in p if n.startswith("bias_ih")}
    return with_parameters(kernel, swapped | {n: p[n.replace("_hh", "_ih")] for n in p if n.startswith("bias_hh")})


def _bias_of_gate(kernel: Kernel, start: str, gate: int, but: int = -1) -> Kernel | None:
    """Every gate with the bias of one, but perhaps another."""
    count = GATES[kernel.config.kind]
    if gate >= count or count == 1:
        return None
    at = [k if k == but else gate for k in range(count)]
    return each(kernel, start, lambda b: np.concatenate([b[rows_of(kernel, k)] for k in at]))


for _start, _words in (("bias_ih", "input"), ("bias_hh", "recurrent")):
    for _gate, _word in enumerate(("first", "second", "third", "fourth")):
        add(
            f"weights.{_start}-of-{_word}-gate",
            f"every gate is given the {_words} bias of the {_word}",
            partial(_bias_of_gate, start=_start, gate=_gate),
        )
        if _gate != 2:
            add(
                f"weights.{_start}-of-{_word}-gate-but-candidate",
                f"every gate but the candidate is given the {_words} bias of the {_word}",
                partial(_bias_of_gate, start=_start, gate=_gate, but=2),
            )


def _transposed_gates(kernel: Kernel, start: str) -> Kernel | None:
    """Each gate's block of a weight transposed, where it is square."""
    size = kernel.config.hidden_size
    changed = {}
    for name, array in kernel.parameters.items():
        if name.startswith(start) and gated(name) and array.shape[1] == size:
            blocks = [array[rows_of(kernel, k)].T for k in range(GATES[kernel.config.kind])]
            changed[name] = np.concatenate(blocks)
    return with_parameters(kernel, changed)


def _reread(array: Array) -> Array:
    """The same memory read as if it lay column by column."""
    return array.ravel().reshape(array.shape[::-1]).T


add(
    "weights.recurrent-transposed",
    "the recurrent weights of each gate are transposed",
    lambda kernel: _transposed_gates(kernel, "weight_hh"),
)
add(
    "weights.input-transposed",
    "the input weights of each gate are transposed, where they are square",
    lambda kernel: _transposed_gates(kernel, "weight_ih"),
)
add(
    "weights.recurrent-by-columns",
    "the recurrent weights are read column by column",
    lambda kernel: each(kernel, "weight_hh", _reread),
)
add(
    "weights.input-by-columns",
    "the input weights are read column by column",
    lambda kernel: each(kernel, "weight_ih", _reread),
)
for _gate, _word in enumerate(("first", "second", "third", "fourth")):

    def _one_transposed(kernel: Kernel, gate: int = _gate) -> Kernel | None:
        if gate >= GATES[kernel.config.kind] or GATES[kernel.config.kind] == 1 or kernel.config.proj_size:
            return None

        def change(array: Array) -> Array:
            changed = array.copy()
            changed[rows_of(kernel, gate)] = array[rows_of(kernel, gate)].T
            return changed

        return each(kernel, "weight_hh", change)

    add(
        f"weights.recurrent-transposed-{_word}-gate",
        f"the recurrent weights of the {_word} gate are transposed",
        _one_transposed,
    )


def of_other(other: Callable[[Kernel, int, int], tuple[int, int]], start: str = "") -> Change:
    """Lanes with the parameters of others: `other(kernel, layer, direction)` says whose, where the shapes agree."""

    def change(kernel: Kernel) -> Kernel | None:
        changed = {}
        for layer in range(kernel.config.num_layers):
            for direction in range(kernel.config.num_directions):
                at, source = _ending(layer, direction), _ending(*other(kernel, layer, direction))
                for name, array in kernel.parameters.items():
                    if name.endswith(at) and name.startswith(start) and at != source:
                        theirs = kernel.parameters[name.removesuffix(at) + source]
                        if theirs.shape == array.shape:
                            changed[name] = theirs
        return with_parameters(kernel, changed)

    return change


def _ending(layer: int, direction: int) -> str:
    return f"_l{layer}" + "_reverse" * direction


for _start, _words in (
    ("", "weights"),
    ("weight_hh", "recurrent weights"),
    ("weight_ih", "input weights"),
    ("bias", "biases"),
    ("weight_hr", "projection"),
):
    _id = _start.replace("_", "-") or "weights"
    add(
        f"weights.{_id}-of-forward",
        f"the reverse direction uses the forward direction's {_words}",
        of_other(lambda kernel, layer, direction: (layer, 0), _start),
    )
    add(
        f"weights.{_id}-of-reverse",
        f"the forward direction uses the reverse direction's {_words}",
        of_other(lambda kernel, layer, direction: (layer, kernel.config.num_directions - 1), _start),
    )
    add(
        f"weights.{_id}-of-other-direction",
        f"each direction uses the other's {_words}",
        of_other(lambda kernel, layer, direction: (layer, kernel.config.num_directions - 1 - direction), _start),
    )
    add(
        f"weights.{_id}-of-first-layer",
        f"every layer uses the first layer's {_words}, where the shapes agree",
        of_other(lambda kernel, layer, direction: (0, direction), _start),
    )
    add(
        f"weights.{_id}-of-second-layer",
        f"every layer above the second uses the second layer's {_words}",
        of_other(lambda kernel, layer, direction: (min(layer, 1), direction), _start),
    )
    add(
        f"weights.{_id}-of-layer-below",
        f"each layer uses the {_words} of the layer below, where the shapes agree",
        of_other(lambda kernel, layer, direction: (max(layer - 1, 0), direction), _start),
    )
    add(
        f"weights.{_id}-of-last-layer",
        f"every layer uses the last layer's {_words}, where the shapes agree",
        of_other(lambda kernel, layer, direction: (kernel.config.num_layers - 1, direction), _start),
    )


@mistake("weights.lanes-by-direction", "parameters are taken layer by layer of one direction, then of the other")
def _by_direction(kernel: Kernel) -> Kernel | None:
    layers, directions = kernel.config.num_layers, kernel.config.num_directions

    def other(kernel: Kernel, layer: int, direction: int) -> tuple[int, int]:
        number = layer * directions + direction
        return number % layers, number // layers

    return of_other(other)(kernel)


add(
    "weights.no-recurrence",
    "the recurrent product is left out",
    lambda kernel: each(kernel, "weight_hh", lambda w: w * 0),
)
add(
    "weights.peepholes-ignored",
    "the gates do not see the cell state",
    lambda kernel: each(kernel, "peephole", np.zeros_like),
)
add("weights.no-input", "the input's product is left out", lambda kernel: each(kernel, "weight_ih", lambda w: w * 0))
add(
    "weights.recurrent-doubled",
    "the recurrent product is added twice",
    lambda kernel: each(kernel, "weight_hh", lambda w: w * 2),
)
add(
    "weights.projection-by-columns",
    "the projection's weights are read column by column: transposed",
    lambda kernel: each(kernel, "weight_hr", _reread),
)
add(
    "weights.projection-ignored",
    "the projection is left out: its first units are taken",
    lambda kernel: each(kernel, "weight_hr", lambda w: w * 0 + np.eye(*w.shape)),
)


@mistake("weights.projection-folded", "the projection adds units up in place of weighing them")
def _projection_folded(kernel: Kernel) -> Kernel | None:
    def fold(w: Array) -> Array:
        folded: Array = w * 0 + (np.arange(w.shape[1]) % w.shape[0] == np.arange(w.shape[0])[:, np.newaxis])
        return folded

    return each(kernel, "weight_hr", fold)


@mistake("weights.projection-through-tanh", "the projected output goes through tanh")
def _projection_through_tanh(kernel: Kernel) -> Kernel | None:
    if not kernel.config.proj_size:
        return None
    right = kernel.cell

    def step(x: Array, state: tuple[Array, ...], p: object) -> object:
        (h, c), gates = right.step(x, state, p)
        return (np.tanh(h), c), gates

    return replace(kernel, cell=right._replace(step=step))  # type: ignore[arg-type]


def _columns_lost(start: str, size: int) -> Change:
    """Columns beyond a multiple of `size` are not read."""

    def change(kernel: Kernel) -> Kernel | None:
        changed = {}
        for name, array in kernel.parameters.items():
            whole = array.shape[-1] // size * size
            if name.startswith(start) and 0 < whole < array.shape[-1]:
                changed[name] = np.concatenate([array[:, :whole], 0 * array[:, whole:]], axis=1)
        return with_parameters(kernel, changed)

    return change


for _start, _words in (("weight_hh", "the recurrent product"), ("weight_ih", "the input's product")):
    for _size in (64, 32, 16, 8, 4, 2):
        add(
            f"weights.{_start.replace('_', '-')}-tail-of-{_size}",
            f"{_words} does not read columns beyond a multiple of {_size}",
            _columns_lost(_start, _size),
        )

    def _last_lost(kernel: Kernel, start: str = _start) -> Kernel | None:
        last = kernel.config.hidden_size if start == "weight_hh" else kernel.config.input_size
        if last == 1:
            return None
        return each(kernel, start, lambda w: np.concatenate([w[:, :-1], 0 * w[:, -1:]], axis=1))

    add(f"weights.{_start.replace('_', '-')}-last-column-lost", f"{_words} does not read the last column", _last_lost)
