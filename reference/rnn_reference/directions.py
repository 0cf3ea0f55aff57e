"""Directions: how what the two directions of a layer give becomes its output, and the derivative.

`outputs` holds (steps, ..., batch, features) of each direction, one or two. Source: keras.layers.Bidirectional,
`merge_mode`; "concat" is torch.nn's own way.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
MERGE_MODES = ("concat", "sum", "mul", "ave")


def join(outputs: Sequence[Array], merge_mode: str) -> Array:
    """The output of a layer; of one direction its own."""
    if merge_mode == "concat" or len(outputs) == 1:
        return np.concatenate(outputs, axis=-1)
    forward, backward = outputs
    if merge_mode == "mul":
        return forward * backward
    total: Array = forward + backward
    return total * 0.5 if merge_mode == "ave" else total


def join_backward(d_output: Array, outputs: Sequence[Array], merge_mode: str) -> Sequence[Array]:
    """The gradient by each direction's output, from that by the layer's."""
    if merge_mode == "concat" or len(outputs) == 1:
        return np.split(d_output, len(outputs), axis=-1)
    forward, backward = outputs
    if merge_mode == "mul":
        return d_output * backward, d_output * forward
    d_each = d_output * 0.5 if merge_mode == "ave" else d_output
    return d_each, d_each


def joined_size(size: int, bidirectional: bool, merge_mode: str) -> int:
    """The features of a layer's output, where each direction gives so many.

    Raises:
        ValueError: for another merge_mode.
    """
    if merge_mode not in MERGE_MODES:
        raise ValueError(f"merge_mode must be one of {', '.join(MERGE_MODES)}, not {merge_mode!r}")
    return size * 2 if bidirectional and merge_mode == "concat" else size
