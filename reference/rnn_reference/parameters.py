"""Names and shapes of the parameters, torch.nn's own."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnn_reference.directions import joined_size

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def lanes(num_layers: int, bidirectional: bool) -> list[str]:
    """The name endings of every direction of every layer, in the order of the states: l0, l0_reverse, l1, ..."""
    directions = ["", "_reverse"] if bidirectional else [""]
    return [f"l{layer}{direction}" for layer in range(num_layers) for direction in directions]


def parameter_shapes(
    cell: str,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bias: bool = True,
    bidirectional: bool = False,
    proj_size: int = 0,
    recurrent_bias: str = "all",
    peepholes: bool = False,
    merge_mode: str = "concat",
) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of a stack, by name, in torch.nn's order.

    Args:
        cell: 'lstm', 'gru' or 'rnn'.
        recurrent_bias: which gates have a bias_hh beside their bias_ih: 'all', as in torch.nn, 'none', or for the GRU
            the 'candidate' n alone.
        peepholes: whether an LSTM has peephole, the weights of c in the gates i, f and o, end to end.
        merge_mode: how two directions become the output of a layer; see `directions`.

    Raises:
        ValueError: for another cell, a size below 1, another merge_mode, or a projection that torch.nn does not define.

    Source: section "Variables" of the pages of torch.nn.LSTM, GRU and RNN.
    """
    if cell not in GATES:
        raise ValueError(f"cell must be one of {', '.join(GATES)}, not {cell!r}")
    for name, size in {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")
    if proj_size and cell != "lstm":
        raise ValueError(f"proj_size is defined for the LSTM only, not for the {cell.upper()}")
    if not 0 <= proj_size < hidden_size:
        raise ValueError(f"proj_size must be at least 0 and less than hidden_size ({hidden_size}), not {proj_size}")
    if recurrent_bias not in ("all", "none") and (recurrent_bias, cell) != ("candidate", "gru"):
        raise ValueError(f"recurrent_bias must be all, none or, for a GRU, candidate, not {recurrent_bias!r}")
    if peepholes and cell != "lstm":
        raise ValueError(f"peepholes are defined for the LSTM only, not for the {cell.upper()}")
    rows = GATES[cell] * hidden_size
    state_size = proj_size or hidden_size
    between = joined_size(state_size, bidirectional, merge_mode)
    shapes: dict[str, tuple[int, ...]] = {}
    for lane in lanes(num_layers, bidirectional):
        below = input_size if lane.startswith("l0") else between
        shapes[f"weight_ih_{lane}"] = (rows, below)
        shapes[f"weight_hh_{lane}"] = (rows, state_size)
        if bias:
            shapes[f"bias_ih_{lane}"] = (rows,)
            if recurrent_bias != "none":
                shapes[f"bias_hh_{lane}"] = (rows if recurrent_bias == "all" else hidden_size,)
        if proj_size:
            shapes[f"weight_hr_{lane}"] = (proj_size, hidden_size)
        if peepholes:
            shapes[f"peephole_{lane}"] = (3 * hidden_size,)
    return shapes


def verify(parameters: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any]) -> None:
    """Raise ValueError unless `parameters` has exactly these names, these shapes and this dtype."""
    if missing := [name for name in shapes if name not in parameters]:
        raise ValueError(f"parameters lacks {', '.join(missing)}")
    if extra := [name for name in parameters if name not in shapes]:
        raise ValueError(f"parameters has {', '.join(extra)}, which this stack does not use")
    for name, shape in shapes.items():
        if parameters[name].shape != shape:
            raise ValueError(f"{name} must have the shape {shape}, not {parameters[name].shape}")
        if parameters[name].dtype != dtype:
            raise ValueError(f"{name} must be {dtype}, as input is, not {parameters[name].dtype}")


def verify_array(name: str, array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise ValueError unless `array` has this shape and this dtype."""
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must be {dtype} of shape {shape}, not {array.dtype} of shape {array.shape}")
