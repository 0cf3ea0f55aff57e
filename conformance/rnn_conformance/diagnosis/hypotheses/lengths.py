"""Lengths: padding read, and rows that are not put back where they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from rnn_reference.cells import Array, State

from rnn_conformance.diagnosis.hypotheses.base import Change, add
from rnn_conformance.diagnosis.kernel import Kernel, Lengths, Results


def uneven(change: Change) -> Change:
    """The change of a kernel that is given lengths of which some are shorter than the sequence."""

    def changed(kernel: Kernel) -> Kernel | None:
        lengths = kernel.lengths
        return None if lengths is None or min(lengths) == kernel.steps else change(kernel)

    return changed


def running(kernel: Kernel) -> Array:
    """1 at the steps of each row and 0 beyond its end: (steps, 1, batch, 1)."""
    lengths = np.array(kernel.lengths or [kernel.steps] * kernel.rows)
    return (np.arange(kernel.steps)[:, np.newaxis] < lengths).astype(float)[:, np.newaxis, :, np.newaxis]


def _padding_read(lanes: str, zeros: bool, cleared: bool) -> Change:
    """Lanes whose names end so go on through the padding."""

    def change(kernel: Kernel) -> Kernel:
        def keep_to(lane: str, lengths: Lengths) -> Lengths:
            return None if lane.endswith(lanes) else lengths

        def after(lane: str, x: Array, state: State, output: Array, final: State) -> tuple[Array, State]:
            return output * running(kernel), final

        x = kernel.x * running(kernel) if zeros else kernel.x
        wired = replace(kernel, x=x.view(type(kernel.x)), keep_to=keep_to)
        return replace(wired, after=after) if cleared else wired

    return uneven(change)


for _lanes, _who, _verb in (
    ("", "shorter rows", "go on through the padding"),
    ("_reverse", "the reverse direction of shorter rows", "starts in the padding"),
):
    for _zeros, _id, _as in ((False, "", ""), (True, "-as-zeros", ", read as zeros")):
        for _clear, _ending, _out in ((True, "", ""), (False, "-and-written", ", and write their output there")):
            add(
                f"lengths.padding-read{_lanes.replace('_', '-')}{_id}{_ending}",
                f"{_who} {_verb}{_as}{_out}",
                _padding_read(_lanes, _zeros, _clear),
            )


def _kept_to(lengths: Callable[[Kernel], list[int]], zeros: bool = False) -> Change:
    """Other lengths than those given. What is written beyond the ends is dropped."""

    def change(kernel: Kernel) -> Kernel:
        def after(lane: str, x: Array, state: State, output: Array, final: State) -> tuple[Array, State]:
            return output * running(kernel), final

        x = (kernel.x * running(kernel)).view(type(kernel.x)) if zeros else kernel.x
        return replace(kernel, x=x, lengths=tuple(lengths(kernel)), after=after)

    return uneven(change)


def _given(kernel: Kernel) -> list[int]:
    return list(kernel.lengths or ())


def _one_more(kernel: Kernel) -> list[int]:
    return [min(n + 1, kernel.steps) for n in _given(kernel)]


add("lengths.one-step-more", "shorter rows take one step too many", _kept_to(_one_more))
add(
    "lengths.one-step-more-as-zeros",
    "shorter rows take one step too many, of zeros",
    _kept_to(_one_more, zeros=True),
)
add(
    "lengths.one-step-less",
    "shorter rows take one step too few",
    _kept_to(lambda kernel: [n - (n < kernel.steps) for n in _given(kernel)]),
)
add("lengths.of-first-row", "every row has the first row's length", _kept_to(lambda k: _given(k)[:1] * k.rows))
add("lengths.shortest", "every row ends with the shortest", _kept_to(lambda k: [min(_given(k))] * k.rows))
add("lengths.reversed", "the lengths are those of the rows in reverse", _kept_to(lambda k: _given(k)[::-1]))
add(
    "lengths.sorted",
    "the lengths are sorted, and the rows are not",
    _kept_to(lambda k: sorted(_given(k), reverse=True)),
)


@uneven
def _next_row_longer(kernel: Kernel) -> Kernel:
    """In the order of their lengths, each row runs as long as the one before it."""
    order = _descending(kernel)
    longer = np.array(_given(kernel))
    longer[order[1:]] = longer[order[:-1]]
    return replace(kernel, lengths=tuple(int(n) for n in longer))


def _held(kernel: Kernel, results: Results) -> Results:
    """Beyond its end, each row repeats its last output."""
    output = results["output"].copy()
    for row, length in enumerate(_given(kernel)):
        output[length:, ..., row, :] = output[length - 1 : length, ..., row, :]
    return results | {"output": output}


def _descending(kernel: Kernel) -> Array:
    """The rows from the longest to the shortest."""
    return np.argsort([-n for n in _given(kernel)], kind="stable")


def _resorted(names: tuple[str, ...], back: bool) -> Change:
    """Results whose rows stay in the order of the sorted lengths, or are put back the wrong way."""

    def leave(kernel: Kernel, results: Results) -> Results:
        order = _descending(kernel)
        at = order if not back else order[order]
        return {name: array[..., at, :] if name in names else array for name, array in results.items()}

    return uneven(lambda kernel: replace(kernel, leave=(*kernel.leave, leave)))


add(
    "lengths.output-held",
    "beyond its end each row repeats its last output, where zeros are due",
    uneven(lambda kernel: replace(kernel, leave=(*kernel.leave, _held))),
)
_final = ("h_n", "c_n")
for _names, _id, _what in (
    (_final, "final", "the final states"),
    (("output",), "output", "the output"),
    (("output", *_final), "results", "output and final states"),
):
    add(f"lengths.{_id}-not-unsorted", f"the rows of {_what} stay sorted by length", _resorted(_names, False))
    add(f"lengths.{_id}-sorted-twice", f"the rows of {_what} are sorted once more, not back", _resorted(_names, True))


@uneven
def _states_not_sorted(kernel: Kernel) -> Kernel | None:
    """Rows sorted by length meet the initial states of unsorted ones."""
    back = np.argsort(_descending(kernel))
    return replace(kernel, hx=tuple(part[..., back, :] for part in kernel.hx)) if kernel.with_hx else None


add(
    "lengths.initial-states-not-sorted",
    "the initial states are not brought into the order of the sorted lengths",
    _states_not_sorted,
)
add("lengths.of-longer-neighbour", "sorted by length, each row runs as long as the one before it", _next_row_longer)


def _final_zeros(kernel: Kernel, results: Results) -> Results:
    """The final state of the last layer is what stands at the last padded step."""
    kept = np.array([float(n == kernel.steps) for n in _given(kernel)])[:, np.newaxis]
    forward = np.array([not lane.endswith("_reverse") for lane in kernel.lanes])
    factor = np.where(forward[:, np.newaxis, np.newaxis, np.newaxis], kept, 1.0)
    return results | {"h_n": results["h_n"] * factor}


add(
    "lengths.h_n-of-all-layers-from-last-padded-step",
    "every layer's h_n is its output of the last step of the padded batch: zeros for shorter rows",
    uneven(lambda kernel: replace(kernel, leave=(*kernel.leave, _final_zeros))),
)
