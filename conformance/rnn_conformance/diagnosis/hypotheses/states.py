"""States: ignored, shared, in another order, or from the wrong place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from rnn_reference.cells import Array

from rnn_conformance.diagnosis.hypotheses.base import Change, add, mistake, on_results, tuned
from rnn_conformance.diagnosis.kernel import Kernel, Results

Part = Callable[[Kernel, Array], Array]  # of one part of the state, (lanes, runs, batch, features)


def initial(change: Part, only: int | None = None) -> Change:
    """The kernel with another initial state: h (0), c (1) or both."""

    def changed(kernel: Kernel) -> Kernel | None:
        if not kernel.with_hx or (only is not None and len(kernel.hx) == 1):
            return None
        parts = [change(kernel, p) if only in (None, k) else p for k, p in enumerate(kernel.hx)]
        return replace(kernel, hx=tuple(parts))

    return changed


def final(change: Part, names: tuple[str, ...] = ("h_n", "c_n")) -> Change:
    """The kernel with another final state."""

    def changed(kernel: Kernel, results: Results) -> Results:
        return {name: change(kernel, a) if name in names else a for name, a in results.items()}

    return lambda kernel: on_results(changed)(kernel) if len(names) == 2 or len(kernel.hx) == 2 else None


def lanes_kept(keep: Callable[[str, int], bool]) -> Part:
    """Zeros but for the lanes that are kept, by their name and number."""

    def change(kernel: Kernel, part: Array) -> Array:
        kept = np.array([keep(lane, k) for k, lane in enumerate(kernel.lanes)])
        return np.where(kept.reshape(-1, *[1] * (part.ndim - 1)), part, 0 * part).view(type(part))

    return change


def lanes_taken(order: Callable[[Kernel], list[int]]) -> Part:
    """Each lane with the state of the lane of this number."""
    return lambda kernel, part: part[order(kernel)]


def by_direction(kernel: Kernel) -> list[int]:
    """The number of each lane where directions come first and layers second."""
    layers, directions = kernel.config.num_layers, kernel.config.num_directions
    return [direction * layers + layer for layer in range(layers) for direction in range(directions)]


def from_direction_major(kernel: Kernel) -> list[int]:
    """The inverse of `by_direction`."""
    return [int(k) for k in np.argsort(by_direction(kernel))]


def of_partner(kernel: Kernel) -> list[int]:
    """The other direction of the same layer."""
    return (
        [k ^ 1 for k in range(kernel.config.lanes)] if kernel.config.bidirectional else list(range(kernel.config.lanes))
    )


def first_direction(kernel: Kernel) -> list[int]:
    """The forward direction of the same layer."""
    return [k - k % kernel.config.num_directions for k in range(kernel.config.lanes)]


def first_layer(kernel: Kernel) -> list[int]:
    """The same direction of the first layer."""
    return [k % kernel.config.num_directions for k in range(kernel.config.lanes)]


def layer_below(kernel: Kernel) -> list[int]:
    """The same direction of the layer below."""
    return [max(k - kernel.config.num_directions, k % kernel.config.num_directions) for k in range(kernel.config.lanes)]


def layers_reversed(kernel: Kernel) -> list[int]:
    """Layers from the last to the first."""
    lanes = np.arange(kernel.config.lanes).reshape(kernel.config.num_layers, -1)
    return [int(k) for k in lanes[::-1].ravel()]


def as_batch_first(kernel: Kernel, part: Array) -> Array:
    """The memory of (lanes, batch, features) read as (batch, lanes, features)."""
    lanes, runs, batch, features = part.shape
    return part.swapaxes(0, 1).reshape(runs, batch, lanes, features).transpose(2, 0, 1, 3)


def to_batch_first(kernel: Kernel, part: Array) -> Array:
    """The memory of (batch, lanes, features) where (lanes, batch, features) is due."""
    lanes, runs, batch, features = part.shape
    return part.transpose(1, 2, 0, 3).reshape(runs, lanes, batch, features).swapaxes(0, 1)


def square_transposed(kernel: Kernel, part: Array) -> Array:
    """Rows and units exchanged, where there are as many."""
    return part.swapaxes(-1, -2) if part.shape[-1] == part.shape[-2] else part


add("states.ignored", "the initial state is ignored", initial(lambda kernel, part: part * 0))
add("states.h-ignored", "h_0 is ignored", initial(lambda kernel, part: part * 0, 0))
add("states.c-ignored", "c_0 is ignored", initial(lambda kernel, part: part * 0, 1))
for _only, _id, _name in ((None, "", "initial state"), (0, "h-", "h_0"), (1, "c-", "c_0")):
    for _lanes, _what, _keep in (
        ("reverse", "the reverse direction's", lambda lane, k: not lane.endswith("reverse")),
        ("forward", "the forward direction's", lambda lane, k: lane.endswith("reverse")),
        ("upper", "the upper layers'", lambda lane, k: lane.startswith("l0")),
        ("first", "the first layer's", lambda lane, k: not lane.startswith("l0")),
    ):
        add(
            f"states.{_id}ignored-{_lanes}",
            f"{_what} {_name} is ignored",
            initial(lanes_kept(_keep), _only),
        )
    for _shared, _what, _order in (
        ("shared-by-layers", "every layer starts from the first layer's {}", first_layer),
        ("shared-by-directions", "both directions start from the forward direction's {}", first_direction),
        ("of-other-direction", "each direction starts from the other's {}", of_partner),
        ("of-layer-below", "each layer starts from the {} of the layer below", layer_below),
        ("layers-reversed", "the layers' {} is taken from the last to the first", layers_reversed),
        ("direction-major", "the lanes of the {} are read with all layers of one direction first", by_direction),
    ):
        add(f"states.{_id}{_shared}", _what.format(_name), initial(lanes_taken(_order), _only))
add(
    "states.read-batch-first",
    "the initial state is read as (batch, lanes, features), as if batch_first were about it too",
    initial(as_batch_first),
)
add(
    "states.square-transposed",
    "a state of as many rows as units is transposed",
    initial(square_transposed),
)
add(
    "states.first-row-for-all",
    "every row starts from the first row's state",
    initial(lambda kernel, part: part[..., np.zeros(part.shape[-2], int), :]),
)
add(
    "states.mean-of-rows",
    "every row starts from the mean of all rows' states",
    initial(lambda kernel, part: 0 * part + part.mean(-2, keepdims=True)),
)
add(
    "states.rows-reversed",
    "the rows of the initial state are reversed",
    initial(lambda kernel, part: part[..., ::-1, :]),
)
add(
    "states.of-next-row",
    "each row starts from the next row's state",
    initial(lambda kernel, part: np.roll(part, -1, axis=-2)),
)
add(
    "states.of-previous-row",
    "each row starts from the previous row's state",
    initial(lambda kernel, part: np.roll(part, 1, axis=-2)),
)


def _default(kernel: Kernel, amount: float) -> Kernel | None:
    if kernel.with_hx:
        return None
    return replace(kernel, hx=tuple(np.full_like(part, amount) for part in kernel.hx))


add("states.default-constant", "a state that is left out is taken as {amount}", tuned(_default, 0.1), tuned=True)


@mistake("states.h-and-c-swapped", "h_0 and c_0 are swapped")
def _swapped(kernel: Kernel) -> Kernel | None:
    same = len(kernel.hx) == 2 and kernel.hx[0].shape == kernel.hx[1].shape
    return replace(kernel, hx=kernel.hx[::-1]) if same and kernel.with_hx else None


@mistake("states.c-from-h", "c_0 is taken from h_0")
def _c_from_h(kernel: Kernel) -> Kernel | None:
    same = len(kernel.hx) == 2 and kernel.hx[0].shape == kernel.hx[1].shape
    return replace(kernel, hx=(kernel.hx[0],) * 2) if same and kernel.with_hx else None


for _names, _id, _name in (
    (("h_n", "c_n"), "final", "final state"),
    (("h_n",), "h_n", "h_n"),
    (("c_n",), "c_n", "c_n"),
):
    for _what, _words, _change in (
        ("zero", "the {} is zeros", lambda kernel, part: part * 0),
        ("of-other-direction", "the {} has the directions of each layer swapped", lanes_taken(of_partner)),
        ("layers-reversed", "the layers of the {} come from the last to the first", lanes_taken(layers_reversed)),
        ("lanes-reversed", "the lanes of the {} come in reverse order", lambda kernel, part: part[::-1]),
        ("direction-major", "the {} has all layers of one direction first", lanes_taken(from_direction_major)),
        (
            "of-last-layer",
            "every layer's {} is the last layer's",
            lanes_taken(
                lambda kernel: list(layers_reversed(kernel)[: kernel.config.num_directions]) * kernel.config.num_layers
            ),
        ),
        ("of-first-layer", "every layer's {} is the first layer's", lanes_taken(first_layer)),
        ("written-batch-first", "the {} is written as (batch, lanes, features)", to_batch_first),
        ("rows-reversed", "the rows of the {} are reversed", lambda kernel, part: part[..., ::-1, :]),
        ("square-transposed", "a {} of as many rows as units is transposed", square_transposed),
    ):
        add(f"states.{_id}-{_what}", _words.format(_name), final(_change, _names))


def _initial_returned(names: tuple[str, ...]) -> Change:
    """The initial state in the place of these final ones."""

    def change(kernel: Kernel, results: Results) -> Results:
        old = dict(zip(("h_n", "c_n"), kernel.hx, strict=False))
        return results | {name: old[name] + 0 * results[name] for name in names if name in old}

    return lambda kernel: on_results(change)(kernel) if len(names) == 2 or len(kernel.hx) == 2 else None


add("states.final-is-initial", "the initial state is returned as the final one", _initial_returned(("h_n", "c_n")))
add("states.h_n-is-initial", "h_0 is returned as h_n", _initial_returned(("h_n",)))
add("states.c_n-is-initial", "c_0 is returned as c_n", _initial_returned(("c_n",)))


def _exchanged(new: Callable[[Results], Results]) -> Change:
    """Other final states of an LSTM whose h and c have one size."""

    def change(kernel: Kernel, results: Results) -> Results:
        return results | new(results)

    return lambda kernel: on_results(change)(kernel) if len(kernel.hx) == 2 and not kernel.config.proj_size else None


add("states.h_n-and-c_n-swapped", "h_n and c_n are swapped", _exchanged(lambda r: {"h_n": r["c_n"], "c_n": r["h_n"]}))
add("states.h_n-is-c_n", "c_n is returned as h_n", _exchanged(lambda r: {"h_n": r["c_n"]}))
add("states.c_n-is-h_n", "h_n is returned as c_n", _exchanged(lambda r: {"c_n": r["h_n"]}))
add("states.c_n-through-tanh", "c_n is tanh(c)", _exchanged(lambda r: {"c_n": np.tanh(r["c_n"])}))


def final_from_output(step: Callable[[Kernel, int, int], int]) -> Change:
    """h_n of the last layer is the output of another step: `step(kernel, direction, length)`."""

    def change(kernel: Kernel, results: Results) -> Results:
        size, directions = kernel.config.state_sizes[0], kernel.config.num_directions
        if directions * size != kernel.config.output_size:
            return results
        h_n = results["h_n"].copy()
        lengths = kernel.lengths or [kernel.steps] * kernel.rows
        for row, length in enumerate(lengths):
            for direction in range(directions):
                at = step(kernel, direction, length)
                part = results["output"][at][..., row, direction * size : (direction + 1) * size]
                h_n[kernel.config.lanes - directions + direction][..., row, :] = part
        return results | {"h_n": h_n}

    return on_results(change)


def ends(kernel: Kernel, direction: int, length: int) -> int:
    """The step after which a lane's state is the final one."""
    return 0 if direction else length - 1


add(
    "states.reverse-h_n-from-last-step",
    "the reverse direction's h_n is the output of the last step: from the wrong end",
    final_from_output(lambda kernel, direction, length: length - 1),
)
add(
    "states.forward-h_n-from-first-step",
    "the forward direction's h_n is the output of the first step: from the wrong end",
    final_from_output(lambda kernel, direction, length: 0),
)
add(
    "states.h_n-from-wrong-ends",
    "h_n of both directions is the output of the wrong end",
    final_from_output(lambda kernel, direction, length: length - 1 if direction else 0),
)
add(
    "states.h_n-one-step-early",
    "h_n is the output of the step before the last",
    final_from_output(lambda kernel, direction, length: min(1, length - 1) if direction else max(length - 2, 0)),
)
add(
    "states.h_n-from-last-padded-step",
    "h_n is the output of the last step of the padded batch: zeros for shorter rows",
    final_from_output(lambda kernel, direction, length: 0 if direction else kernel.steps - 1),
)
add(
    "states.both-h_n-from-last-padded-step",
    "h_n of both directions is the output of the last step of the padded batch",
    final_from_output(lambda kernel, direction, length: kernel.steps - 1),
)
