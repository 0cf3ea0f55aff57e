"""Directions and layers: how the lanes of a stack read, write and are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rnn_reference.cells import Array, State

from rnn_conformance.diagnosis.hypotheses.base import Change, add, mistake
from rnn_conformance.diagnosis.kernel import Kernel, in_order, joining, side_by_side


def as_it_lies(part: Array, lane: str) -> Array:
    """Steps from the first to the last, whatever the lane."""
    return part


def turned(part: Array, lane: str) -> Array:
    """Steps from the last to the first, whatever the lane."""
    return part[::-1]


def bidirectional(**wiring: object) -> Change:
    """The kernel wired so, where it has two directions."""
    return lambda kernel: replace(kernel, **wiring) if kernel.config.bidirectional else None  # type: ignore[arg-type]


def stacked(**wiring: object) -> Change:
    """The kernel wired so, where it has several layers."""
    return lambda kernel: replace(kernel, **wiring) if kernel.config.num_layers > 1 else None  # type: ignore[arg-type]


def both(**wiring: object) -> Change:
    """The kernel wired so, where it has several layers of two directions, side by side."""

    def change(kernel: Kernel) -> Kernel | None:
        deep = kernel.config.side_by_side and kernel.config.num_layers > 1
        return bidirectional(**wiring)(kernel) if deep else None

    return change


add(
    "directions.reverse-runs-forward",
    "the reverse direction reads the sequence forward",
    bidirectional(enter=as_it_lies, exit=as_it_lies),
)
add(
    "directions.not-flipped-back",
    "the reverse direction's output is not flipped back",
    bidirectional(exit=as_it_lies),
)
add(
    "directions.flipped-twice",
    "the reverse direction's input is flipped twice, so that it reads forward, and its output is flipped",
    bidirectional(enter=as_it_lies),
)
add(
    "directions.forward-runs-in-reverse",
    "the forward direction reads the sequence in reverse",
    lambda kernel: replace(kernel, enter=turned, exit=turned),
)


@mistake("directions.both-turned", "each direction runs the other's way")
def _both_turned(kernel: Kernel) -> Kernel | None:
    def other(part: Array, lane: str) -> Array:
        return in_order(part[::-1], lane)

    return replace(kernel, enter=other, exit=other) if kernel.config.bidirectional else None


def swapped(outputs: Sequence[Array], layer: int) -> Array:
    """Directions in the other order."""
    return side_by_side(outputs[::-1], layer)


def _joined(change: object, last_only: bool) -> Change:
    def wired(kernel: Kernel) -> Kernel | None:
        if not kernel.config.side_by_side or (last_only and kernel.config.num_layers == 1):
            return None
        last = kernel.config.num_layers - 1

        def join(outputs: Sequence[Array], layer: int) -> Array:
            right = last_only and layer != last
            joined: Array = (side_by_side if right else change)(outputs, layer)  # type: ignore[operator]
            return joined

        return replace(kernel, join=join)

    return wired


def interleaved(outputs: Sequence[Array], layer: int) -> Array:
    """Directions unit by unit."""
    size = outputs[0].shape[-1]
    return side_by_side(outputs, layer)[..., np.arange(2 * size).reshape(2, size).T.ravel()]


for _id, _words, _change in (
    ("swapped", "the directions are joined in the other order", swapped),
    ("interleaved", "the directions' units are joined one by one, not one direction after the other", interleaved),
    (
        "forward-twice",
        "the forward direction stands in the place of the reverse one too",
        lambda outputs, layer: side_by_side([outputs[0]] * 2, layer),
    ),
    (
        "reverse-twice",
        "the reverse direction stands in the place of the forward one too",
        lambda outputs, layer: side_by_side([outputs[-1]] * 2, layer),
    ),
    (
        "reverse-lost",
        "the reverse direction's half of the output is zeros",
        lambda outputs, layer: side_by_side([outputs[0], 0 * outputs[-1]], layer),
    ),
    (
        "reverse-averaged",
        "the reverse half of the output is the mean of both directions",
        lambda outputs, layer: side_by_side([outputs[0], (outputs[0] + outputs[-1]) / 2], layer),
    ),
    (
        "summed",
        "both halves of the output are the sum of both directions",
        lambda outputs, layer: side_by_side([outputs[0] + outputs[-1]] * 2, layer),
    ),
    (
        "averaged",
        "both halves of the output are the mean of both directions",
        lambda outputs, layer: side_by_side([(outputs[0] + outputs[-1]) / 2] * 2, layer),
    ),
):
    add(f"directions.{_id}", _words, _joined(_change, last_only=False))
    add(f"directions.{_id}-at-the-end", f"{_words}, in the last layer alone", _joined(_change, last_only=True))


def _merged(merge_mode: str) -> Change:
    def change(kernel: Kernel) -> Kernel | None:
        if not kernel.config.bidirectional or kernel.config.merge_mode in ("concat", merge_mode):
            return None
        return replace(kernel, join=joining(merge_mode))

    return change


for _mode, _words in {
    "sum": "the directions are added",
    "mul": "the directions are multiplied",
    "ave": "the mean of both directions is taken",
}.items():
    add(f"directions.merged-by-{_mode}", f"{_words}, where merge_mode says otherwise", _merged(_mode))


def halves(below: Array) -> tuple[Array, Array]:
    """The directions of a layer's output."""
    size = below.shape[-1] // 2
    return below[..., :size], below[..., size:]


def _fed(*take: int | None) -> Change:
    """Upper layers are fed these directions side by side, None for zeros."""

    def feed(below: Array, raw: Array, layer: int) -> Array:
        parts = halves(below)
        return np.concatenate([0 * parts[0] if k is None else parts[k] for k in take], axis=-1)

    return both(feed=feed)


add("layers.fed-forward-only", "upper layers are fed zeros for the reverse direction", _fed(0, None))
add("layers.fed-reverse-only", "upper layers are fed zeros for the forward direction", _fed(None, 1))
add("layers.fed-forward-twice", "upper layers are fed the forward direction alone, twice", _fed(0, 0))
add("layers.fed-reverse-twice", "upper layers are fed the reverse direction alone, twice", _fed(1, 1))
add("layers.fed-swapped", "upper layers are fed the directions in the other order", _fed(1, 0))


@mistake("layers.third-fed-swapped", "the third layer is fed the directions in the other order")
def _third_fed_swapped(kernel: Kernel) -> Kernel | None:
    def feed(below: Array, raw: Array, layer: int) -> Array:
        return np.concatenate(halves(below)[::-1], axis=-1) if layer == 2 else below

    deep = kernel.config.side_by_side and kernel.config.num_layers > 2
    return replace(kernel, feed=feed) if deep else None


def _fed_raw(every: bool) -> Change:
    """Upper layers are fed the stack's input, where it has their width."""

    def change(kernel: Kernel) -> Kernel | None:
        if kernel.config.input_size != kernel.config.output_size or kernel.config.num_layers == 1:
            return None
        return replace(kernel, feed=lambda below, raw, layer: raw if every or layer == 1 else below)

    return change


add("layers.fed-raw-input", "upper layers are fed the stack's input", _fed_raw(every=True))
add("layers.second-fed-raw-input", "the second layer is fed the stack's input", _fed_raw(every=False))


def _skipped(which: str, layer: int) -> Change:
    """A layer hands on what it is given, each direction its own part."""

    def change(kernel: Kernel) -> Kernel | None:
        layers, size = kernel.config.num_layers, kernel.config.state_sizes[0]
        skipped = layers - 1 if which == "last" else layer
        if not 0 < skipped < layers or kernel.config.output_size != size * kernel.config.num_directions:
            return None

        def after(lane: str, x: Array, state: State, output: Array, final: State) -> tuple[Array, State]:
            if lane.removesuffix("_reverse") != f"l{skipped}":
                return output, final
            part = x[..., size:] if lane.endswith("_reverse") else x[..., :size]
            return part, tuple(old + 0 * new for old, new in zip(state, final, strict=True))

        return replace(kernel, after=after)

    return change


for _layer, _which in ((1, "second"), (2, "third"), (0, "last")):
    add(f"layers.{_which}-never-run", f"the {_which} layer gives what it is given", _skipped(_which, _layer))


def _residual(lane: str, x: Array, state: State, output: Array, final: State) -> tuple[Array, State]:
    return (output + x if lane[:2] != "l0" and x.shape == output.shape else output), final


add(
    "layers.residual",
    "each upper layer adds its input to its output",
    lambda kernel: None if kernel.config.bidirectional else stacked(after=_residual)(kernel),
)
