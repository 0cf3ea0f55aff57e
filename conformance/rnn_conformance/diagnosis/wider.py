"""Wider cases: near a shrunk one, with sizes at which more mistakes differ from each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rnn_conformance.case import Case

DISTINCT = {"hidden_size": 4, "input_size": 3, "seq_len": 5, "batch_size": 3}


def wider_cases(case: Case) -> Iterator[Case]:
    """The case with larger sizes, all different; and with those equal that were."""
    config = case.config
    own = {
        "hidden_size": config.hidden_size,
        "input_size": config.input_size,
        "seq_len": case.seq_len,
        "batch_size": case.batch_size or 1,
    }
    distinct = {name: max(size, DISTINCT[name]) for name, size in own.items()}
    yield resized(case, distinct)
    by_size = {size: max(size, 4) if size < 4 else size for size in own.values()}
    equal = {name: by_size[size] for name, size in own.items()}
    if equal != distinct:
        yield resized(case, equal)


def resized(case: Case, sizes: dict[str, int]) -> Case:
    """The case with these sizes and normal values; lengths all different, in no order."""
    hidden, rows, steps = sizes["hidden_size"], sizes["batch_size"], sizes["seq_len"]
    proj = case.config.proj_size and max(case.config.proj_size, min(2, hidden - 1))
    config = replace(case.config, hidden_size=hidden, input_size=sizes["input_size"], proj_size=proj)
    lengths = case.lengths and tuple(max(1, steps - 2 * ((k + 1) % rows)) for k in range(rows))
    if lengths and case.lengths and min(case.lengths) == case.seq_len:
        lengths = (steps,) * rows
    batch = None if case.batch_size is None else rows
    return replace(
        case, config=config, seq_len=steps, batch_size=batch, lengths=lengths, values="normal", layout="contiguous"
    )
