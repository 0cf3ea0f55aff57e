"""The cases with which every check begins: a covering set in which each pair of options occurs together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Literal

from allpairspy import AllPairs

from rnn_conformance.case import LAYOUTS, Case
from rnn_conformance.config import CELLS, DTYPES, LayerConfig
from rnn_conformance.strategies import Unit

Share = Literal["whole", "dtypes", "cells"]
AXES: dict[str, tuple[Any, ...]] = {
    "sizes": ("distinct", "batch = hidden", "batch = steps", "input = hidden", "input = directions × hidden"),
    "num_layers": (1, 2, 3),
    "shape": ("batched", "batch_first", "unbatched", "lengths", "lengths, batch_first"),
    "hx": (True, False),
    "bidirectional": (False, True),
    "bias": (True, False),
    "projected": (False, True),
    "layout": LAYOUTS,
    "values": ("normal", "uniform", "integers"),
}


@cache
def pairs(extras: tuple[tuple[str, tuple[Any, ...]], ...] = ()) -> tuple[dict[str, Any], ...]:
    """Rows in which each value of an axis meets each value of every other, some 30 of them.

    Args:
        extras: axes besides AXES, of two values or more.
    """
    axes = AXES | dict(extras)
    return tuple(dict(zip(axes, row, strict=True)) for row in AllPairs(list(axes.values())))


def covering_cases(
    unit: Unit, drawn: dict[str, Any], share: Share, extras: Mapping[str, tuple[Any, ...]]
) -> list[Case]:
    """The covering set within the bounds of a check, or this unit's part of it.

    Args:
        drawn: the arguments that the check gives to `strategies.cases`.
        share: 'whole'; 'dtypes', where the dtypes of a cell divide it among themselves; or 'cells', where cells do so
            too, but for the LSTM, which alone has projections.
        extras: what the backend offers beyond torch.nn: fields of the config, each with its values.
    """
    first, parts = DTYPES.index(unit.dtype), len(DTYPES)
    if share == "cells" and unit.cell != "lstm":
        first, parts = first + len(DTYPES) * (CELLS.index(unit.cell) - 1), len(DTYPES) * (len(CELLS) - 1)
    if share == "whole":
        first, parts = 0, 1
    free = {name: values for name, values in extras.items() if len(values) > 1 and name not in drawn}
    rows = enumerate(pairs(tuple(free.items())))
    drawn = dict(extras) | drawn
    shared = replace(unit, check="").entropy  # by all checks, so that what the oracle says of a case serves them all
    return [_case(unit, row, drawn, shared * 100 + k) for k, row in rows if k % parts == first]


def _case(unit: Unit, row: dict[str, Any], drawn: dict[str, Any], seed: int) -> Case:
    """One row as a case, with what the check fixes put in."""
    fields = {name: row[name] for name in ("num_layers", "hx", "bidirectional", "bias", "layout", "values")}
    fields["batch_first"] = row["shape"].endswith("batch_first")
    fields |= {"hidden_size": 4, "seq_len": 5, "batch_size": 3, "input_size": 2}
    fields |= {name: _one(value, seed) for name, value in drawn.items()}
    fields |= {name: value for name, value in row.items() if name not in AXES}
    if row["layout"] not in drawn.get("layouts", LAYOUTS):
        fields["layout"] = drawn["layouts"][0]
    if "values" in drawn and row["values"] not in drawn["values"]:
        fields["values"] = drawn["values"][seed % len(drawn["values"])]
    else:
        fields["values"] = row["values"]
    _equal_sizes(fields, row["sizes"], drawn)
    if "proj_size" not in drawn:
        projected = row["projected"] and unit.cell == "lstm" and fields["hidden_size"] > 1
        fields["proj_size"] = (fields["hidden_size"] + 1) // 2 if projected else 0
    steps, batch, lengths = _shape(fields, row["shape"], drawn)
    place = {name: fields.pop(name) for name in ("hx", "values", "layout")}
    for name in ("lengths", "unbatched", "layouts", "zero_lengths", "seq_len", "batch_size"):
        fields.pop(name, None)
    config = LayerConfig(cell=unit.cell, dtype=unit.dtype, device=unit.device, **fields)
    return Case(config, steps, batch, lengths, seed=seed, **place)


def _one(value: Any, seed: int) -> Any:
    """One of several values to choose from."""
    return value[seed % len(value)] if isinstance(value, tuple) else value


def _equal_sizes(fields: dict[str, Any], sizes: str, drawn: dict[str, Any]) -> None:
    directions = 2 if fields["bidirectional"] else 1
    equal = {
        "batch = hidden": ("batch_size", fields["hidden_size"]),
        "batch = steps": ("batch_size", fields["seq_len"]),
        "input = hidden": ("input_size", fields["hidden_size"]),
        "input = directions × hidden": ("input_size", directions * fields["hidden_size"]),
    }
    if sizes in equal and equal[sizes][0] not in drawn:
        name, value = equal[sizes]
        fields[name] = value


def _shape(fields: dict[str, Any], shape: str, drawn: dict[str, Any]) -> tuple[int, int | None, tuple[int, ...] | None]:
    """Steps, batch and lengths."""
    steps, batch = fields["seq_len"], fields["batch_size"]
    wanted = drawn.get("lengths", False)
    if wanted or (wanted is None and shape.startswith("lengths")):
        return steps, batch, tuple(max(1, steps - 2 * ((k + 1) % batch)) for k in range(batch))
    unbatched = drawn.get("unbatched")
    if unbatched or (unbatched is None and shape == "unbatched"):
        return steps, None, None
    return steps, batch, None
