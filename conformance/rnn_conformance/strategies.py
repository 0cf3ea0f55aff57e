"""What Hypothesis draws: cases, shrinking toward one layer, one direction, size 1, one step, small integers.

No integer is drawn from a range beyond ±99: Hypothesis also draws constants, larger ones, which it reads from the
source of whatever modules are imported, and the cases of a unit of work must not depend on those.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from rnn_conformance.case import LAYOUTS, PROFILES, Case
from rnn_conformance.config import LayerConfig

SMALL = (1, 2, 3, 4, 5, 6)
BETWEEN = (10, 12, 20, 24, 40, 48, 50, 96, 100)  # widths of layers that people use, and no powers of two
WIDE = tuple(sorted({n + d for n in (8, 16, 32, 64, 128) for d in (-2, -1, 0, 1)} - {6} | {*BETWEEN}))
NARROW = tuple(n for n in WIDE if n < 40)


@dataclass(frozen=True)
class Unit:
    """The unit of work, from which its cases follow: (check, cell, dtype, device, seed)."""

    check: str
    cell: str
    dtype: str
    device: str
    seed: int

    @property
    def entropy(self) -> int:
        """A number that stands for this unit."""
        return zlib.crc32(repr(self).encode())


@st.composite
def sizes(draw: st.DrawFn) -> dict[str, int]:
    """Steps, batch, input_size, hidden_size and num_layers: small, but for one at most that is drawn around a tile."""
    drawn = {
        "num_layers": draw(st.sampled_from((1, 1, 2, 2, 3, 4)), label="num_layers"),
        "hidden_size": draw(st.sampled_from(SMALL), label="hidden_size"),
        "input_size": draw(st.sampled_from(SMALL), label="input_size"),
        "seq_len": draw(st.sampled_from(SMALL), label="seq_len"),
        "batch_size": draw(st.sampled_from(SMALL), label="batch_size"),
    }
    wide = draw(
        st.sampled_from((None, None, None, "hidden_size", "hidden_size", "input_size", "seq_len", "batch_size")),
        label="wide",
    )
    if wide is not None:
        drawn[wide] = draw(st.sampled_from(WIDE), label=wide)
        if drawn[wide] > 40:
            drawn["num_layers"] = min(drawn["num_layers"], 2)
    return drawn


@st.composite
def cases(
    draw: st.DrawFn,
    /,
    unit: Unit,
    *,
    lengths: bool | None = False,
    unbatched: bool | None = None,
    values: tuple[str, ...] = PROFILES,
    layouts: tuple[str, ...] = LAYOUTS[:1],
    zero_lengths: bool = False,
    **fixed: Any,
) -> Case:
    """A case for this unit.

    Args:
        lengths: whether rows have lengths of their own; None for both.
        unbatched: whether input lacks the batch axis; None for both.
        values, layouts: those to choose from.
        zero_lengths: whether a length may be 0.
        fixed: fields of the case or of its config, each a value or a tuple to choose from; the rest is drawn.
    """
    drawn: dict[str, Any] = draw(sizes())
    drawn["bidirectional"] = draw(st.booleans(), label="bidirectional")
    drawn["bias"] = draw(st.sampled_from((True, False)), label="bias")
    drawn["batch_first"] = draw(st.booleans(), label="batch_first")
    drawn["hx"] = draw(st.sampled_from((True, True, False)), label="hx")
    drawn["values"] = draw(st.sampled_from(values), label="values")
    drawn["layout"] = draw(st.sampled_from(layouts), label="layout")
    for name, value in fixed.items():
        drawn[name] = draw(st.sampled_from(value), label=name) if isinstance(value, tuple) else value
    drawn.setdefault("proj_size", draw(_proj_size(unit.cell, drawn["hidden_size"]), label="proj_size"))
    with_lengths = draw(st.booleans(), label="lengths?") if lengths is None else lengths
    steps, rows = drawn.pop("seq_len"), drawn.pop("batch_size")
    if isinstance(with_lengths, bool) and with_lengths:
        given = draw(_lengths(steps, rows, 0 if zero_lengths else 1), label="lengths")
        steps = max(steps, 1)
    else:
        given = None
    if (
        given is None
        and unbatched is not False
        and (unbatched or draw(st.sampled_from((False, False, False, True)), label="unbatched"))
    ):
        rows = None
    place = {name: drawn.pop(name) for name in ("hx", "values", "layout")}
    config = LayerConfig(cell=unit.cell, dtype=unit.dtype, device=unit.device, **drawn)
    number = draw(st.integers(0, 99), label="seed")
    return Case(config, steps, rows, given, seed=0 if number == 0 else unit.entropy * 100 + number, **place)


def _proj_size(cell: str, hidden_size: int) -> st.SearchStrategy[int]:
    """None mostly; one from 1 to hidden_size - 1 for some LSTMs."""
    if cell != "lstm" or hidden_size < 2:
        return st.just(0)
    return st.sampled_from((0, 0, 0, 1, (hidden_size + 1) // 2, hidden_size - 1))


def _lengths(steps: int, rows: int, least: int) -> st.SearchStrategy[tuple[int, ...]]:
    """One length for each row, the longest of which is `steps`: packed sequences have no other."""
    some = st.sampled_from(tuple(range(least, steps + 1)) if steps < 100 else (1, 2, 3, steps // 2, steps - 1, steps))
    every = st.lists(some, min_size=rows, max_size=rows)
    return st.builds(
        lambda lengths, at: tuple(steps if k == at else n for k, n in enumerate(lengths)),
        every,
        st.integers(0, min(rows, 100) - 1),
    )


def resized(case: Case, **config: Any) -> Case:
    """The case with another config."""
    return replace(case, config=replace(case.config, **config))
