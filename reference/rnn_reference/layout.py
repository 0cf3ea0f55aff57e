"""How arrays lie: the caller's layout against the inner one, and rows of equal length."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnn_reference.cells import Array, State


class Layout(NamedTuple):
    """How the caller's sequences and states lie. Inside, all have a batch, and sequences are time-major."""

    unbatched: bool
    batch_first: bool

    def inward(self, sequence: Array) -> Array:
        """The caller's sequence as (T, ..., B, features)."""
        return self.inward_state(sequence) if self.unbatched else self._swapped(sequence)

    def outward(self, sequence: Array) -> Array:
        """A sequence (T, ..., B, features) as the caller's."""
        return self.outward_state(sequence) if self.unbatched else self._swapped(sequence)

    def inward_state(self, part: Array) -> Array:
        """The caller's h or c as (lanes, ..., B, features)."""
        return part[..., np.newaxis, :] if self.unbatched else part

    def outward_state(self, part: Array) -> Array:
        """An h or c of shape (lanes, ..., B, features) as the caller's."""
        return part[..., 0, :] if self.unbatched else part

    def _swapped(self, sequence: Array) -> Array:
        return sequence.swapaxes(0, -2) if self.batch_first else sequence


Group = tuple[int, Any]  # a length, and which rows have it
Groups = list[Group]


def groups_by_length(lengths: Sequence[int] | None, x: Array, layout: Layout) -> Groups:
    """The rows of each length, from the shortest to the longest; all of them where no lengths are given."""
    steps, batch = x.shape[0], x.shape[-2]
    if lengths is None:
        return [(steps, slice(None))]
    if layout.unbatched:
        raise ValueError("lengths need a batch; unbatched input has one sequence, of the length that it has")
    if len(lengths) != batch or not all(isinstance(n, int | np.integer) and 0 <= n <= steps for n in lengths):
        raise ValueError(f"lengths must be {batch} integers from 0 to {steps}, not {list(lengths)}")
    groups: Groups = [(n, np.flatnonzero(np.equal(lengths, n))) for n in sorted(set(lengths))]
    return groups or [(steps, slice(None))]


def part_of(
    group: Group, x: Array, state: State, masks: Sequence[Array] | None = None
) -> tuple[Array, State, list[Array] | None]:
    """Sequences, state and masks of the rows of one group, up to their length."""
    length, rows = group
    some = None if masks is None else [mask[:length, ..., rows, :] for mask in masks]
    return x[:length, ..., rows, :], tuple(part[..., rows, :] for part in state), some


def merged(rows: Sequence[Any], parts: Sequence[Array | None], steps: int, batch: int) -> Array:
    """The parts of groups of rows in one batch, with zeros beyond their ends. A part of no steps may be None."""
    last = parts[-1]
    assert last is not None
    whole = np.zeros_like(last, shape=(steps, *last.shape[1:-2], batch, last.shape[-1]))
    for index, part in zip(rows, parts, strict=True):
        if part is not None:
            whole[: len(part), ..., index, :] = part
    return whole
